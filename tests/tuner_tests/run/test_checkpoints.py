"""An interrupted trial goes on from its checkpoint: returned, retried, and on another machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, Trial

from tuner.artifacts import gc
from tuner.artifacts.checkpoints import STORED, Checkpoints, store_location
from tuner.artifacts.run_store import RunStore, StoreLocation, location_for
from tuner.base.run_folder import METRICS, read_metrics
from tuner.definition.metric import Metric
from tuner.definition.study_file import StudyFile
from tuner.run.agent.trial import Ended, TrialRunner
from tuner.search import pruners
from tuner.storage import study_store
from tuner.storage.attributes import CHECKPOINT
from tuner.storage.records import Records
from tuner.tracking.tracker import open_tracker
from tuner.workloads.function import FunctionWorkload, call

MakeStudy = Callable[..., StudyFile]
Run = Callable[..., tuple[Ended, FrozenTrial]]


def train(config: Mapping[str, Any], report: Any, checkpoint: Path) -> dict[str, float]:
    """Four epochs whose state is a number in a file."""
    assert report.checkpoint == checkpoint
    path = checkpoint / "epoch.txt"
    begin = int(path.read_text()) if path.exists() else 0
    for epoch in range(begin, 4):
        path.with_suffix(".new").write_text(str(epoch + 1))
        path.with_suffix(".new").replace(path)
        report(epoch, {"score": config["x"] * (epoch + 1), "began": float(begin)})
    return {"began": float(begin)}


def forgetful(config: Mapping[str, Any], report: Any) -> dict[str, float]:
    """The same without a checkpoint."""
    for epoch in range(4):
        report(epoch, {"score": config["x"] * (epoch + 1), "began": 0.0})
    return {"began": 0.0}


class Calls(FunctionWorkload):
    """Calls a function of the test's."""

    function: Any = None


@pytest.fixture
def study(records: Records, make_study: MakeStudy, origin: study_store.Origin) -> optuna.Study:
    study = study_store.open_study(records, make_study(), origin)
    study.sampler = optuna.samplers.RandomSampler(seed=1)
    return study


@pytest.fixture
def run(records: Records, study: optuna.Study, make_study: MakeStudy, tmp_path: Path) -> Iterator[Run]:
    """`run(stop=2)`: runs the next trial, which is asked to stop after that many reports."""

    def run(
        function: Any = train,
        *,
        stop: int = 99,
        lost: bool = False,
        results: Path = tmp_path / "results",
        place: StoreLocation | None = None,
        file: StudyFile | None = None,
    ) -> tuple[Ended, FrozenTrial]:
        file = file or make_study()
        reports: list[int] = []
        workload = Calls(file)
        workload.function = function
        runner = TrialRunner(
            study=study,
            workload=workload,
            pruner=pruners.make(file.pruner, file.name),
            tracker=open_tracker("off", study_name=file.name, results=results),
            runs=results / "runs" / file.name,
            checkpoints=Checkpoints(results / "checkpoints" / file.name, place, pytest.fail),
            base={},
            overrides={},
            stopping=lambda: len(reports) >= stop,
            lost=lambda: lost,
            on_epoch=lambda number, epoch, value: reports.append(epoch),
        )
        claimed = records.claim(study._study_id, user_attrs={})
        ended = runner.run(Trial(study, claimed._trial_id))
        return ended, study.get_trials()[claimed.number]

    yield run


def test_a_trial_that_was_put_back_goes_on_and_has_all_its_reports(run: Run, tmp_path: Path) -> None:
    ended, trial = run(stop=2)
    assert ended.outcome == "returned to the queue"
    assert trial.intermediate_values == {}
    ended, trial = run()
    x = trial.params["x"]
    assert (ended.outcome, ended.number) == ("complete", 0)
    assert trial.user_attrs["metrics"]["began"] == 2
    assert trial.intermediate_values == pytest.approx({1: x, 2: 2 * x, 3: 3 * x, 4: 4 * x})
    rows = read_metrics(tmp_path / "results" / "runs" / "small" / "0" / METRICS)
    assert [(row["epoch"], row["began"]) for row in rows] == [(0, 0), (1, 0), (2, 2), (3, 2)]
    assert list((tmp_path / "results" / "checkpoints" / "small").iterdir()) == []  # it has ended


