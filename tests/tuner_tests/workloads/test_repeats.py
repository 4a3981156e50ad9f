"""A trial of several runs: the same configuration with several seeds, or on several folds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, Trial, TrialState

from tuner.__main__ import main
from tuner.artifacts.checkpoints import Checkpoints
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.run_folder import read_metrics
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run import plan
from tuner.run.agent.trial import Ended, TrialRunner
from tuner.run.request import Request
from tuner.search import pruners
from tuner.storage import study_store
from tuner.storage.records import Records
from tuner.tracking.tracker import open_tracker
from tuner.workloads.registry import workload_of

STUDY = """
name: several
method: random
run_cap: 6
metric: {name: loss, goal: minimize}
parameters:
  lr: {values: [1.0]}
tuner: {objective: "train.py:train", max_epochs: 2, OPTIONS}
"""
FUNCTION = """
from pathlib import Path


def train(config, report, checkpoint):
    Path("calls.txt").open("a").write(f"{config['seed']} ")
    kept = checkpoint / "epoch.txt"
    for epoch in range(int(kept.read_text()) if kept.exists() else 0, 2):
        kept.write_text(str(epoch + 1))
        report(epoch, {"loss": config["lr"] * config["seed"] + 1 - epoch})
    if config["lr"] < 0 and config["seed"] == 2:
        raise ValueError("diverged")
    return {"loss": config["lr"] * config["seed"]}
"""
Run = Callable[..., tuple[Ended, FrozenTrial]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StudyFile]:
    """`make("seeds: 3")`: the study file, with its function beside it."""
    monkeypatch.chdir(tmp_path)

    def made(options: str, *, text: str = STUDY, **files: str) -> StudyFile:
        (tmp_path / "train.py").write_text(files.get("train", FUNCTION))
        (tmp_path / "several.yaml").write_text(text.replace("OPTIONS", options))
        return load_study_file(tmp_path / "several.yaml")

    return made


@pytest.fixture
def run(records: Records, origin: study_store.Origin, tmp_path: Path) -> Iterator[Run]:
    """`run(file, lr=2.0)`: runs the next trial; `stop` asks it to stop after as many reports."""

    def run(file: StudyFile, *, stop: int = 99, **overrides: Any) -> tuple[Ended, FrozenTrial]:
        study = study_store.open_study(records, file, origin)
        study.sampler = optuna.samplers.RandomSampler(seed=1)
        reports: list[int] = []
        workload = workload_of(file)
        workload.results = tmp_path / "results"
        runner = TrialRunner(
            study=study,
            workload=workload,
            pruner=pruners.make(file.pruner, file.name),
            tracker=open_tracker("off", study_name=file.name, results=tmp_path / "results"),
            runs=tmp_path / "results" / "runs" / file.name,
            checkpoints=Checkpoints(tmp_path / "results" / "checkpoints" / file.name),
            base={},
            overrides=overrides,
            stopping=lambda: len(reports) >= stop,
            lost=lambda: False,
            on_epoch=lambda number, epoch, value: reports.append(epoch),
            length=file.trial_epochs,
        )
        claimed = records.claim(study._study_id, user_attrs={})
        ended = runner.run(Trial(study, claimed._trial_id))
        return ended, study.get_trials()[claimed.number]

    yield run


def folder_of(tmp_path: Path, number: int = 0) -> Path:
    return tmp_path / "results" / "runs" / "several" / str(number)


def test_a_configuration_with_three_seeds_is_one_trial_with_their_mean(
    run: Run, make: Callable[..., StudyFile], tmp_path: Path
) -> None:
    ended, trial = run(make("seeds: 3"), lr=2.0)
    assert (ended.outcome, trial.values) == ("complete", [statistics.fmean([2.0, 4.0, 6.0])])
    assert ended.message == "mean of 3 seeds, 2 to 6, standard deviation 2"
    assert trial.user_attrs["metrics"] == {"loss": 4.0, "loss_std": 2.0}
    assert [(one["name"], one["seed"], one["metrics"]) for one in trial.user_attrs["repeats"]] == [
        ("seed 1", 1, {"loss": 2.0}),
        ("seed 2", 2, {"loss": 4.0}),
        ("seed 3", 3, {"loss": 6.0}),
    ]
    folder = folder_of(tmp_path)
    assert read_json(folder / "config.json") == {"lr": 2.0}
    assert read_json(folder / "seed2" / "config.json") == {"lr": 2.0, "seed": 2}
    assert [row["loss"] for row in read_metrics(folder / "seed3" / "metrics.jsonl")] == [7.0, 6.0]
    assert list((tmp_path / "results" / "checkpoints" / "several").iterdir()) == []


def test_only_epochs_after_which_a_trial_may_end_are_due(run: Run, make: Callable[..., StudyFile]) -> None:
    """Rungs are for the first run of a trial; a later one is read at its end."""
    halving = "max_epochs: 9, pruner: {type: successive_halving, min_resource: 2, max_resource: 9}, OPTIONS"
    function = """
