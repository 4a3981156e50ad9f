"""Where a recording deviates from the known recordings of a program, row by row.

The agreement of a row is the mean product of the sensors' shapes with those of a known recording at the best
delay, smoothed over `ROWS` rows; of several known recordings, the best. A line that is missing or another
feed moves everything after it, so that the agreement falls there.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from model.library import STEPS, Library
from model.matching import Matches, Query

ROWS = 41
COMPARED = 6  # known recordings, those with the highest correlation
COVERED = 0.5  # of the smoothing that must lie within the known recording


def agreement(query: Query, matches: Matches) -> np.ndarray:
    """(rows,) best smoothed agreement with the known recordings; NaN where none covers a row."""
    order = np.argsort(-matches.correlation, kind="stable")[:COMPARED]
    rows = len(query.shape)
    best = np.full(rows, -np.inf)
    for m in order:
        own, inside = _products(query.shape, matches.library, int(matches.which[m]), int(matches.delay[m]))
        cover = uniform_filter1d(inside, ROWS, mode="constant")
        smooth = uniform_filter1d(own, ROWS, mode="constant") / np.maximum(cover, 1e-6)
        best = np.maximum(best, np.where(cover >= COVERED, smooth, -np.inf))
    return np.where(np.isfinite(best), best, np.nan)


def lowest(agreements: np.ndarray) -> float:
    """The lowest agreement relative to the median; 1 if no row is covered."""
    covered = agreements[np.isfinite(agreements)]
    middle = float(np.median(covered)) if len(covered) else 0.0
    return float(covered.min()) / middle if middle > 0 else 0.0


def _products(shape: np.ndarray, library: Library, k: int, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) mean product over channels with the known recording `k`, and 1.0 where it covers the row."""
    other = library.shapes[library.known[k].span]
    at = np.arange(len(shape)) - delay
    inside = (at >= 0) & (at < len(other))
    used = shape.any(axis=0) & other.any(axis=0)
    there = other[np.clip(at, 0, len(other) - 1)][:, used].astype(np.float32)
    product = (shape[:, used].astype(np.float32) * there).mean(axis=1) / STEPS**2
    return np.where(inside, product, 0.0).astype(np.float64), inside.astype(np.float64)
