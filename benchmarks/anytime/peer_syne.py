"""Syne Tune's BOHB: asynchronous successive halving with a density-ratio search, called as its tuner does."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import numpy as np
import replay
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, loguniform, randint, uniform
from syne_tune.optimizer.baselines import BOHB
from syne_tune.optimizer.scheduler import SchedulerDecision

logging.disable(logging.WARNING)


class SyneTune(replay.Tuner):
    def __init__(self, world: replay.World, seed: int) -> None:
        np.random.seed(seed)
        space: dict[str, Any] = {}
        for axis in world.space:
            if "choices" in axis:
                space[axis["name"]] = choice(axis["choices"])
            elif axis["integer"]:
                space[axis["name"]] = randint(axis["low"], axis["high"])
            else:
                draw = loguniform if axis["log"] else uniform
                space[axis["name"]] = draw(axis["low"], axis["high"])
        self.scheduler = BOHB(
            space,
            metric="acc",
            time_attr="epoch",
            max_t=world.epochs,
            do_minimize=False,
            random_seed=seed,
            grace_period=1,
            reduction_factor=3,
        )
        self.count = 0

    def ask(self) -> tuple[Trial, dict[str, Any]]:
        config = self.scheduler.suggest().config
        trial = Trial(self.count, config, datetime(2026, 1, 1))
        self.count += 1
        self.scheduler.on_trial_add(trial)
        return trial, config

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        self.last = {"acc": value, "epoch": epoch}
        return self.scheduler.on_trial_result(trial, self.last) == SchedulerDecision.STOP

    def finish(self, trial: Trial, value: float, *, stopped: bool) -> None:
        if stopped:
            self.scheduler.on_trial_remove(trial)
        else:
            self.scheduler.on_trial_complete(trial, self.last)


if __name__ == "__main__":
    replay.main(SyneTune)
