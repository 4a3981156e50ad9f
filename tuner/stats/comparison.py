"""The result of every comparison of two configurations: difference, interval, probability, verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

LEAST_PAIRS = 3  # with fewer, an interval says more about the model of the noise than about the runs
REPEATS = 1e-9  # noise below this share of the values: the runs repeat digit for digit

Verdict = Literal["better", "worse", "no difference", "open", "too few runs", "no winner"]


@dataclass(frozen=True)
class Comparison:
    """By how much A is better than B.

    Attributes:
        difference: score of A less score of B; positive: A is better.
        low, high: its interval; infinite where nothing is known of the noise.
        error: standard error of the difference.
        freedom: degrees of freedom of the noise.
        noise: standard deviation of the difference of one pair of runs; NaN if unknown.
        pairs: pairs of runs (one seed, one split of the data) behind it; 0: single runs.
        exact: repeated runs would give the same scores, so one run of each is the truth.
        better: probability that A is better at all, where others tell it too (`stats/population.py`).
    """

    difference: float
    low: float
    high: float
    error: float = math.nan
    freedom: float = 0.0
    noise: float = math.nan
    pairs: int = 0
    exact: bool = False
    better: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """`(low, high)`; None where nothing is known of the noise."""
        return (self.low, self.high) if math.isfinite(self.low) and math.isfinite(self.high) else None

    @property
    def enough(self) -> bool:
        """Whether there are enough runs for a verdict, with differences that vary as those of real runs."""
        return self.exact or (self.pairs >= LEAST_PAIRS and self.noise > 0 and self.interval is not None)

    @property
    def probability(self) -> float | None:
        """Probability that A is better at all, before a look at other knowledge; None: too few runs."""
        if not self.enough or self.exact or not self.error > 0:
            return None
        if self.better is not None:
            return self.better
        from scipy.special import stdtr

        return float(stdtr(min(self.freedom, 1e6), self.difference / self.error))

    def verdict(self, matters: float = 0.0) -> Verdict:
        """What the interval says, where differences of at most `matters` do not matter to anybody."""
        return decide(self.low, self.high, matters) if self.enough else "too few runs"


def decide(low: float, high: float, matters: float) -> Verdict:
    """The verdict for the interval of a difference (positive: better)."""
    if -matters <= low and high <= matters:
        return "no difference"
    return "better" if low > 0 else "worse" if high < 0 else "open"


def exactly(difference: float) -> Comparison:
    """The comparison of scores that repeated runs would give again."""
    return Comparison(difference, difference, difference, 0.0, math.inf, 0.0, exact=True)
