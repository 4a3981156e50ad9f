"""Values of levels at points, of configurations in rounds, say: value = level + point + noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.stats.anytime import RUNS, critical
from tuner.stats.comparison import Comparison
from tuner.stats.noise import UNKNOWN, Noise, pooled

ROUNDING = 1e-9  # of a fit, relative to the largest value: an exact 0 may come out as -1e-19

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TwoWay:
    """A least-squares fit. A level without values has the mean -inf.

    Attributes:
        covariance: of the means, in units of the variance of a value; NaN where a level has no values.
        noise: standard deviation of a value around its level and point; NaN if unknown.
        freedom: degrees of freedom of the noise.
        points: for each level the points at which it has values.
    """

    means: tuple[float, ...]
    covariance: Floats
    noise: float
    freedom: int
    points: tuple[frozenset[int], ...] = ()

    def variance_of_difference(self, one: int, two: int) -> float:
        """Of two means, in units of the variance of a value."""
        covariance = self.covariance
        return float(covariance[one, one] + covariance[two, two] - 2 * covariance[one, two])

    def compare(self, one: int, two: int, *, known: Noise = UNKNOWN) -> Comparison | None:
        """The difference of two levels, with an interval that holds however often one looks.

        Args:
            known: the noise of a value by other measurements.

        Returns:
            None where no chain of points connects the two.
        """
        if not self._connected(one, two):
            return None
        mean, variance = self.means[one] - self.means[two], self.variance_of_difference(one, two)
        pairs = len(self.points[one] & self.points[two])
        noise = pooled([Noise(self.noise, self.freedom), known])
        if self.noise == 0 or not (noise.freedom > 0 and noise.deviation > 0 and variance > 0):
            return Comparison(mean, -math.inf, math.inf, noise=self.noise, pairs=pairs)
        error = noise.deviation * math.sqrt(variance)
        half = critical(2 / variance, noise.freedom, looks=RUNS) * error
        of_a_pair = noise.deviation * math.sqrt(2)
        return Comparison(mean, mean - half, mean + half, error, noise.freedom, of_a_pair, pairs)

    def _connected(self, one: int, two: int) -> bool:
        """Whether a chain of points leads from one level to the other; else their difference is not known."""
        reached: frozenset[int] = frozenset()
        more = self.points[one]
        while more - reached:
            reached |= more
            more = frozenset().union(*(points for points in self.points if points & reached))
        return bool(self.points[two] & reached)


def fit(values: Sequence[tuple[int, int, float]], levels: int) -> TwoWay:
    """The fit of (level, point, value); some levels may be missing at some points.

    Args:
        levels: how many there are, counted from 0.
    """
    means, covariance = [-math.inf] * levels, np.full((levels, levels), math.nan)
    if not values:
        return TwoWay(tuple(means), covariance, math.nan, 0, (frozenset(),) * levels)
    present = sorted({level for level, _, _ in values})
    points = sorted({point for _, point, _ in values})
    design = np.zeros((len(values), len(present) + len(points) - 1))
    for row, (level, point, _) in enumerate(values):
        design[row, present.index(level)] = 1
        if point != points[0]:
            design[row, len(present) + points.index(point) - 1] = 1
    y = np.array([value for _, _, value in values])
    inverse = np.linalg.pinv(design.T @ design)
    fitted = inverse @ design.T @ y
    rest = y - design @ fitted
    freedom = len(values) - int(np.linalg.matrix_rank(design))
    noise = math.sqrt(float(rest @ rest) / freedom) if freedom > 0 else math.nan
    if freedom > 0 and noise < ROUNDING * max(1e-12, float(np.abs(y).max())):
        noise = 0.0
    for place, level in enumerate(present):
        means[level] = float(fitted[place])
    covariance[np.ix_(present, present)] = inverse[: len(present), : len(present)]
    found = tuple(frozenset(k for i, k, _ in values if i == level) for level in range(levels))
    return TwoWay(tuple(means), covariance, noise, freedom, found)
