"""The noise of a run: how much two runs of one configuration differ, and whether they differ at all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a run around its configuration (and round), with its degrees of freedom."""

    deviation: float
    freedom: int


UNKNOWN = Noise(math.nan, 0)


def spread(values: Sequence[float]) -> Noise:
    """The noise that repeated runs of one configuration show."""
    return Noise(statistics.stdev(values), len(values) - 1) if len(values) > 1 else UNKNOWN


def pooled(several: Iterable[Noise]) -> Noise:
    """The noise of a run by several measurements together."""
    measured = [noise for noise in several if noise.freedom > 0]
    freedom = sum(noise.freedom for noise in measured)
    if not freedom:
        return UNKNOWN
    return Noise(math.sqrt(sum(n.freedom * n.deviation**2 for n in measured) / freedom), freedom)


def seed_is_ignored(runs: Iterable[Sequence[float]]) -> bool:
    """Whether all runs of each configuration agree digit for digit, although their seeds differ.

    Args:
        runs: for each configuration its scores on different seeds. One with a single run says nothing.
    """
    repeated = [values for values in runs if len(values) > 1]
    return bool(repeated) and all(len(set(values)) == 1 for values in repeated)
