"""A tuner spends epochs on recorded learning curves: what all scripts of the comparison share.

Standard library only: every peer's script imports it in a Python of its own, and asks the benchmark's
process for the curves (surrogate.py there makes them), over a local socket.
"""

from __future__ import annotations

import math
import os
import sys
from multiprocessing.connection import Client
from typing import Any, Protocol


class Tuner(Protocol):
    """What a tuner must do to be compared: its own search and its own stopping rule."""

    def ask(self) -> tuple[Any, dict[str, Any]]:
        """A trial's handle and its parameters."""
        ...

    def report(self, trial: Any, epoch: int, value: float) -> bool:
        """Takes the value after `epoch` (from 1; larger is better); True stops or pauses the trial."""
        ...

    def finish(self, trial: Any, value: float, *, stopped: bool) -> None:
        """The trial has ended with `value`, or it pauses."""
        ...

    def done(self, trial: Any) -> int:
        """Epochs that a trial had before it paused. Tuners that do not pause leave this as it is."""
        return 0


class World(Protocol):
    """What is searched: `space` is a list of {name, low, high, log, integer} or {name, choices}."""

    space: list[dict[str, Any]]
    epochs: int

    def curve(self, params: dict[str, Any]) -> list[float]:
        """The values after each epoch of a run with `params`."""
        ...


class RemoteWorld:
    """The world of the benchmark's process, asked through a connection."""

    def __init__(self, connection: Any, task: dict[str, Any]) -> None:
        self.space, self.epochs = task["space"], task["epochs"]
        self._connection = connection

    def curve(self, params: dict[str, Any]) -> list[float]:
        """The values after each epoch."""
        self._connection.send({name: _plain(value) for name, value in params.items()})
        return self._connection.recv()


def replay(tuner: Tuner, world: World, *, budget: int, workers: int) -> list[float]:
    """The best value seen after 1, 2, … `budget` epochs, spent by `workers` that train an epoch in turn."""
    running: list[Any] = [None] * workers
    best, trace = -math.inf, []
    while len(trace) < budget:
        for place in range(workers):
            if running[place] is None:
                trial, params = tuner.ask()
                running[place] = [trial, world.curve(params), tuner.done(trial)]
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
    """A peer's script: `python peer.py SOCKET` sends a list of traces, one a seed, when all are done."""
    with Client(sys.argv[1], authkey=os.environ["REPLAY_KEY"].encode()) as connection:
        task = connection.recv()
        world = RemoteWorld(connection, task)
        connection.send(
            [
                replay(make(world, seed), world, budget=task["budget"], workers=task["workers"])
                for seed in range(task["seeds"])
            ]
        )


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's: the other side may have another NumPy."""
    return value.item() if hasattr(value, "item") else value
