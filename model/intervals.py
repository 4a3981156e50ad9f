"""95 % intervals over recordings by bootstrap: windows and rows of one recording are not independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEAST_RECORDINGS = 5
RESAMPLES = 1000
TAILS = (0.025, 0.975)
TOO_FEW = f"fewer than {LEAST_RECORDINGS} recordings: no interval"


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; `low` and `high` are None for fewer than five recordings."""

    mean: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Plain values."""
        return {"mean": self.mean, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        """`94.0 [92.1–95.6]`, in percent."""
        if self.low is None or self.high is None:
            return f"{100 * self.mean:.1f}"
        return f"{100 * self.mean:.1f} [{100 * self.low:.1f}–{100 * self.high:.1f}]"


def share(part: np.ndarray, of: np.ndarray, *, seed: int = 0) -> Interval:
    """The share Σ part / Σ of, from both sums of each recording; never outside 0 … 1."""
    part, of = np.asarray(part, dtype=np.float64), np.asarray(of, dtype=np.float64)

    def measure(drawn: np.ndarray) -> np.ndarray:
        return np.asarray(part[drawn].sum(axis=-1) / np.maximum(of[drawn].sum(axis=-1), 1e-12))

    return figure(len(part), measure, seed=seed)


def mean_share(right: np.ndarray, recording: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean of `right` (samples,), with an interval over the recordings that they are of."""
    _, owner = np.unique(recording, return_inverse=True)
    return share(np.bincount(owner, weights=right), np.bincount(owner), seed=seed)


def figure(recordings: int, measure: Callable[[np.ndarray], np.ndarray], *, seed: int = 0) -> Interval:
    """Any figure between 0 and 1.

    Args:
        measure: from indices of recordings (…, n) to the figure (…).
    """
    value = float(measure(np.arange(recordings)[None])[0]) if recordings else 0.0
    if recordings < LEAST_RECORDINGS:
        return Interval(value)
    drawn = np.random.default_rng(seed).integers(0, recordings, (RESAMPLES, recordings))
    low, high = np.clip(np.quantile(measure(drawn), TAILS), 0, 1)
    return Interval(value, float(low), float(high))
