"""Ray Tune as its documentation recommends: failed trials are run again, a dead driver is restored.

peer_ray.py run TRIALS      the driver; started again it restores the experiment
peer_ray.py count TRIALS    the trials as JSON: number, state, value, x
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
FOLDER = Path.cwd() / "experiments"


def train(config: dict[str, Any]) -> None:
    """The same as `bench.OBJECTIVE`: a helper, six epochs."""
    subprocess.Popen([sys.executable, "-S", "-c", SLEEP], start_new_session=True)
    for epoch in range(6):
        time.sleep(0.05)
        tune.report({"score": config["x"] * (epoch + 1) / 6})


def row(number: int, result: Any) -> tuple[int, str, Any, Any]:
    """Number, state, value and x of a trial."""
    metrics = result.metrics or {}
    state = "FAIL" if result.error else "COMPLETE" if "score" in metrics else "WAITING"
    return number, state, metrics.get("score"), (result.config or {}).get("x")


command, trials = sys.argv[1:]
options = {"include_dashboard": False, "object_store_memory": 80 * 2**20, "logging_level": "ERROR"}
ray.init(num_cpus=2, log_to_driver=False, **options)
path = str(FOLDER / "kills")
if tune.Tuner.can_restore(path):
    tuner = tune.Tuner.restore(path, train, resume_unfinished=True, resume_errored=True)
else:
    again = tune.FailureConfig(max_failures=3)
    tuner = tune.Tuner(
        train,
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(
            num_samples=int(trials),
            metric="score",
            mode="max",
            scheduler=tune.schedulers.ASHAScheduler(max_t=6, reduction_factor=3),
        ),
        run_config=tune.RunConfig(name="kills", storage_path=str(FOLDER), verbose=0, failure_config=again),
    )
if command == "run":
    tuner.fit()
else:
    print(json.dumps([row(number, result) for number, result in enumerate(tuner.get_results())]))
