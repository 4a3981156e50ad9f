"""Values of a metric as the model sees them: larger is better, by the logarithm of what is left to gain.

An accuracy y becomes -log(1 - y), a loss -log(y). From 0.90 to 0.95 is then as far as from 0.95 to 0.975, as
it is in training. A metric without a natural end (a reward) gets one beyond its best value so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-3  # left to gain, beside the middle value: a perfect value is not infinitely good
FAR = 100.0  # an end that is so many times farther from the best than the middle is says nothing
LOWEST = 4.0  # how far below the middle a value counts, in distances from the middle to the best

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """A scale for one study's values, with mean 0 and deviation 1 over the values that it was made of."""

    sign: float
    end: float  # the best value there can be, times the sign
    least: float  # left to gain
    lowest: float = -np.inf  # in logarithms
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, values: Array, *, maximize: bool) -> Targets:
        """The scale for these finite values, in the metric's units."""
        sign = 1.0 if maximize else -1.0
        y = sign * values
        best, middle = float(y.max()), float(np.median(y))
        spread = best - middle or best - float(y.min()) or 1.0
        natural = maximize and y.min() >= 0.0 and best <= 1.0, not maximize and best <= 0.0
        end = 1.0 if natural[0] else 0.0
        if not any(natural) or end - best > FAR * spread or middle == end:
            end = best + spread
        scale = cls(sign, end, LEAST * (end - middle))
        logs = scale.to(values)
        top, center = float(logs.max()), float(np.median(logs))
        lowest = center - LOWEST * (top - center or 1.0)
        logs = np.maximum(logs, lowest)
        return cls(sign, end, scale.least, lowest, float(logs.mean()), float(logs.std()) or 1.0)

    def to(self, values: Array) -> Array:
        """Metric to target."""
        left = np.maximum(self.end - self.sign * values, self.least)
        logs = np.maximum(-np.log(left), self.lowest)
        return (logs - self.mean) / self.deviation

    def back(self, target: float) -> float:
        """Target to metric."""
        return float(self.sign * (self.end - np.exp(-(target * self.deviation + self.mean))))

    def better_by(self, target: float, share: float) -> float:
        """The target at which `share` of what is left to gain has been gained."""
        return target - float(np.log1p(-share)) / self.deviation
