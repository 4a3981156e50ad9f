"""Ray Tune with ASHA and OptunaSearch on the trivial objective of bench_overhead.py, actors reused.

python peer_ray.py TRIALS REPORTS PARAMETERS WORKERS
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

os.environ.update(RAY_AIR_NEW_OUTPUT="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_DEDUP_LOGS="0")

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

trials, reports, parameters, workers = map(int, sys.argv[1:])


class Objective(tune.Trainable):
    """A class rather than a function, because only a class may be reused for the next trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self.total, self.epoch = sum(config.values()), 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, float]:
        self.epoch += 1
        return {"score": self.total * self.epoch / reports}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


ray.init(num_cpus=workers, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
tune.Tuner(
    Objective,
    param_space={f"x{i}": tune.uniform(0, 1) for i in range(parameters)},
    tune_config=tune.TuneConfig(
        metric="score",
        mode="max",
        num_samples=trials,
        reuse_actors=True,
        search_alg=ConcurrencyLimiter(OptunaSearch(seed=0), max_concurrent=workers),
        scheduler=ASHAScheduler(max_t=reports, grace_period=1, reduction_factor=3),
    ),
    run_config=tune.RunConfig(verbose=0, stop={"training_iteration": reports}),
).fit()
