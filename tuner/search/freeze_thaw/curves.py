"""The input of freeze-thaw search, and its answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

GROWTH = 1.5  # a rung over the one before it
FIRST = 0.04  # of the length, the first rung (benchmarks/bench_arena.py: 1/9 was worse on both sources)
ALIKE = 0.85  # rank correlation of an earlier epoch with the first rung, from which on trials pause there, …
JUDGES = 12  # … of so many trials


@dataclass(frozen=True)
class Curve:
    """What is known of one configuration that was started.

    Attributes:
        params: as in Optuna's `trial.params`. Conditional parameters may be absent.
        values: epochs done (from 1) → the value as it was reported. May be empty.
        state: `ended` means complete, pruned or failed: the trial cannot be resumed.
        until: of a running trial: the epoch to which it was sent.
        trusted: a configuration that is expected to be good, such as the default.
    """

    number: int
    params: Mapping[str, Any]
    values: Mapping[int, float]
    state: Literal["running", "paused", "ended"]
    until: int | None = None
    trusted: bool = False

    @cached_property
    def done(self) -> int:
        """Epochs done."""
        return max(self.values, default=0)


@dataclass(frozen=True)
class Proposal:
    """What a free agent does next.

    Attributes:
        number: the paused trial to resume; None for a new one.
        params: of a new trial; None for a resumed one.
        until: the epoch to run to, counted from the trial's beginning: a rung, or the full length.
        chance: the probability that the trial beats `threshold` by epoch `horizon`; None for start-ups.
        threshold: in the metric's own units.
        leads: the trial is resumed because one trial is to reach its end early.
        earlier: a new trial that an earlier study would choose.
    """

    number: int | None
    params: dict[str, Any] | None
    until: int
    chance: float | None = None
    threshold: float | None = None
    horizon: int | None = None
    leads: bool = False
    earlier: bool = False


def rungs_of(length: int, first: int | None = None) -> list[int]:
    """The epochs at which trials pause: from `first`, each about half as many again, the last one `length`.

    Without `first`: after 4 % of the length, and after 2 epochs if that is at most a ninth of it.

    >>> rungs_of(18)
    [2, 3, 5, 7, 12, 18]
    """
    first = min(first or max(round(FIRST * length), min(2, round(length / 9)), 1), length)
    steps = max(1, round(math.log(length / first) / math.log(GROWTH)))
    return sorted({round(first * (length / first) ** (step / steps)) for step in range(steps + 1)})


def with_earlier(rungs: Sequence[int], trials: Iterable[Mapping[int, float]], *, maximize: bool) -> list[int]:
    """The rungs, and before them the earliest epoch that ranks trials as the first rung does.

    An early value may say much or nothing about later ones. The first JUDGES trials that reach the first rung
    tell; before that, and where no earlier epoch ranks them alike, the rungs stay as they are.

    Args:
        trials: epochs done → value, in the order of their numbers.
    """
    reached = (values for values in trials if rungs[0] in values)
    judges = list(islice(reached, JUDGES))
    if len(judges) < JUDGES:
        return list(rungs)
    late = _ranks([values[rungs[0]] for values in judges], maximize=maximize)
    for epoch in range(1, rungs[0]):
        if all(epoch in values for values in judges):
            early = _ranks([values[epoch] for values in judges], maximize=maximize)
            scale = float(np.sqrt((early @ early) * (late @ late)))
            if scale > 0 and early @ late >= ALIKE * scale:
                return [epoch, *rungs]
    return list(rungs)


def _ranks(values: Sequence[float], *, maximize: bool) -> NDArray[np.float64]:
    """Ranks around 0; what is not finite is the worst."""
    worst = -math.inf if maximize else math.inf
    ranks = rankdata([value if math.isfinite(value) else worst for value in values])
    return np.asarray(ranks - ranks.mean())


def next_rung(rungs: Sequence[int], done: int) -> int:
    """The first rung after `done` epochs; the last one if there is none."""
    return next((rung for rung in rungs if rung > done), rungs[-1])
