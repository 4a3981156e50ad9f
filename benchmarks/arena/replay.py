"""A tuner spends epochs on recorded learning curves: what all scripts of the comparison share.

Standard library only: every peer's script imports it in a Python of its own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
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
        """The values after each epoch of a run with `params`; larger is better."""
        ...


class Timed(Tuner):
    """A tuner, with the processor seconds that it takes.

    Attributes:
        asked: trials that were proposed or resumed. seconds: of this thread, all calls together.
    """

    def __init__(self, tuner: Tuner) -> None:
        self.tuner, self.asked, self.seconds = tuner, 0, 0.0

    def _timed(self, call: Callable[[], Any]) -> Any:
        begun = time.process_time()
        try:
            return call()
        finally:
            self.seconds += time.process_time() - begun

    def ask(self) -> tuple[Any, dict[str, Any]]:
        self.asked += 1
        found: tuple[Any, dict[str, Any]] = self._timed(self.tuner.ask)
        return found

    def report(self, trial: Any, epoch: int, value: float) -> bool:
        return bool(self._timed(lambda: self.tuner.report(trial, epoch, value)))

    def finish(self, trial: Any, value: float, *, stopped: bool) -> None:
        self._timed(lambda: self.tuner.finish(trial, value, stopped=stopped))

    def done(self, trial: Any) -> int:
        return self.tuner.done(trial)


def replay(tuner: Tuner, world: World, *, budget: int, workers: int) -> list[float]:
    """The best value seen after 1, 2, … `budget` epochs, spent by `workers` that train an epoch in turn."""
    running: dict[int, tuple[Any, list[float], Iterator[int]]] = {}
    values = []
    for turn in range(budget):
        worker = turn % workers
        if worker not in running:
            trial, params = tuner.ask()
            running[worker] = trial, world.curve(params), itertools.count(tuner.done(trial) + 1)
        trial, curve, epochs = running[worker]
        epoch = next(epochs)
        value = curve[epoch - 1]
        stop = tuner.report(trial, epoch, value)
        if stop or epoch == world.epochs:
            tuner.finish(trial, value, stopped=stop and epoch < world.epochs)
            del running[worker]
        values.append(value)
    return list(itertools.accumulate(values, max))