def test_a_retry_under_a_new_number_goes_on_and_another_trial_does_not(
    run: Run, records: Records, study: optuna.Study
) -> None:
    run(stop=3)
    claimed = records.claim(study._study_id, user_attrs={})
    records.give_up(claimed._trial_id, {"agent_lost": True}, retries=2)  # its agent has died
    records.enqueue(study._study_id, claimed.system_attrs["fixed_params"], {})  # an equal configuration
    _, again = run()
    assert (again.number, again.user_attrs["retry_of"]) == (1, 0)
    assert again.user_attrs["metrics"]["began"] == 3
    assert len(again.intermediate_values) == 4
    _, other = run()
    assert other.params == again.params
    assert other.user_attrs["metrics"]["began"] == 0


def test_reports_that_are_repeated_count_once(run: Run) -> None:
    """The checkpoint is older than the last report: the agent was killed in between."""

    def kept_seldom(config: Mapping[str, Any], report: Any, checkpoint: Path) -> dict[str, float]:
        path = checkpoint / "begin"
        begin = 1 if path.exists() else 0
        path.touch()
        for epoch in range(begin, 4):
            report(epoch, {"score": epoch + begin})
        return {"score": 9.0}

    run(kept_seldom, stop=3)
    _, trial = run(kept_seldom)
    assert trial.intermediate_values == {1: 0, 2: 2, 3: 3, 4: 4}


def test_a_function_without_a_checkpoint_starts_anew(run: Run, tmp_path: Path) -> None:
    run(forgetful, stop=2)
    _, trial = run(forgetful)
    assert list(trial.intermediate_values) == [1, 2, 3, 4]
    assert len(read_metrics(tmp_path / "results" / "runs" / "small" / "0" / METRICS)) == 4


def test_a_trial_that_went_on_is_pruned_by_what_it_reported_before(run: Run, make_study: MakeStudy) -> None:
    rule = "max_epochs: 4\n  pruner: {type: successive_halving, min_resource: 2, max_resource: 4, eta: 2}"
    file = make_study(**{"max_epochs: 4": rule})
    run(lambda config, report: train({"x": -1.0}, report, report.checkpoint), stop=3, file=file)
    ended, trial = run(lambda config, report: train({"x": -1.0}, report, report.checkpoint), file=file)
    assert (ended.outcome, sorted(trial.intermediate_values)) == ("complete", [1, 2, 3, 4])
    ended, trial = run(lambda config, report: train({"x": -2.0}, report, report.checkpoint), file=file)
    assert ended.outcome == "pruned"
    assert ended.message.startswith("epoch 2: -4;")


def test_a_trial_that_was_given_away_leaves_its_checkpoint(run: Run, tmp_path: Path) -> None:
    ended, _ = run(lost=True)
    assert ended.outcome == "given away"
    (folder,) = (tmp_path / "results" / "checkpoints" / "small").iterdir()
    assert (folder / "files" / "epoch.txt").read_text() == "1"


def test_another_machine_goes_on_from_the_store(run: Run, study: optuna.Study, tmp_path: Path) -> None:
    place = location_for(study, (tmp_path / "store").as_uri())
    assert place is not None
    here, there = tmp_path / "results", tmp_path / "elsewhere"
    run(stop=1, results=here, place=place)
    run(stop=2, results=there, place=place)  # epochs 2 and 3
    _, trial = run(results=here, place=place)  # what lies here is older than the store
    assert trial.user_attrs["metrics"]["began"] == 3
    assert len(trial.intermediate_values) == 4
    assert len(read_metrics(here / "runs" / "small" / "0" / METRICS)) == 4
    assert RunStore(store_location(place)).objects() == {}


def test_a_local_checkpoint_that_is_further_than_the_store_stays(tmp_path: Path) -> None:
    place = StoreLocation((tmp_path / "store").as_uri(), "runs/small-1")
    checkpoint = Checkpoints(tmp_path / "checkpoints", place, pytest.fail).open("7-ab")
    (checkpoint.files / "state").write_text("1")
    checkpoint.upload()
    assert (checkpoint.folder / STORED).is_file()
    (checkpoint.files / "state").write_text("2")  # and then the agent dies
    again = Checkpoints(tmp_path / "checkpoints", place, pytest.fail).open("7-ab")
    assert (again.files / "state").read_text() == "2"


def test_a_store_that_is_away_is_said_and_the_trial_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    place = StoreLocation((tmp_path / "store").as_uri(), "runs/small-1")
    checkpoint = Checkpoints(tmp_path / "checkpoints", place, said.append).open("7-ab")
    (checkpoint.files / "state").write_text("1")
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("no folder")
    checkpoint.upload()
    assert len(said) == 1
    assert "checkpoint 7-ab" in said[0]


