"""`scheduler: {source: …}`: studies of Optuna's and spaces that a user's file makes, called as by W&B."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState
from wandb.sdk.sweeps.scheduler.optuna import build_optuna_optimizer
from wandb.sdk.sweeps.sweep_info import SweepInfo

from tuner.__main__ import main
from tuner.base.files import read_json
from tuner.storage.access import default_url, open_records
from tuner.storage.study import load_study

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("agents_in_this_process")]

TRAIN = """
import json, sys

given = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
for epoch in range(3):
    print(json.dumps({"loss": float(given["x"]) + epoch}))
"""
FUNCTIONS = """
import optuna

def space(trial):
    found = {"x": trial.suggest_float("x", 0.0, 1.0), "epochs": 3}
    if trial.suggest_categorical("kind", ["line", "curve"]) == "curve":
        found["bend"] = trial.suggest_int("bend", 1, 4)
    return found

def make(sweep):
    assert sweep.config["metric"]["name"] == "loss"
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=1), pruner=optuna.pruners.ThresholdPruner(upper=2.5)
    )
    return study, lambda study: len(study.trials) == 4

def wrong(sweep):
    return optuna.create_study(direction="maximize")

def half(sweep):
    return 0.5

def nothing():
    return optuna.create_study()
"""
Study = Callable[..., int]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "search.py").write_text(FUNCTIONS)

    def run(trials: int, **top: object) -> int:
        whole = {"program": "train.py", "method": "custom", "metric": {"name": "loss"}, **top}
        (tmp_path / "mine.yaml").write_text(json.dumps(whole))
        return main(["study", "mine.yaml", "--agents", "1", "--wandb", "off", "--trials", str(trials)])

    return run


def trials() -> list[FrozenTrial]:
    return load_study(open_records(default_url(Path("results"))), "mine").get_trials()


def _printed(capsys: pytest.CaptureFixture[str]) -> str:
    """All that was printed, in one line."""
    return " ".join("".join(capsys.readouterr()).split())


def test_a_study_and_a_space_that_functions_make(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = {"engine": "optuna", "source": "search.py", "optimizer": "make", "search_space": "space"}
    assert study(9, scheduler=scheduler) == 0
    found = trials()
    assert len(found) == 4 and "the terminator of search.py:make" in capsys.readouterr().out
    for trial in found:
        config = read_json(Path("results/runs/mine") / str(trial.number) / "config.json")
        drawn = {name: value for name, value in trial.params.items() if name != "kind"}
        assert config == {**drawn, "epochs": 3}, "what the function returned"
        assert ("bend" in config) == (trial.params["kind"] == "curve")
        assert (trial.state is TrialState.PRUNED) == (trial.params["x"] > 0.5)


def test_trials_have_the_values_that_wandbs_own_scheduler_gives_them(study: Study) -> None:
    scheduler = {"engine": "optuna", "source": "search.py", "optimizer": "make", "search_space": "space"}
    assert study(3, scheduler=scheduler) == 0
    config = {"metric": {"name": "loss", "goal": "minimize"}, "scheduler": scheduler}
    sweep = SweepInfo("id", "mine", "", "", config=config, controller_run_name="")
    theirs = [run.config.flat_dict() for run in build_optuna_optimizer(sweep).ask_n_runs(3)]
    ours = [read_json(Path(f"results/runs/mine/{number}/config.json")) for number in range(3)]
    assert ours == theirs


def test_a_sampler_that_has_tried_everything_ends_the_study(study: Study) -> None:
    settings = {"sampler": {"type": "BruteForceSampler"}}
    parameters = {"x": {"values": [1, 2, 3]}}
    assert study(9, parameters=parameters, scheduler={"engine": "optuna", "settings": settings}) == 0
    assert sorted(trial.params["x"] for trial in trials()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (
            "nowhere",
            "mine.yaml: scheduler.optimizer 'search.py:nowhere': search.py has no function 'nowhere'",
        ),
        ("nothing", "scheduler.optimizer 'search.py:nothing': expected one argument, it has ()"),
        ("wrong", "its study is to maximize, the file to minimize"),
        ("half", "expected an optuna.Study, or one and a terminator, got float"),
    ],
)
def test_a_function_that_does_not_do_is_one_line(
    study: Study, capsys: pytest.CaptureFixture[str], function: str, told: str
) -> None:
    scheduler = {"engine": "optuna", "source": "search.py", "optimizer": function}
    assert study(2, scheduler=scheduler, parameters={"x": {"min": 0.0, "max": 1.0}}) != 0
    printed = _printed(capsys)
    assert told in printed and "Traceback" not in printed


def test_a_file_of_functions_that_changes_is_noted(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = {"engine": "optuna", "source": "search.py", "search_space": "space"}
    told = "search.py has changed since the study began: earlier trials used the old version"
    assert study(1, scheduler=scheduler) == study(2, scheduler=scheduler) == 0
    assert told not in _printed(capsys)
    Path("search.py").write_text(FUNCTIONS.replace("1.0", "0.5"))
    assert study(3, scheduler=scheduler) == 0
    printed = _printed(capsys)
    assert told in printed and "train.py has changed" not in printed
    assert main(["study", "mine.yaml", "--dry-run"]) == 0
    assert "search.py " in next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("reads: train.py ")
    )
