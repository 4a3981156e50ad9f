"""Learns from the trials so far what an epoch of a configuration costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from tuner.storage.attributes import SECONDS

FEWEST = 5  # trials whose seconds are known, before anything is learnt from them
RIDGE = 0.3  # how strongly a parameter's effect is drawn towards none, in trials that say so

Array = NDArray[np.float64]


class EpochCost:
    """The logarithm of an epoch's seconds: a sum over parameters, 0 while little is known.

    A ridge regression: a parabola for each number, a level for each choice.

    Args:
        rows: (configuration, parameter), as `Cube.encode` makes them.
        choices: which parameters are choices.
        seconds: of an epoch of each configuration; None: not measured.
    """

    def __init__(self, rows: Array, choices: NDArray[np.bool_], seconds: Sequence[float | None]) -> None:
        given = np.array(seconds, dtype=float)  # None becomes NaN
        known, logs = rows[given > 0], np.log(given[given > 0])
        if len(known) < FEWEST:
            known, logs = rows[:0], np.zeros(1)
        self._mean, self._low, self._high = logs.mean(), logs.min(), logs.max()
        self._levels = [
            np.unique(known[:, place]) if choice else None for place, choice in enumerate(choices)
        ]
        parts = [_features(column, levels) for column, levels in zip(known.T, self._levels, strict=True)]
        self._centers = [part.sum(0) / max(1, len(part)) for part in parts]
        centered = [part - center for part, center in zip(parts, self._centers, strict=True)]
        x = np.concatenate([known[:, :0], *centered], axis=1)
        weights = np.zeros(x.shape[1])
        if len(known):
            weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (logs - self._mean))
        self._weights = np.split(weights, np.cumsum([part.shape[1] for part in parts])[:-1])

    def logs(self, rows: Array) -> Array:
        """At the points `rows` (configuration, parameter), within what was measured: (configuration,)."""
        found = np.full(len(rows), self._mean)
        for place, column in enumerate(rows.T):
            found += self.part(place, column)
        return np.clip(found, self._low, self._high)

    def part(self, place: int, column: Array) -> Array:
        """The addend of the parameter at `place`, of mean 0: column (n,) → (n,)."""
        features = _features(column, self._levels[place]) - self._centers[place]
        found: Array = features @ self._weights[place]
        return found


def epoch_seconds(trial: FrozenTrial) -> float | None:
    """What an epoch of a trial took, or the trial where it reported none; None if not measured."""
    seconds = SECONDS.of(trial)
    if not isinstance(seconds, int | float):
        return None
    return seconds / max([1, *trial.intermediate_values])


def _features(column: Array, levels: Array | None) -> Array:
    if levels is None:
        filled = np.nan_to_num(column, nan=0.5)
        return np.stack([filled, filled**2], axis=1)
    return np.equal.outer(column, levels).astype(float)
