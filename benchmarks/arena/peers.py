"""Other tuners, each called as its own loop does, in an environment that has it.

    python -m arena.peers NAME SOCKET

It asks the benchmark's process for the world and its curves, and sends for each seed a list: the trace, the
processor seconds of the tuner and the trials that it proposed.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from multiprocessing.connection import Client
from types import SimpleNamespace
from typing import Any

import numpy as np
from arena.replay import Timed, Tuner, World, replay


def space_of(
    world: World,
    *,
    choice: Callable[[list[Any]], Any],
    whole: Callable[[int, int], Any],
    uniform: Callable[[float, float], Any],
    log: Callable[[float, float], Any],
) -> dict[str, Any]:
    """The space in a tuner's own terms, by name."""
    space = {}
    for axis in world.space:
        if "choices" in axis:
            space[axis["name"]] = choice(axis["choices"])
        else:
            draw = whole if axis["integer"] else log if axis["log"] else uniform
            space[axis["name"]] = draw(axis["low"], axis["high"])
    return space


class RayTune(Tuner):
    """Ray Tune's ASHAScheduler with its OptunaSearch."""

    def __init__(self, world: World, seed: int) -> None:
        import optuna
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = space_of(
            world,
            choice=tune.choice,
            whole=lambda low, high: tune.randint(low, high + 1),
            uniform=tune.uniform,
            log=tune.loguniform,
        )
        goal = {"metric": "acc", "mode": "max"}
        self.search = OptunaSearch(space, **goal, seed=seed)
        self.scheduler = ASHAScheduler(time_attr="training_iteration", **goal, max_t=world.epochs)
        self.count = 0

    def ask(self) -> tuple[Any, dict[str, Any]]:
        trial = SimpleNamespace(trial_id=str(self.count), status="RUNNING")
        self.count += 1
        params = self.search.suggest(trial.trial_id)
        self.scheduler.on_trial_add(None, trial)
        return trial, params

    def report(self, trial: Any, epoch: int, value: float) -> bool:
        result = {"acc": value, "training_iteration": epoch, "trial_id": trial.trial_id}
        trial.last_result = result
        self.search.on_trial_result(trial.trial_id, result)
        return self.scheduler.on_trial_result(None, trial, result) == self.scheduler.STOP

    def finish(self, trial: Any, value: float, *, stopped: bool) -> None:
        self.scheduler.on_trial_complete(None, trial, trial.last_result)
        self.search.on_trial_complete(trial.trial_id, trial.last_result)


class SyneTune(Tuner):
    """A method of Syne Tune: BOHB (asynchronous successive halving, a density-ratio search), or its ASHA."""

    def __init__(self, world: World, seed: int, *, method: str) -> None:
        from syne_tune.config_space import choice, loguniform, randint, uniform
        from syne_tune.optimizer import baselines

        logging.disable(logging.WARNING)
        np.random.seed(seed)
        self.scheduler = getattr(baselines, method)(
            space_of(world, choice=choice, whole=randint, uniform=uniform, log=loguniform),
            metric="acc",
            time_attr="epoch",
            max_t=world.epochs,
            do_minimize=False,
            random_seed=seed,
        )
        self.count = 0

    def ask(self) -> tuple[Any, dict[str, Any]]:
        from syne_tune.backend.trial_status import Trial

        config = self.scheduler.suggest().config
        trial = Trial(self.count, config, datetime(2026, 1, 1))
        self.count += 1
        self.scheduler.on_trial_add(trial)
        return trial, config

    def report(self, trial: Any, epoch: int, value: float) -> bool:
        from syne_tune.optimizer.scheduler import SchedulerDecision

        self.last = {"acc": value, "epoch": epoch}
        return self.scheduler.on_trial_result(trial, self.last) == SchedulerDecision.STOP

    def finish(self, trial: Any, value: float, *, stopped: bool) -> None:
        if stopped:
            self.scheduler.on_trial_remove(trial)
        else:
            self.scheduler.on_trial_complete(trial, self.last)


class Sweeps(Tuner):
    """W&B's own search and early stopping (`sweeps` 0.3.0: bayes with hyperband), as its server runs them."""

    def __init__(self, world: World, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        parameters = space_of(
            world,
            choice=lambda choices: {"values": choices},
            whole=lambda low, high: {"min": low, "max": high},
            uniform=lambda low, high: {"distribution": "uniform", "min": low, "max": high},
            log=lambda low, high: {"distribution": "log_uniform_values", "min": low, "max": high},
        )
        self.config = {
            "method": "bayes",
            "metric": {"name": "acc", "goal": "maximize"},
            "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 3},
            "parameters": parameters,
        }
        self.runs: list[Any] = []

    def ask(self) -> tuple[Any, dict[str, Any]]:
        from sweeps import next_run
        from sweeps.run import RunState

        run = next_run(self.config, self.runs)
        run.name, run.state = str(len(self.runs)), RunState.running
        self.runs.append(run)
        return run, {name: entry["value"] for name, entry in run.config.items()}

    def report(self, run: Any, epoch: int, value: float) -> bool:
        from sweeps import stop_runs

        run.history.append({"acc": value})
        run.summary_metrics = {"acc": value}
        return run.name in {stopped.name for stopped in stop_runs(self.config, self.runs)}

    def finish(self, run: Any, value: float, *, stopped: bool) -> None:
        from sweeps.run import RunState

        run.state = RunState.finished


class RemoteWorld:
    """The world of the benchmark's process, asked through a connection."""

    def __init__(self, connection: Any, task: dict[str, Any]) -> None:
        self.space, self.epochs = task["space"], task["epochs"]
        self._connection = connection

    def curve(self, params: dict[str, Any]) -> list[float]:
        """The values after each epoch. NumPy's scalars go as Python's: the other side has another NumPy."""
        plain = {n: value.item() if hasattr(value, "item") else value for n, value in params.items()}
        self._connection.send(plain)
        return self._connection.recv()


def main(name: str, socket: str) -> None:
    make: dict[str, Callable[[World, int], Tuner]] = {
        "ray": RayTune,
        "syne": partial(SyneTune, method="BOHB"),
        "syne-asha": partial(SyneTune, method="ASHA"),
        "sweeps": Sweeps,
    }
    with Client(socket, authkey=os.environ["REPLAY_KEY"].encode()) as connection:
        task = connection.recv()
        world = RemoteWorld(connection, task)
        for seed in task["seeds"]:
            tuner = Timed(make[name](world, seed))
            trace = replay(tuner, world, budget=task["budget"], workers=task["workers"])
            connection.send([trace, tuner.seconds, tuner.asked])


if __name__ == "__main__":
    main(*sys.argv[1:])
