"""Ray Tune's ASHAScheduler with its OptunaSearch, called as its controller calls them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import optuna
import replay
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

optuna.logging.set_verbosity(optuna.logging.ERROR)


class RayTune(replay.Tuner):
    def __init__(self, world: replay.World, seed: int) -> None:
        space: dict[str, Any] = {}
        for axis in world.space:
            if "choices" in axis:
                space[axis["name"]] = tune.choice(axis["choices"])
            elif axis["integer"]:
                space[axis["name"]] = tune.randint(axis["low"], axis["high"] + 1)
            else:
                draw = tune.loguniform if axis["log"] else tune.uniform
                space[axis["name"]] = draw(axis["low"], axis["high"])
        self.search = OptunaSearch(space, metric="acc", mode="max", seed=seed)
        self.scheduler = ASHAScheduler(
            time_attr="training_iteration",
            metric="acc",
            mode="max",
            max_t=world.epochs,
            grace_period=1,
            reduction_factor=3,
        )
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
        return self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP

    def finish(self, trial: Any, value: float, *, stopped: bool) -> None:
        self.scheduler.on_trial_complete(None, trial, trial.last_result)
        self.search.on_trial_complete(trial.trial_id, trial.last_result)


if __name__ == "__main__":
    replay.main(RayTune)
