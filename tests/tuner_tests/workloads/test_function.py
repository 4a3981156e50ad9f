"""Functions as trials: what they may return, and that they may use W&B."""

from __future__ import annotations

import functools
import json
import math
import os
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
from tuner.base.errors import InputError, WorkFailed
from tuner.definition.metric import Metric
from tuner.workloads.function import as_metrics, call
from tuner.workloads.given import code_digest, packed, unpacked
from tuner.workloads.user_code import arguments

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


def test_a_function_that_calls_sys_exit_fails_its_trial(tmp_path: Path) -> None:
    def leaves(config: dict[str, Any]) -> float:
        sys.exit("too large")

    with pytest.raises(WorkFailed, match=r"it called sys.exit\('too large'\)"):
        call(leaves, {}, lambda epoch, metrics: None, run_folder=tmp_path / "0", objectives=[Metric("loss")])


def test_a_function_that_would_not_see_its_configuration_is_refused() -> None:
    def by_name(*, x: float = 0.5) -> float:
        return x

    def any_name(**config: float) -> float:
        return config.get("x", 0.5)

    def needs_report(config: dict[str, Any], *, report: Any) -> float:
        return float(config["x"])

    for function in (by_name, any_name, needs_report):
        with pytest.raises(InputError, match=r"expected \(config\) or \(config, report\)"):
            arguments(function, {"x": 1.0}, print)

    def extra(config: dict[str, Any], *, x: float = 0.5, **more: float) -> float:
        return x

    assert arguments(extra, {"x": 1.0}, print) == ({"x": 1.0},)


OFFSET = 1


def enclosing(offset: float) -> Callable[..., float]:
    def train(config: dict[str, Any]) -> float:
        return config["x"] + offset + OFFSET + (config["x"] in {"a", "b", "c"})

    return train


def with_default(config: dict[str, Any], data: str = "a") -> float:
    return float(config["x"]) + len(data)


def test_a_digest_tells_functions_apart_that_have_one_name() -> None:
    one = [enclosing(0), functools.partial(with_default, data="a"), lambda config: config["x"]]
    other = [enclosing(1), functools.partial(with_default, data="b"), lambda config: 2 * config["x"]]
    again = [enclosing(0), functools.partial(with_default, data="a"), lambda config: config["x"]]
    for first, second, third in zip(one, other, again, strict=True):
        digest = code_digest(unpacked(packed(first)))
        assert digest and digest == code_digest(unpacked(packed(third)))
        assert digest != code_digest(unpacked(packed(second)))


def test_a_digest_is_the_same_in_every_process() -> None:
    """The order of a set differs by process."""
    code = (
        "import sys; sys.path.insert(0, 'tests/tuner_tests/workloads')\n"
        "from test_function import code_digest, enclosing\n"
        "print(code_digest(enclosing(0)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1


def test_another_function_of_the_same_name_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for data in "ab":
        tuner.study(
            functools.partial(with_default, data=data),
            {"x": (0.0, 1.0)},
            trials=1,
            agents=1,
            results=tmp_path,
        )
    said = " ".join(capsys.readouterr().err.split())
    assert "has changed since the study began: earlier trials used the old version; for another" in said


def test_a_process_that_holds_the_last_trial_is_not_left_waiting(tmp_path: Path) -> None:
    held = tuner.ask("held", {"x": (0.0, 1.0)}, trials=1, results=tmp_path)
    assert held is not None
    assert tuner.ask("held", {"x": (0.0, 1.0)}, trials=1, results=tmp_path) is None
    assert tuner.ask("held", results=tmp_path) is None, "asked in another way"
    tuner.tell(held, 0.5)