def test_gc_removes_checkpoints_that_nobody_goes_on_from(
    run: Run, records: Records, study: optuna.Study, tmp_path: Path
) -> None:
    place = location_for(study, (tmp_path / "store").as_uri())
    assert place is not None
    _, trial = run(stop=1, place=place)
    mine = trial.user_attrs[CHECKPOINT]
    results = tmp_path / "results"
    for name in ("5-left", f".5-other.partial-{2**22 + 1}"):
        (results / "checkpoints" / "small" / name / "files").mkdir(parents=True)
    store = RunStore(store_location(place))
    store.upload(results / "checkpoints" / "small" / mine, "5-left")
    found = gc.find(records, results)
    assert [item.path.name for item in found.items if item.kind == "checkpoints" and item.path] == ["5-left"]
    assert gc.remove(found) == []
    assert [path.name for path in (results / "checkpoints" / "small").iterdir()] == [mine]
    assert all(f"/{mine}" in key for key in store.objects())
    assert store.objects()


def test_a_study_that_is_set_aside_takes_its_checkpoints_along(
    run: Run, records: Records, tmp_path: Path
) -> None:
    run(stop=1)
    kept = study_store.set_aside(records, "small", tmp_path / "results")
    assert [path.name for path in (tmp_path / "results" / "checkpoints").iterdir()] == [kept]


def test_a_function_may_be_called_without_a_checkpoint(tmp_path: Path) -> None:
    def train(config: Any, report: Any) -> float:
        assert report.checkpoint is None
        return 1.0

    assert call(train, {}, lambda *_: None, run_folder=tmp_path / "0", objectives=(Metric("score"),)) == {
        "score": 1.0
    }


SCRIPT = """
import json, os, pathlib, sys, time
path = pathlib.Path(os.environ["TUNER_CHECKPOINT_DIR"], "epoch.txt")
begin = int(path.read_text()) if path.exists() else 0
{init}
for epoch in range(begin, 4):
    path.write_text(str(epoch + 1))
    {log}
    if epoch == 1 and not begin:
        time.sleep(60)
"""
PLAIN = {"init": "", "log": 'print(json.dumps({"score": epoch + begin / 10}), flush=True)'}
WITH_EPOCH = {
    "init": "",
    "log": 'print(json.dumps({"epoch": epoch + 1, "score": epoch + begin / 10}), flush=True)',
}
WITH_WANDB = {
    "init": (
        "import wandb\nrun = wandb.init()\n"
        "print('resumed', run.resumed, run.starting_step, os.environ.get('WANDB_RESUME'))"
    ),
    "log": 'wandb.log({"score": epoch + begin / 10})',
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [PLAIN, WITH_EPOCH, WITH_WANDB], ids=["plain", "epoch", "wandb"])
def test_a_script_goes_on_and_its_rows_are_counted_on(kind: dict[str, str], tmp_path: Path) -> None:
    from tuner.workloads.script import Script

    if kind is WITH_WANDB:
        pytest.importorskip("wandb")
    code = SCRIPT.replace("{init}", kind["init"]).replace("{log}", kind["log"])
    (tmp_path / "train.py").write_text(code)
    metric = Metric("score", "maximize")
    script = Script(study="study", program="train.py", command=None, folder=tmp_path, metric=metric)
    folder = tmp_path / "results" / "runs" / "study" / "3"
    checkpoint = tmp_path / "checkpoint" / "files"
    checkpoint.mkdir(parents=True)
    reported: list[int] = []

    class Stop(Exception):
        pass

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        reported.append(epoch)
        if epoch == 1:
            raise Stop

    with pytest.raises(Stop):
        script({}, report, run_folder=folder, checkpoint=checkpoint)
    found = script({}, lambda epoch, _: reported.append(epoch), run_folder=folder, checkpoint=checkpoint)
    assert reported == [0, 1, 2, 3]
    assert found["score"] == 3.2
    rows = read_metrics(folder / METRICS)
    assert [row["_step"] for row in rows] == [0, 1, 2, 3]
    assert [row["score"] for row in rows] == [0, 1, 2.2, 3.2]
    assert json.loads((folder / "result.json").read_text())["iterations"] == 4
    if kind is WITH_WANDB:
        assert "resumed True 2 allow" in (folder / "output.log").read_text()


def test_a_script_that_keeps_nothing_starts_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    first = checkpoints.open("0-ab")
    first.report(0, {"score": 1.0})
    (first.folder / METRICS).write_text('{"epoch": 0, "_step": 0, "score": 1.0}\n')
    again = checkpoints.open("0-ab")
    assert again.reports_before(9) == {}
    assert not (again.folder / METRICS).exists()
    assert not again.goes_on()
