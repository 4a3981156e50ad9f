"""Objectives of Optuna's: what a trial may be asked, and the callbacks of optuna-integration."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

import tuner
from tuner.api import StudyResult

Objective = Callable[[optuna.Trial], Any]


@pytest.fixture
def run(tmp_path: Path, agents_in_this_process: None) -> Callable[..., StudyResult]:
    def run(objective: Objective, space: Any = None, **options: Any) -> StudyResult:
        told = {"trials": 3, "agents": 1, "quiet": True, "results": tmp_path, "name": "asked", **options}
        return tuner.study(objective, space, **told)

    return run


def test_a_trial_may_be_asked_what_optunas_may(run: Callable[..., StudyResult]) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 8, step=2)
        n = trial.suggest_int("n", 1, 8, log=True)
        assert trial.suggest_float("x", 0, 8, step=2) == x
        assert trial.params == {"x": x, "n": n} and trial.datetime_start is not None
        assert trial.distributions == {
            "x": FloatDistribution(0, 8, step=2),
            "n": IntDistribution(1, 8, log=True),
        }
        study: Any = trial.study
        assert (study.study_name, study.direction.name, len(study.trials)) == (
            "asked",
            "MINIMIZE",
            trial.number + 1,
        )
        assert study.user_attrs == ({"latest": trial.number - 1} if trial.number else {})
        study.set_user_attr("latest", trial.number)
        trial.set_user_attr("best", study.best_trial.number if trial.number else None)
        assert trial.user_attrs.keys() == {"best"}
        return float(trial.number)

    found = run(objective)
    assert [trial.value for trial in found.optuna.trials] == [0.0, 1.0, 2.0]
    assert [trial.user_attrs["best"] for trial in found.optuna.trials] == [None, 0, 0]


def test_the_space_may_be_what_the_trials_ask_for(run: Callable[..., StudyResult], tmp_path: Path) -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("kind", ["line", "curve"]) == "line":
            return trial.suggest_float("slope", 0, 1)
        return 2 + trial.suggest_int("bend", 1, 3)

    found = run(objective, trials=12, options={"first": [{"kind": "line", "slope": 0.25}, {"kind": "curve"}]})
    first, second = found.optuna.trials[:2]
    assert first.params == {"kind": "line", "slope": 0.25} and first.value == 0.25
    assert second.params.keys() == {"kind", "bend"}
    config = tuner.results("asked", results=tmp_path).best_config
    assert config["kind"] == "line" and config["slope"] <= 0.25


def test_several_objectives_may_be_returned_as_a_tuple(run: Callable[..., StudyResult]) -> None:
    both = {"objectives": [{"name": "loss", "goal": "minimize"}, {"name": "acc", "goal": "maximize"}]}

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        return x, 1 - x**2

    found = run(objective, metric="loss", options=both)
    assert all(
        trial.values == [trial.params["x"], 1 - trial.params["x"] ** 2] for trial in found.optuna.trials
    )
    with pytest.raises(tuner.WorkFailed, match=r"returned 2 values, the study has 1 objective \(value\)"):
        run(objective, name="one")


def test_constraints_of_an_objective_rank_its_trials(run: Callable[..., StudyResult]) -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.set_constraint("small", 1.0 if trial.number == 0 else -1.0)
        return float(trial.number)

    found = run(objective, {"x": (0.0, 1.0)})
    assert found.optuna.trials[0].constraints == {"small": 1.0}
    assert found.best is not None and found.best.number == 1


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda trial: trial.set_user_attr("error", 1), "the user attribute 'error' is the tuner's own"),
        (lambda trial: trial.study.set_user_attr("digest", 1), "the user attribute 'digest' is the tuner's"),
        (lambda trial: trial.study.tell(0, 1.0), "trial.study.tell: not from within a trial"),
        (lambda trial: trial.study.enqueue_trial({}), "queue a configuration with: tuner enqueue"),
    ],
)
def test_what_is_the_tuners_is_not_written(
    run: Callable[..., StudyResult], write: Callable[[Any], None], said: str
) -> None:
    def objective(trial: optuna.Trial) -> float:
        write(trial)
        return 0.0

    with pytest.raises(tuner.WorkFailed, match=said):
        run(objective)


def test_an_objective_may_stop_the_study(run: Callable[..., StudyResult]) -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.number == 1:
            trial.study.stop()
        return trial.suggest_float("x", 0, 1)

    assert len(run(objective, trials=9).optuna.trials) == 2


def test_only_an_objective_may_leave_the_space_out(run: Callable[..., StudyResult], tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("def train(config):\n    return 1.0\n")
    (tmp_path / "study.yaml").write_text(
        "method: random\nmetric: {name: loss}\ntuner: {objective: 'train.py:train'}\n"
    )
    with pytest.raises(tuner.InputError, match="'parameters': missing; expected the parameters to search"):
        tuner.study(tmp_path / "study.yaml", trials=1, results=tmp_path, quiet=True)


# -- callbacks of optuna-integration: of three trials, the third is bad and is pruned after its first epoch

RATES = (0.4, 0.5, 1e-6)
X = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
Y = 4 * X[:, 0]


def _lightgbm(trial: optuna.Trial, rate: float) -> float:
    import lightgbm
    from optuna_integration import LightGBMPruningCallback

    data = lightgbm.Dataset(X, Y)
    params = {"learning_rate": rate, "min_data_in_leaf": 2, "metric": "l2", "verbose": -1, "num_threads": 1}
    callback = LightGBMPruningCallback(trial, "l2", valid_name="valid")
    options = {"valid_sets": [data], "valid_names": ["valid"], "callbacks": [callback]}
    booster = lightgbm.train(params, data, 3, **options)
    return float(booster.best_score["valid"]["l2"])


def _xgboost(trial: optuna.Trial, rate: float) -> float:
    import xgboost
    from optuna_integration import XGBoostPruningCallback

    data, found = xgboost.DMatrix(X, Y), {}
    callback = XGBoostPruningCallback(trial, "valid-rmse")
    options = {
        "evals": [(data, "valid")],
        "evals_result": found,
        "callbacks": [callback],
        "verbose_eval": False,
    }
    xgboost.train({"eta": rate, "nthread": 1}, data, 3, **options)
    return float(found["valid"]["rmse"][-1])


def _catboost(trial: optuna.Trial, rate: float) -> float:
    import catboost
    from optuna_integration import CatBoostPruningCallback

    callback = CatBoostPruningCallback(trial, "RMSE")
    model = catboost.CatBoostRegressor(
        iterations=3, learning_rate=rate, verbose=0, thread_count=1, allow_writing_files=False
    )
    model.fit(X, Y, eval_set=(X, Y), callbacks=[callback])
    callback.check_pruned()
    return float(model.best_score_["validation"]["RMSE"])


def _keras(trial: optuna.Trial, rate: float) -> float:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from optuna_integration import KerasPruningCallback

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(rate), "mse")
    callback = KerasPruningCallback(trial, "val_loss")
    told = model.fit(X, Y, epochs=3, verbose=0, validation_data=(X, Y), callbacks=[callback])
    return float(told.history["val_loss"][-1])


def _torch(rate: float) -> tuple[Any, Any]:
    import torch

    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    return model, torch.optim.SGD(model.parameters(), rate)


def _skorch(trial: optuna.Trial, rate: float) -> float:
    import skorch
    from optuna_integration import SkorchPruningCallback

    net = skorch.NeuralNetRegressor(
        _torch(rate)[0],
        lr=rate,
        max_epochs=3,
        verbose=0,
        callbacks=[SkorchPruningCallback(trial, "valid_loss")],
    )
    net.fit(X, Y[:, None])
    return float(net.history[-1, "valid_loss"])


def _ignite(trial: optuna.Trial, rate: float) -> float:
    import torch
    from ignite import engine
    from optuna_integration import PyTorchIgnitePruningHandler

    model, optimizer = _torch(rate)
    x, y = torch.tensor(X), torch.tensor(Y)[:, None]

    def step(_: Any, batch: Any) -> dict[str, float]:
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": float(torch.nn.functional.mse_loss(model(x), y))}

    trainer, evaluator = engine.Engine(step), engine.Engine(lambda *_: None)

    @trainer.on(engine.Events.EPOCH_COMPLETED)
    def evaluate(_: Any) -> None:
        evaluator.state.metrics = {"loss": trainer.state.output["loss"]}
        evaluator.fire_event(engine.Events.COMPLETED)

    handler = PyTorchIgnitePruningHandler(trial, "loss", trainer)
    evaluator.add_event_handler(engine.Events.COMPLETED, handler)
    trainer.run([0], max_epochs=3)
    return float(trainer.state.output["loss"])


def _lightning(trial: optuna.Trial, rate: float) -> float:
    import torch
    from lightning import pytorch as lightning
    from optuna_integration import PyTorchLightningPruningCallback

    class Line(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = _torch(rate)[0]

        def _loss(self, batch: Any) -> Any:
            return torch.nn.functional.mse_loss(self.model(batch[0])[:, 0], batch[1])

        def training_step(self, batch: Any, _: int) -> Any:
            return self._loss(batch)

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val_loss", self._loss(batch))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), rate)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), 64)
    trainer = lightning.Trainer(
        max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, callbacks=[PyTorchLightningPruningCallback(trial, "val_loss")],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Line(), data, data)
    return float(trainer.callback_metrics["val_loss"])


def _distributed(trial: optuna.Trial, rate: float) -> float:
    """`TorchDistributedTrial`, with this as its only process."""
    from optuna_integration import TorchDistributedTrial

    shared = TorchDistributedTrial(trial)
    assert shared.number == trial.number
    shared.set_user_attr("ranks", 1)
    for step in range(3):
        shared.report(1 - rate, step)
        if shared.should_prune():
            raise optuna.TrialPruned
    return 1 - rate


@pytest.fixture
def process_group() -> Iterator[None]:
    distributed = pytest.importorskip("torch.distributed")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


FRAMEWORKS = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "catboost": _catboost,
    "keras": _keras,
    "skorch": _skorch,
    "ignite": _ignite,
    "lightning": _lightning,
    "torch": _distributed,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_callback_of_optuna_integration_prunes(
    framework: str, run: Callable[..., StudyResult], process_group: None
) -> None:
    for package in ("optuna_integration", framework):
        pytest.importorskip(package)
    train = FRAMEWORKS[framework]
    found = run(lambda trial: train(trial, RATES[trial.number]), options={"pruner": "successive_halving"})
    trials = found.optuna.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert len(trials[0].intermediate_values) >= 3 and len(trials[2].intermediate_values) == 1
    assert "better" in trials[2].user_attrs["pruned_because"]


def test_a_script_that_optimises_when_it_is_imported_gives_its_objective(
    tmp_path: Path, agents_in_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = """
import optuna

def objective(trial):
    return trial.suggest_float("x", 0.0, 1.0)

study = optuna.create_study(study_name="mine", storage="sqlite:///own.db")
try:
    study.optimize(objective, n_trials=1000)
except Exception:
    pass
open("after", "w").write(str(study.best_value))
"""
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "asks.yaml").write_text(
        "method: random\nmetric: {name: value}\ntuner: {objective: 'script.py:objective'}\n"
    )
    found = tuner.study("asks.yaml", trials=2, agents=1, quiet=True, results=tmp_path / "results")
    assert [trial.value for trial in found.optuna.trials] == [t.params["x"] for t in found.optuna.trials]
    assert not (tmp_path / "own.db").exists() and not (tmp_path / "after").exists()
    study = optuna.create_study()
    study.optimize(lambda trial: 1.0, n_trials=1)
    assert study.best_value == 1.0, "Optuna is itself again"
