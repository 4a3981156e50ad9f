"""Functions as trials: what they may return, and that they may use W&B."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tuner
from tuner.api import StudyResult
from tuner.base.errors import InputError
from tuner.definition.metric import Metric
from tuner.workloads.function import as_metrics, call

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "returned",
    [0.5, np.float32(0.5), np.array(0.5), np.array([0.5]), torch.tensor(0.5), torch.tensor([0.5])],
    ids=lambda value: type(value).__name__,
)
def test_a_function_may_return_any_number(returned: Any, tmp_path: Path) -> None:
    found = call(
        lambda config: returned, {}, lambda *_: None, run_folder=tmp_path / "0", objectives=(Metric("loss"),)
    )
    assert found == {"loss": 0.5} and type(found["loss"]) is float


@pytest.mark.parametrize("returned", ["a text", np.array([1.0, 2.0]), True])
def test_what_is_no_number_is_said(returned: Any) -> None:
    with pytest.raises(InputError, match="expected a dictionary of metrics or a number"):
        as_metrics(returned, "loss")


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        (lambda report: report(0.5), "report(0.5)"),
        (lambda report: report({"loss": 0.5}, 0), "report({'loss': 0.5}, 0)"),
        (lambda report: report("loss", 0.5), "report('loss', 0.5)"),
        (lambda report: report(loss=0.5, step=1), "report(loss=0.5, step=1)"),
        (lambda report: report(1.5, 0.5), "report(1.5, 0.5)"),
    ],
)
def test_a_wrong_call_of_report_is_told_the_right_one(
    wrong: Callable[[Any], None], shown: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as told:
        call(
            lambda config, report: wrong(report),
            {},
            lambda *_: None,
            run_folder=tmp_path / "0",
            objectives=(Metric("loss"),),
        )
    assert str(told.value) == (
        f"expected report(epoch, metrics), for example report(0, {{'loss': 0.31}}), got {shown}"
    )


def test_not_a_number_stays_what_it_is() -> None:
    assert math.isnan(as_metrics(torch.tensor(float("nan")), "loss")["loss"])


@pytest.mark.slow
def test_a_function_that_uses_wandb_is_offline_and_sees_its_values(tmp_path: Path) -> None:
    code = """
        import wandb
        def train(config):
            run = wandb.init(project="mine")
            assert dict(wandb.config) == config, (dict(wandb.config), config)
            run.log({"seen": wandb.config["lr"]})
            return wandb.config["lr"]
    """
    (tmp_path / "train.py").write_text(textwrap.dedent(code))
    (tmp_path / "study.yaml").write_text(
        "method: grid\nmetric: {name: loss}\nparameters: {lr: {values: [1e-05, 2.0]}}\n"
        "tuner: {objective: 'train.py:train'}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "study", str(tmp_path / "study.yaml"), "--agents", "1",
         "--wandb", "offline", "--results", str(tmp_path / "results")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "trial 1 complete: loss 2.0000" in done.stderr
    runs = list((tmp_path / "results" / "wandb" / "study" / "wandb").glob("offline-run-*"))
    assert len(runs) == 4  # one a trial is the tuner's own, one the function's


OPTUNAS = """
import optuna


def objective(trial):
    x = trial.suggest_float("x", -10, 10)
    layers = trial.suggest_int("net.layers", 1, 3)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    for step in range(3):
        trial.report(abs(x) + 3 - step, step)
        if trial.should_prune():
            raise optuna.TrialPruned()
    trial.set_user_attr("note", kind)
    return x**2 + layers


if __name__ == "__main__":
    optuna.create_study().optimize(objective, n_trials=20)
"""


@pytest.fixture
def optunas(tmp_path: Path, agents_in_this_process: None) -> Callable[..., StudyResult]:
    """`optunas(x=[…])`: a grid of Optuna's objective."""

    def run(*, pruner: str = "none", **parameters: Any) -> StudyResult:
        (tmp_path / "objective.py").write_text(OPTUNAS)
        raw = {
            "method": "grid",
            "name": "optunas",
            "metric": {"name": "value", "goal": "minimize"},
            "parameters": {name: {"values": values} for name, values in parameters.items()},
            "tuner": {"objective": "objective.py:objective", "pruner": pruner},
        }
        (tmp_path / "optunas.yaml").write_text(json.dumps(raw))
        results = tmp_path / "results"
        return tuner.study(tmp_path / "optunas.yaml", agents=1, results=results, quiet=True)

    return run


def test_an_objective_of_optunas_runs_as_it_is(optunas: Callable[..., StudyResult]) -> None:
    found = optunas(x=[2.0, 3.0], **{"net.layers": [1], "kind": ["a"]})
    assert [trial.value for trial in found.optuna.trials] == [5.0, 10.0]
    assert found.optuna.trials[0].intermediate_values == {1: 5.0, 2: 4.0, 3: 3.0}


def test_an_objective_of_optunas_is_pruned(optunas: Callable[..., StudyResult]) -> None:
    found = optunas(pruner="successive_halving", x=[0.5, 1.0, 9.0], **{"net.layers": [1], "kind": ["b"]})
    last = found.optuna.trials[-1]
    assert last.state.name == "PRUNED"
    assert last.user_attrs["pruned_because"].startswith("epoch 1: 12;")


def test_a_parameter_that_only_optunas_objective_knows_is_named(
    optunas: Callable[..., StudyResult],
) -> None:
    said = "the objective asks for 'net.layers', which is not a parameter of the study .there are: x, kind."
    with pytest.raises(tuner.WorkFailed, match=said):
        optunas(x=[2.0, 3.0, 4.0], kind=["a"])


@pytest.mark.parametrize("how", ["tune.report({'loss': loss})", "report(dict(loss=loss), checkpoint=None)"])
def test_a_function_of_ray_tunes_reports_to_the_study(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the place of Ray's, which needs no cluster for this."""
    ray, tune = types.ModuleType("ray"), types.ModuleType("ray.tune")
    ray.tune = tune  # type: ignore[attr-defined]
    tune.report = lambda *_, **__: pytest.fail("told Ray")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.tune", tune)
    names: dict[str, Any] = {}
    exec(
        "from ray import tune\nfrom ray.tune import report\n"
        f"def train(config):\n    for loss in (config['lr'], 0.25):\n        {how}\n",
        names,
    )
    reported: list[tuple[int, Any]] = []
    found = call(
        names["train"],
        {"lr": 0.5},
        lambda epoch, metrics: reported.append((epoch, dict(metrics))),
        run_folder=tmp_path / "0",
        objectives=(Metric("loss"),),
    )
    assert (found, reported) == ({"loss": 0.25}, [(0, {"loss": 0.5}), (1, {"loss": 0.25})])
    with pytest.raises(pytest.fail.Exception):
        names["tune"].report()  # Ray's own again
