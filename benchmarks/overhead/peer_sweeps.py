"""W&B's search and stopping rule on the trivial objective of bench_overhead.py, decided in this process.

    python peer_sweeps.py TRIALS REPORTS PARAMETERS WORKERS

This is what W&B's server computes; its agents, which need that server, are left out, and so is the network.
"""

from __future__ import annotations

import random
import sys

import numpy as np
from sweeps import next_run, stop_runs
from sweeps.run import RunState

trials, reports, parameters, _ = map(int, sys.argv[1:])
random.seed(0)
np.random.seed(0)
config = {
    "method": "bayes",
    "metric": {"name": "score", "goal": "maximize"},
    "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 3},
    "parameters": {f"x{i}": {"min": 0.0, "max": 1.0} for i in range(parameters)},
}
runs = []
for number in range(trials):
    run = next_run(config, runs)
    run.name, run.state = str(number), RunState.running
    runs.append(run)
    total = sum(entry["value"] for entry in run.config.values())
    for epoch in range(1, reports + 1):
        run.history.append({"score": total * epoch / reports})
        run.summary_metrics = run.history[-1]
        if stop_runs(config, runs):
            break
    run.state = RunState.finished
