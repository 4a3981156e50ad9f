"""Intervals of means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtrit


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of `values` and its t interval, as (mean, low, high); infinite bounds for one value.

    Raises:
        ValueError: no values.
    """
    if not len(values):
        raise ValueError("t_interval: expected at least one value, got none")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, -math.inf, math.inf
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * error
    return mean, mean - half, mean + half
