"""One trial: every way an objective can end becomes the right state, with its reason kept."""

import errno
import gc
import json
import re
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import Trial, TrialState

from tuner.artifacts.checkpoints import Checkpoints
from tuner.base.endings import Pruned
from tuner.base.errors import InputError, WorkFailed
from tuner.base.run_folder import RunFolder
from tuner.definition.study_file import StudyFile
from tuner.run.agent.trial import Ended, TrialRunner
from tuner.search import pruners, stopping
from tuner.storage import study_store
from tuner.storage.outage import StorageUnreachable
from tuner.storage.records import Records
from tuner.tracking.tracker import open_tracker
from tuner.workloads.registry import workload_of
from tuner.workloads.workload import Workload

RunOne = Callable[..., tuple[Ended, optuna.trial.FrozenTrial]]


class Calls(Workload):
    """A workload that calls a function of the test's."""

    def __init__(self, file: StudyFile, function: Callable[..., Any]) -> None:
        super().__init__(file)
        self._function = function

    def run(self, config: Any, report: Any, *, run_folder: Path, inputs: Path | None) -> Any:
        return self._function(config, report, run_folder=run_folder)


@pytest.fixture
def run_one(
    records: Records, make_study: Callable[..., StudyFile], origin: study_store.Origin, tmp_path: Path
) -> Iterator[RunOne]:
    """Runs one trial of the small study with `overrides`; gives its end and what the storage has of it."""

    def run(
        study_file: StudyFile | None = None,
        *,
        stopping: Callable[[], bool] = lambda: False,
        lost: Callable[[], bool] = lambda: False,
        run_objective: Callable[..., Any] | None = None,
        disk_full: Callable[[int], str | None] = lambda own: None,
        **overrides: Any,
    ) -> tuple[Ended, optuna.trial.FrozenTrial]:
        study_file = study_file or make_study()
        study = study_store.open_study(records, study_file, origin)
        study.sampler = optuna.samplers.RandomSampler(seed=len(study.get_trials()))
        runner = TrialRunner(
            study=study,
            workload=workload_of(study_file) if run_objective is None else Calls(study_file, run_objective),
            pruner=pruners.make(study_file.pruner, study_file.name),
            tracker=open_tracker("off", study_name=study_file.name, results=tmp_path),
            runs=tmp_path / "results" / "runs" / study_file.name,
            checkpoints=Checkpoints(tmp_path / "results" / "checkpoints" / study_file.name),
            base={},
            overrides=overrides,
            stopping=stopping,
            lost=lost,
            on_epoch=lambda number, epoch, value: None,
            length=study_file.max_epochs,
            disk_full=disk_full,
        )
        claimed = records.claim(study._study_id, user_attrs={})
        ended = runner.run(Trial(study, claimed._trial_id))
        return ended, study.get_trials()[claimed.number]

    yield run


def test_a_complete_trial_keeps_its_metrics_reports_and_folder(run_one: RunOne, tmp_path: Path) -> None:
    ended, trial = run_one()
    x = trial.params["x"]
    assert ended == Ended(0, "complete", x)
    assert trial.values == [x]
    assert trial.intermediate_values == {step: x * step / 4 for step in (1, 2, 3, 4)}
    assert trial.user_attrs["metrics"] == {"score": x, "extra": 2.0}
    assert trial.user_attrs["run_folder"] == "runs/small/0"
    folder = tmp_path / "results" / "runs" / "small" / "0"
    told = json.loads((folder / "trial.json").read_text())
    assert told["state"] == "complete"
    assert told["objective"] == {"name": "score", "goal": "maximize", "value": x}
    assert told["params"] == trial.params
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 4


def test_an_error_is_a_failed_trial_with_its_trace_kept_and_shown_short(run_one: RunOne) -> None:
    ended, trial = run_one(mode="error")
    assert trial.state is TrialState.FAIL
    assert ended.message.startswith("ValueError: no good")
    assert trial.user_attrs["error"] == ended.message
    assert "objective.py" in trial.user_attrs["traceback"]


