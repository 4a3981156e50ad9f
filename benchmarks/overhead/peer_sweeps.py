"""W&B's search and stopping rule on the trivial objective of bench_overhead.py, decided in this process.

    python peer_sweeps.py TRIALS REPORTS PARAMETERS WORKERS

This is what W&B's server computes; its agents, which need that server, are left out, and so is the network.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

from arena.peers import Sweeps

trials, reports, parameters, _ = map(int, sys.argv[1:])
bounds = {"low": 0.0, "high": 1.0, "log": False, "integer": False}
world = SimpleNamespace(space=[{"name": f"x{i}", **bounds} for i in range(parameters)], epochs=reports)
tuner = Sweeps(world, 0)
for _ in range(trials):
    run, params = tuner.ask()
    total = sum(params.values())
    any(tuner.report(run, epoch, total * epoch / reports) for epoch in range(1, reports + 1))
    tuner.finish(run, total, stopped=False)
