"""Figures over studies and tasks, with the intervals in which 95 % of resamples lie.

A study's trace holds the best value after each epoch. Studies of two tuners share nothing but their task, so
every study of the one is compared with every study of the other in the same task. (Pairs of equal seeds use a
fraction of that: the ratio of 20 pairs scatters by 0.1.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Traces = Sequence[Floats]  # by task: (study, epoch)
SHOWN = (1, 2, 4, 8, 16, 24)  # full runs, after which the best value is shown
WORSE = 2.4  # standard errors: 5 % over six checkpoints
RESAMPLES, INTERVAL = 1000, (2.5, 97.5)  # of which these percentiles


@dataclass(frozen=True)
class Reading:
    """A number and its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, resampled: ArrayLike) -> Reading:
        low, high = np.nanpercentile(resampled, INTERVAL)
        return cls(float(value), float(low), float(high))

    def __format__(self, form: str) -> str:
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"

    def times(self, factor: float) -> Reading:
        """In another unit, or with the other sign."""
        low, high = sorted((factor * self.low, factor * self.high))
        return Reading(factor * self.value, low, high)


def over_tasks(values: Sequence[Floats], middle: Callable[[Floats], float]) -> Reading:
    """`middle` of the values of all tasks, with an interval over tasks."""
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(values), size=len(values)) for _ in range(2 * RESAMPLES))
    again = [middle(np.concatenate([values[task] for task in tasks])) for tasks in drawn]
    return Reading.of(middle(np.concatenate(values)), again)


@dataclass(frozen=True)
class Comparison:
    """One tuner beside a peer: medians over tasks.

    Attributes:
        ratio: epochs to the peer's final best, over the peer's own epochs to it. A study that never reaches
            it counts with its whole budget.
        share: epochs to the peer's final best, over the peer's whole budget.
        gain: the final value minus the peer's.
    """

    ratio: Reading
    share: Reading
    gain: Reading


def compare(ours: Traces, theirs: Traces) -> Comparison:
    """Compares all pairs of studies within each task; resamples tasks, and the studies of both sides."""
    each = [_Task.of(mine, peer) for mine, peer in zip(ours, theirs, strict=True)]
    drawn = [_medians(each, rng) for rng in np.random.default_rng(0).spawn(RESAMPLES)]
    return Comparison(*map(Reading.of, _medians(each, None), np.transpose(drawn)))


@dataclass(frozen=True)
class _Task:
    """Epochs that each of our studies took to each of the peer's finals (ours, theirs), and the rest."""

    budget: int
    epochs: Floats
    peer_epochs: Floats
    finals: Floats
    peer_finals: Floats

    @classmethod
    def of(cls, ours: Floats, theirs: Floats) -> _Task:
        epochs = [epochs_to(trace, theirs[:, -1]) for trace in ours]
        own = [epochs_to(trace, trace[-1:])[0] for trace in theirs]
        return cls(ours.shape[1], np.array(epochs), np.array(own), ours[:, -1], theirs[:, -1])

    def readings(self, rng: np.random.Generator | None) -> tuple[float, float, float]:
        """Ratio, share and gain; of the studies as they are, or of as many drawn from them."""
        ours, theirs = (
            np.arange(n) if rng is None else rng.integers(0, n, n)
            for n in (len(self.finals), len(self.peer_finals))
        )
        epochs = self.epochs[np.ix_(ours, theirs)].mean()
        gain = self.finals[ours].mean() - self.peer_finals[theirs].mean()
        return epochs / self.peer_epochs[theirs].mean(), epochs / self.budget, gain


def epochs_to(trace: Floats, values: Floats) -> Floats:
    """How many epochs until each of `values` was reached; the whole budget where it never was."""
    return np.minimum(np.searchsorted(trace, values) + 1.0, len(trace))


def _medians(each: Sequence[_Task], rng: np.random.Generator | None) -> Floats:
    """Ratio, share of the budget and gain, over all tasks or as many drawn from them."""
    places = np.arange(len(each)) if rng is None else rng.integers(0, len(each), len(each))
    return np.asarray(np.median([each[place].readings(rng) for place in places], axis=0))


def regret(traces: Floats, ends: Floats) -> Floats:
    """What is left of the way from a median configuration to the best one, 0 to 1. Shape of `traces`."""
    best = max(float(ends.max()), float(traces.max()))
    middle = float(np.median(ends))
    return np.clip((best - traces) / (best - middle or 1.0), 0.0, 1.0)


def worse(ours: Floats, control: Floats) -> bool:
    """Whether at any checkpoint the mean of `ours` (study, checkpoint) is above noise and the control's."""
    apart = ours.mean(0) - control.mean(0)
    noise = np.sqrt(ours.var(0, ddof=1) / len(ours) + control.var(0, ddof=1) / len(control))
    return bool((apart > WORSE * noise + 1e-9).any())