from pathlib import Path

def train(config, report):
    due = [epoch for epoch in range(9) if report.due(epoch)]
    Path("due.txt").open("a").write(f"{due} ")
    for epoch in due:
        report(epoch, {"loss": 1.0})
    return {"loss": 1.0}
"""
    text = STUDY.replace("max_epochs: 2, OPTIONS", halving)
    ended, trial = run(make("seeds: 1", text=text, train=function))
    assert ended.outcome == "complete" and sorted(trial.intermediate_values) == [2, 6, 9]
    run(make("seeds: 2", text=text.replace("several", "twice"), train=function))
    assert Path("due.txt").read_text() == "[1, 5, 8] [1, 5, 8] [8] "
    Path("due.txt").unlink()
    run(make("seeds: 1", text=text.replace("several", "open").replace("max_epochs: 9, ", ""), train=function))
    assert Path("due.txt").read_text() == f"{list(range(9))} "  # the length of a trial is not known


def test_the_reports_are_the_first_seeds_epochs_and_then_means_at_the_epochs_spent(
    run: Run, make: Callable[..., StudyFile], tmp_path: Path
) -> None:
    _, trial = run(make("seeds: 3"))
    assert trial.intermediate_values == {1: 2.0, 2: 1.0, 4: 1.5, 6: 2.0}
    rows = read_metrics(folder_of(tmp_path) / "metrics.jsonl")
    assert [(row["epoch"], row["loss"]) for row in rows] == [(0, 2.0), (1, 1.0), (3, 1.5), (5, 2.0)]


@pytest.mark.parametrize(("aggregate", "value"), [("mean", 2.5), ("median", 2.5), ("worst", 4.0)])
def test_the_file_says_what_becomes_of_the_values(
    aggregate: str, value: float, run: Run, make: Callable[..., StudyFile]
) -> None:
    _, trial = run(make(f"seeds: 4, aggregate: {aggregate}"))
    assert trial.values == [value]


def test_the_worst_of_what_is_maximised_is_the_lowest(run: Run, make: Callable[..., StudyFile]) -> None:
    file = make("seeds: 2, aggregate: worst", text=STUDY.replace("minimize", "maximize"))
    assert run(file)[1].values == [1.0]


def test_a_seed_that_fails_fails_the_trial_and_is_named(
    run: Run, make: Callable[..., StudyFile], tmp_path: Path
) -> None:
    ended, trial = run(make("seeds: 3"), lr=-1.0)
    assert trial.state is TrialState.FAIL
    assert ended.message == "seed 2, run 2 of 3: ValueError: diverged"
    assert "train.py" in trial.user_attrs["traceback"]
    assert read_json(folder_of(tmp_path) / "result.json")["error"] == ended.message
    assert (tmp_path / "calls.txt").read_text() == "1 2 "  # the third would tell nothing any more


def test_an_interrupted_trial_goes_on_in_the_seed_that_was_interrupted(
    run: Run, make: Callable[..., StudyFile], tmp_path: Path
) -> None:
    file = make("seeds: 3")
    ended, _ = run(file, stop=3)  # in the first epoch of the second seed
    assert ended.outcome == "returned to the queue"
    assert not folder_of(tmp_path).exists(), "it has not ended"
    ended, trial = run(file)
    assert (ended.outcome, ended.number, trial.values) == ("complete", 0, [2.0])
    assert (tmp_path / "calls.txt").read_text() == "1 2 2 3 "
    rows = read_metrics(folder_of(tmp_path) / "seed2" / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [0, 1]  # the first is from before
    assert trial.intermediate_values == {1: 2.0, 2: 1.0, 4: 1.5, 6: 2.0}


def test_a_stopping_rule_compares_means_of_as_many_runs(run: Run, make: Callable[..., StudyFile]) -> None:
    file = make("seeds: 3, pruner: {type: median, startup_trials: 1, warmup: 3}")
    assert run(file, lr=1.0)[0].outcome == "complete"
    ended, trial = run(file, lr=3.0)
    assert ended.outcome == "pruned"
    assert ended.message == ("mean of 2 of 3 runs: epoch 4: 3; better half of 1 trial: 1.5 or better")
    assert trial.user_attrs["metrics"]["loss"] == 4.5
    assert len(trial.user_attrs["repeats"]) == 2


def test_patience_is_about_the_epochs_of_one_run(run: Run, make: Callable[..., StudyFile]) -> None:
    ended, _ = run(make("seeds: 3, patience: 2"))  # from the first seed on, means only rise
    assert ended.outcome == "complete"


def test_hyperband_spreads_its_rungs_over_all_runs(make: Callable[..., StudyFile]) -> None:
    assert make("seeds: 3, pruner: hyperband").pruner.max_resource == 6


SCRIPT = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1.0)
parser.add_argument("--SEED", type=int, default=0)
parser.add_argument("--fold", type=int, default=0)
options = parser.parse_args()
print(json.dumps({"loss": options.lr + options.SEED + 10 * options.fold, "epoch": 0}))
"""
OF_A_SCRIPT = STUDY.replace('objective: "train.py:train", max_epochs: 2, ', "").replace(
    "name: several", "name: several\nprogram: train.py"
)


