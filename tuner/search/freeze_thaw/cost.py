"""Learns from the trials so far what an epoch of a configuration costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST = 5  # trials whose seconds are known, before anything is learnt from them
RIDGE = 0.3  # how strongly a parameter's effect is drawn towards none, in trials that say so

Array = NDArray[np.float64]


def logs(rows: Array, choices: NDArray[np.bool_], known: Array, seconds: Sequence[float | None]) -> Array:
    """The logarithm of an epoch's seconds at the points `rows`, from those at the points `known`.

    A ridge regression: a parabola for each number, a level for each choice. All 0 while little is known.

    Args:
        rows, known: (configuration, parameter), as `Cube.encode` makes them.
        choices: which parameters are choices.
        seconds: of an epoch at each known point; None: not measured.
    """
    measured = np.array([value is not None and value > 0 for value in seconds], dtype=bool)
    if measured.sum() < FEWEST:
        return np.zeros(len(rows))
    levels = [np.unique(known[measured, place]) if choice else None for place, choice in enumerate(choices)]
    x = _features(known[measured], levels)
    y = np.log([value for value in seconds if value is not None and value > 0])
    center, mean = x.mean(0), y.mean()
    x = x - center
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ (y - mean))
    found: Array = mean + (_features(rows, levels) - center) @ weights
    return np.clip(found, y.min(), y.max())


def _features(rows: Array, levels: Sequence[Array | None]) -> Array:
    columns = []
    for column, values in zip(rows.T, levels, strict=True):
        if values is None:
            filled = np.nan_to_num(column, nan=0.5)
            columns += [filled, filled**2]
        else:
            columns += [column == value for value in values]
    return np.stack(columns, axis=1).astype(float) if columns else np.zeros((len(rows), 0))
