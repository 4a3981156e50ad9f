"""W&B's own search and early stopping (`sweeps` 0.3.0: bayes with hyperband), as its server runs them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import replay
from sweeps import next_run, stop_runs
from sweeps.run import RunState, SweepRun


class Sweeps(replay.Tuner):
    def __init__(self, world: replay.World, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        parameters = {}
        for axis in world.space:
            if "choices" in axis:
                parameters[axis["name"]] = {"values": axis["choices"]}
            elif axis["integer"]:
                parameters[axis["name"]] = {"min": axis["low"], "max": axis["high"]}
            else:
                kind = "log_uniform_values" if axis["log"] else "uniform"
                bounds = {"min": axis["low"], "max": axis["high"]}
                parameters[axis["name"]] = {"distribution": kind, **bounds}
        self.config = {
            "method": "bayes",
            "metric": {"name": "acc", "goal": "maximize"},
            "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 3},
            "parameters": parameters,
        }
        self.runs: list[SweepRun] = []

    def ask(self) -> tuple[SweepRun, dict[str, Any]]:
        run = next_run(self.config, self.runs)
        run.name, run.state = str(len(self.runs)), RunState.running
        self.runs.append(run)
        return run, {name: entry["value"] for name, entry in run.config.items()}

    def report(self, run: SweepRun, epoch: int, value: float) -> bool:
        run.history.append({"acc": value})
        run.summary_metrics = {"acc": value}
        return run.name in {stopped.name for stopped in stop_runs(self.config, self.runs)}

    def finish(self, run: SweepRun, value: float, *, stopped: bool) -> None:
        run.state = RunState.finished


if __name__ == "__main__":
    replay.main(Sweeps)
