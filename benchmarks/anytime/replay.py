"""Recorded learning curves as a world in which tuners can be compared in seconds.

Standard library only: every peer's script imports it in a Python of its own.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Protocol


class Tuner(Protocol):
    """What a tuner must do to be compared: its own search and its own stopping rule."""

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """A trial's handle and its parameters."""
        ...

    def report(self, trial: Any, epoch: int, value: float) -> bool:
        """Takes the value after `epoch` (from 1; larger is better); True stops the trial."""
        ...

    def finish(self, trial: Any, value: float, *, stopped: bool) -> None:
        """The trial has ended with `value`."""
        ...


class World:
    """Half of the recorded runs: any configuration behaves as the recorded one nearest to it.

    Args:
        task: {"space": [{name, low, high, log, integer} or {name, choices}], "runs": [{params, values}]}.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self.space = task["space"]
        self.epochs = task["epochs"]
        self._runs = [(self._point(run["params"]), run["values"]) for run in task["runs"]]

    def curve(self, params: dict[str, Any]) -> list[float]:
        """The values after each epoch of the nearest recorded run."""
        point = self._point(params)
        return min(self._runs, key=lambda run: sum((a - b) ** 2 for a, b in zip(run[0], point, strict=True)))[
            1
        ]

    def _point(self, params: dict[str, Any]) -> list[float]:
        """The parameters in the unit cube; choices are evenly spaced, in their order."""
        point = []
        for axis in self.space:
            value = params[axis["name"]]
            if "choices" in axis:
                point.append(axis["choices"].index(value) / max(1, len(axis["choices"]) - 1))
                continue
            scale = math.log if axis["log"] else float
            low, high = scale(axis["low"]), scale(axis["high"])
            point.append((scale(value) - low) / (high - low))
        return point


def replay(tuner: Tuner, world: World, *, budget: int, workers: int) -> list[float]:
    """The best value seen after 1, 2, … `budget` epochs, spent by `workers` that train an epoch in turn."""
    running: list[Any] = [None] * workers
    best, trace = -math.inf, []
    while len(trace) < budget:
        for place in range(workers):
            if running[place] is None:
                trial, params = tuner.ask()
                running[place] = [trial, world.curve(params), 0]
            trial, curve, epoch = running[place]
            epoch += 1
            running[place][2] = epoch
            value = curve[epoch - 1]
            best = max(best, value)
            trace.append(best)
            stop = tuner.report(trial, epoch, value)
            if stop or epoch == world.epochs:
                tuner.finish(trial, value, stopped=stop and epoch < world.epochs)
                running[place] = None
    return trace[:budget]


def main(make: Any) -> None:
    """A peer's script: `python peer.py TASK.json` prints a trace a seed, as JSON."""
    task = json.loads(Path(sys.argv[1]).read_text())
    world = World(task)
    traces = [
        replay(make(world, seed), world, budget=task["budget"], workers=task["workers"])
        for seed in range(task["seeds"])
    ]
    sys.stdout.write("\nTRACES " + json.dumps(traces) + "\n")
