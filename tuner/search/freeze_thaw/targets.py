"""Values of a metric as the model sees them: larger is better.

Values above the median count by the logarithm of what is left to gain: an accuracy y is -log(1 - y), a loss
-log(y). From 0.90 to 0.95 is then as far as from 0.95 to 0.975, as it is in training. A metric without a
natural end (a reward) gets one beyond its best value so far. Of the others only ranks count, as normal
scores: what diverged, however far, hides no difference among the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

LEAST = 1e-3  # left to gain, beside the middle value: a perfect value is not infinitely good
FAR = 100.0  # an end that is so many times farther from the best than the middle is says nothing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """A scale for one study's values: their median is 0, the best one has the highest normal score.

    Attributes:
        sign, end: the best value that there can be, times the sign. least: left to gain.
        logs, targets: of the values, ascending: minus the logarithm of what is left, and the target.
        slope: of targets over logs above the median.
    """

    sign: float
    end: float
    least: float
    logs: Array
    targets: Array
    slope: float

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
        least = LEAST * (end - middle)
        logs = -np.log(np.maximum(end - y, least))
        scores = ndtri((rankdata(logs) - 0.5) / len(logs))
        center, top = float(np.median(logs)), float(logs.max())
        slope = (float(scores.max()) or 1.0) / (top - center or 1.0)
        targets = np.where(logs > center, (logs - center) * slope, np.minimum(scores, 0.0))
        known, places = np.unique(logs, return_index=True)
        return cls(sign, end, least, known, targets[places], slope)

    def to(self, values: Array) -> Array:
        """Metric to target; what is below the worst value counts as that one."""
        logs = -np.log(np.maximum(self.end - self.sign * values, self.least))
        beyond = np.maximum(logs - self.logs[-1], 0.0) * self.slope
        return np.asarray(np.interp(logs, self.logs, self.targets) + beyond)

    def back(self, target: float) -> float:
        """Target to metric."""
        beyond = max(target - float(self.targets[-1]), 0.0) / self.slope
        log = float(np.interp(target, self.targets, self.logs)) + beyond
        return float(self.sign * (self.end - np.exp(-log)))

    def better_by(self, target: float, share: float) -> float:
        """The target at which `share` is gained of what is left beyond `target`, the best value's."""
        return target - float(np.log1p(-share)) * self.slope