@pytest.mark.parametrize(
    ("options", "argument", "values"),
    [
        ("seeds: 2", "seed", [2.0, 3.0]),
        ("seeds: 2, seed: random_state", "random_state", [2.0, 3.0]),
        ("folds: 3", "seed", [1.0, 11.0, 21.0]),
        ("folds: {fold: [2, 4]}", "seed", [21.0, 41.0]),
        ("seeds: 2, folds: 2", "seed", [2.0, 12.0, 3.0, 13.0]),
    ],
)
def test_a_script_gets_seed_and_fold_as_arguments(
    options: str, argument: str, values: list[float], run: Run, make: Callable[..., StudyFile]
) -> None:
    script = SCRIPT.replace("SEED", argument, 2)
    _, trial = run(
        make(options, text=OF_A_SCRIPT, train=script.replace("options.SEED", f"options.{argument}"))
    )
    assert [one["metrics"]["loss"] for one in trial.user_attrs["repeats"]] == values
    assert trial.values == [statistics.fmean(values)]


@pytest.mark.slow
def test_each_run_of_a_script_has_its_own_wandb_run(
    run: Run, make: Callable[..., StudyFile], tmp_path: Path
) -> None:
    script = """
        import sys, wandb
        wandb.init(config={"seed": 0})
        wandb.log({"loss": float(wandb.config.seed)})
    """.replace("\n        ", "\n")
    run(make("seeds: 2", text=OF_A_SCRIPT, train=script))
    runs = read_json(folder_of(tmp_path) / "result.json")["wandb_runs"]
    assert [name.rpartition("-")[2] for name in runs] == ["seed1", "seed2"]
    assert all((tmp_path / "results" / "wandb" / "several" / name).is_dir() for name in runs)


def test_seeds_that_change_nothing_are_said(run: Run, make: Callable[..., StudyFile]) -> None:
    ended, _ = run(make("seeds: 2"), lr=0.0)
    assert ended.message == "mean of 2 seeds, all 0; is the seed used?"