def test_a_result_that_is_no_number_fails(run_one: RunOne) -> None:
    ended, trial = run_one(mode="nan")
    assert (trial.state, ended.message) == (TrialState.FAIL, "metric 'score' is nan")


def test_a_metric_that_was_never_logged_is_named_with_the_nearest(
    run_one: RunOne, make_study: Callable[..., StudyFile]
) -> None:
    ended, _ = run_one(make_study(**{"{name: score,": "{name: skore,"}))
    assert ended.outcome == "failed"
    assert ended.message == "metric 'skore' was not logged; logged: extra, score; did you mean 'score'?"


def test_a_trial_that_is_asked_to_stop_goes_back_into_the_queue(run_one: RunOne, tmp_path: Path) -> None:
    ended, trial = run_one(stopping=lambda: True)
    assert (ended.outcome, trial.state) == ("returned to the queue", TrialState.WAITING)
    assert not (tmp_path / "results" / "runs" / "small" / "0").exists()


@pytest.mark.hostile("checkpoints and disks harmed")
def test_a_trial_that_deletes_its_folder_fails_and_says_so(run_one: RunOne, tmp_path: Path) -> None:
    def objective(config: Any, report: Any, *, run_folder: Path) -> dict[str, float]:
        with RunFolder(run_folder) as folder:
            shutil.rmtree(folder.path)
            folder.finish({"score": 1.0})
        return {"score": 1.0}

    ended, trial = run_one(run_objective=objective)
    assert (ended.outcome, trial.state) == ("failed", TrialState.FAIL)
    assert re.fullmatch(r".*/runs/small/0\.partial-\d+ was deleted while the trial ran", ended.message)


@pytest.mark.hostile("checkpoints and disks harmed")
@pytest.mark.parametrize("fails", [ValueError("no space"), OSError(errno.ENOSPC, "No space left on device")])
def test_a_trial_that_filled_the_disk_fails_and_its_folder_goes(
    run_one: RunOne, tmp_path: Path, fails: Exception
) -> None:
    def objective(config: Any, report: Any, *, run_folder: Path) -> dict[str, float]:
        with RunFolder(run_folder) as folder:
            (folder.path / "large").write_bytes(bytes(3 << 20))
            raise fails

    ended, trial = run_one(run_objective=objective, disk_full=lambda own: "full" if own < 3 << 20 else None)
    assert (ended.outcome, trial.state) == ("failed", TrialState.FAIL)
    assert ended.message == "it filled the disk: 3 MiB in its run folder, which were removed"
    assert not list((tmp_path / "results" / "runs" / "small").iterdir())


def test_a_trial_that_fails_on_a_disk_that_others_filled_runs_again(run_one: RunOne) -> None:
    def objective(config: Any, report: Any, *, run_folder: Path) -> dict[str, float]:
        raise ValueError("no space")

    with pytest.raises(WorkFailed, match=r"returned to the queue \(ValueError: no space\): full"):
        run_one(run_objective=objective, disk_full=lambda own: "full")


def test_a_run_folder_is_its_owners_alone(run_one: RunOne, tmp_path: Path) -> None:
    run_one()
    assert (tmp_path / "results" / "runs" / "small" / "0").stat().st_mode & 0o077 == 0


def test_a_trial_that_begins_while_the_storage_is_away_waits_for_it(
    run_one: RunOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Exception | None] = [StorageUnreachable("away"), None]
    draw = optuna.samplers.RandomSampler.sample_independent

    def sample_independent(*arguments: Any) -> Any:
        error = answers.pop(0) if answers else None
        if error is not None:
            raise error
        return draw(*arguments)

    monkeypatch.setattr(optuna.samplers.RandomSampler, "sample_independent", sample_independent)
    ended, kept = run_one()
    assert (ended.outcome, answers) == ("complete", [])
    assert set(kept.params) == set(kept.distributions) != set()