@pytest.mark.parametrize(
    ("options", "text", "said"),
    [
        ("seeds: 2", OF_A_SCRIPT, "'tuner.seeds': the script has no known seed argument; name it"),
        ("seeds: 2", STUDY.replace("lr:", "seed:"), "the study searches 'seed' too: remove one of them"),
        (
            "folds: 2",
            STUDY.replace("lr:", "fold:"),
            "'fold' is a parameter of the study too: remove one of them",
        ),
    ],
)
def test_what_cannot_be_repeated_is_refused_before_a_trial(
    options: str, text: str, said: str, make: Callable[..., StudyFile], url: str, tmp_path: Path
) -> None:
    text = text.replace("[1.0]", "[1, 2]")
    file = make(options, text=text, train=FUNCTION if text != OF_A_SCRIPT else "print('{}')")
    with pytest.raises(InputError, match=said):
        plan.make(Request(file, url, tmp_path / "results"), print)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("seeds: 0", "expected how many seeds a trial has, from 1 to 100, got 0"),
        ("seeds: many", "expected how many seeds a trial has, or a list of seeds for retrainings"),
        ("folds: 1", "expected 2 to 100 folds, or a list of values, got 1"),
        ("folds: {a: 2, b: 2}", "expected one parameter"),
        ("folds: {split: [1, 1]}", "expected different numbers or words"),
        ("aggregate: worst", "a trial has one run: say how many with 'seeds: 3' or 'folds: 5'"),
        ("seeds: 2, aggregate: best", "expected one of mean, median, worst"),
    ],
)
def test_mistakes_in_the_file_are_one_line(options: str, said: str, make: Callable[..., StudyFile]) -> None:
    with pytest.raises(InputError, match=said):
        make(options)


def test_a_list_of_seeds_still_means_retrainings(make: Callable[..., StudyFile]) -> None:
    file = make("seeds: [3, 4]")
    assert (file.seeds, file.repeats.count) == ((3, 4), 1)


def test_a_begun_study_keeps_its_number_of_seeds(
    run: Run, make: Callable[..., StudyFile], records: Records, origin: study_store.Origin
) -> None:
    run(make("seeds: 2"))
    with pytest.raises(InputError, match=r"tuner\.seeds: 3"):
        study_store.open_study(records, make("seeds: 3"), origin)


def test_retrainings_take_seeds_that_no_other_took(make: Callable[..., StudyFile]) -> None:
    workload = workload_of(make("seeds: 3"))
    assert [workload.reseeded({}, number) for number in (1, 2)] == [{"seed": 2001}, {"seed": 2004}]


@pytest.mark.usefixtures("agents_in_this_process")
def test_a_study_with_seeds_can_be_verified(
    make: Callable[..., StudyFile], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("seeds: 2", text=STUDY.replace("[1.0]", "[1.0, 3.0]").replace("run_cap: 6", "run_cap: 3"))
    usual = ["--agents", "1", "--wandb", "off", "--results", str(tmp_path / "results"), "--json"]
    assert main(["study", str(tmp_path / "several.yaml"), *usual]) == 0
    capsys.readouterr()
    assert main(["verify", "several", "--seeds", "2", "--top", "1", *usual]) == 0
    (best,) = json.loads(capsys.readouterr().out)["candidates"]
    assert best["again"] == [2001.5, 2003.5]  # with the seeds 2001 and 2002, then 2003 and 2004


def test_a_study_with_seeds_gets_exactly_its_trials_from_two_agents(
    make: Callable[..., StudyFile], url: str, tmp_path: Path
) -> None:
    import tuner

    make("seeds: 2", text=STUDY.replace("[1.0]", "[1.0, 2.0, 3.0]"))
    found = tuner.study(tmp_path / "several.yaml", agents=2, results=tmp_path / "results", quiet=True)
    assert [(t.state, len(t.user_attrs["repeats"])) for t in found.optuna.trials] == [
        (TrialState.COMPLETE, 2)
    ] * 6
    assert (tmp_path / "calls.txt").read_text().split() != []
    assert "±" in str(found)


def unused(config: Mapping[str, Any]) -> float:
    return 0.0


def test_a_loop_of_ones_own_repeats_by_itself(tmp_path: Path) -> None:
    import tuner

    with pytest.raises(InputError, match="run each configuration as often as you like and tell the mean"):
        tuner.ask("loop", {"x": (0.0, 1.0)}, metric="loss", results=tmp_path, options={"seeds": 2})