def test_a_trial_that_was_given_away_is_dropped_with_a_line(run_one: RunOne) -> None:
    ended, trial = run_one(lost=lambda: True)
    assert (ended.outcome, ended.message) == ("given away", "trial 0 was given to another agent")
    assert trial.state is TrialState.RUNNING  # whoever took it says what becomes of it


def test_a_pruned_trial_says_which_rule_stopped_it(
    run_one: RunOne, make_study: Callable[..., StudyFile]
) -> None:
    rule = "max_epochs: 4\n  pruner: {type: successive_halving, min_resource: 1, max_resource: 4, eta: 2}"
    study_file = make_study(**{"max_epochs: 4": rule})
    found = [run_one(study_file)[1] for _ in range(6)]
    pruned = [trial for trial in found if trial.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert "best half of" in trial.user_attrs["pruned_because"]
        assert trial.value == trial.intermediate_values[max(trial.intermediate_values)]


class Network:
    """Stands for what takes memory in a training run."""


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("error", [ValueError("no good"), Pruned("worse")])
def test_a_trial_that_ends_early_lets_go_of_its_memory_at_once(
    run_one: RunOne, error: Exception, wrapped: bool
) -> None:
    alive: list[weakref.ref[Network]] = []

    def train(config: Any, report: Any, *, run_folder: Path) -> Any:
        network = Network()
        alive.append(weakref.ref(network))

        def told(epoch: int, metrics: Any) -> None:
            assert network is not None
            report(epoch, metrics)

        try:
            told(0, Raising(error))
        except Exception as caught:
            raise (RuntimeError("wrapped") if wrapped else caught) from caught

    gc.disable()
    try:
        ended, _ = run_one(run_objective=train)
        assert ended.outcome in ("failed", "pruned")
        assert alive[0]() is None
    finally:
        gc.enable()


class Raising(dict[str, float]):
    """Metrics that end the trial inside of `report`."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get(self, *_: Any) -> Any:
        raise self.error


def test_constraints_are_set_before_the_trial_ends(
    run_one: RunOne, make_study: Callable[..., StudyFile]
) -> None:
    study_file = make_study(**{"max_epochs: 4": 'max_epochs: 4\n  constraints: ["extra >= 2.5"]'})
    _, trial = run_one(study_file)
    assert {k: v for k, v in trial.system_attrs.items() if k.startswith("constraints")} == {
        "constraints:extra >= 2.5": 0.5
    }


def test_requires_is_resampled_and_leaves_no_trace(
    run_one: RunOne, make_study: Callable[..., StudyFile]
) -> None:
    study_file = make_study(**{"max_epochs: 4": 'max_epochs: 4\n  requires: ["x > 0.9"]'})
    found = [run_one(study_file)[1] for _ in range(4)]
    assert [trial.number for trial in found] == [0, 1, 2, 3]
    assert all(trial.params["x"] > 0.9 for trial in found)


def test_requires_that_leaves_nothing_is_said(run_one: RunOne, make_study: Callable[..., StudyFile]) -> None:
    study_file = make_study(**{"max_epochs: 4": 'max_epochs: 4\n  requires: ["x > 2"]'})
    with pytest.raises(InputError, match=r"broke requires 'x > 2'"):
        run_one(study_file)


def test_three_equal_failures_in_a_row_stop_the_study(run_one: RunOne) -> None:
    trials = [run_one(mode="error")[1] for _ in range(2)]
    assert stopping.failures(trials) is None
    trials.append(run_one(mode="error")[1])
    assert "3 trials in a row failed with the same error: ValueError: no good" in (
        stopping.failures(trials) or ""
    )
    trials.append(run_one()[1])
    assert stopping.failures(trials) is None


def test_what_report_raises_counts_even_where_the_objective_wraps_it(run_one: RunOne) -> None:
    def wrapping(config: Any, report: Any, *, run_folder: Path) -> Any:
        try:
            report(0, {"score": 1.0})
        except Exception as error:
            raise RuntimeError("training stopped") from error

    ended, trial = run_one(stopping=lambda: True, run_objective=wrapping)
    assert (ended.outcome, trial.state) == ("returned to the queue", TrialState.WAITING)
