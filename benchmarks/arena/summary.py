"""Figures over studies and tasks, with the intervals in which 95 % of resamples lie.

A study's trace holds the best value after each epoch. Studies of two tuners share nothing but the half of
the recorded runs in which they search, so every study of the one is compared with every study of the other
in the same half. (Pairs of equal seeds use a fraction of that: the ratio of 20 pairs scatters by 0.1.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Traces = Sequence[Floats]  # by half: (study, epoch)
INTERVAL = (2.5, 97.5)  # percentiles of the resampled figures


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


def over_tasks(
    values: Sequence[Floats], middle: Callable[[Floats], float], *, resamples: int = 2000
) -> Reading:
    """`middle` of the values of all tasks, with an interval over tasks."""
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(values), size=len(values)) for _ in range(resamples))
    again = [middle(np.concatenate([values[task] for task in tasks])) for tasks in drawn]
    return Reading.of(middle(np.concatenate(values)), again)


@dataclass(frozen=True)
class Comparison:
    """One tuner beside a peer.

    Attributes:
        ratio: epochs to the peer's final best, over the peer's own epochs to it.
        share: epochs to the peer's final best, over the peer's whole budget.
        gain: the final value minus the peer's.
        reached: share of pairs in which the peer's final best was reached at all; in the others the whole
            budget counts as the epochs.
    """

    ratio: Reading
    share: Reading
    gain: Reading
    reached: float


def compare(ours: Traces, theirs: Traces, *, resamples: int = 1000) -> Comparison:
    """Compares all pairs within each half; resamples the studies of both sides, half by half."""
    halves = [_Half.of(mine, peer) for mine, peer in zip(ours, theirs, strict=True)]
    drawn = [_mean(halves, rng) for rng in np.random.default_rng(0).spawn(resamples)]
    ratio, share, gain = map(Reading.of, _mean(halves, None), np.transpose(drawn))
    return Comparison(ratio, share, gain, float(np.mean([half.reached for half in halves])))


@dataclass(frozen=True)
class _Half:
    """Epochs that each of our studies took to each of the peer's finals (ours, theirs), and the rest."""

    budget: int
    epochs: Floats
    peer_epochs: Floats
    finals: Floats
    peer_finals: Floats

    @classmethod
    def of(cls, ours: Floats, theirs: Floats) -> _Half:
        epochs = [epochs_to(trace, theirs[:, -1]) for trace in ours]
        own = [epochs_to(trace, trace[-1:])[0] for trace in theirs]
        return cls(ours.shape[1], np.array(epochs), np.array(own), ours[:, -1], theirs[:, -1])

    @property
    def reached(self) -> float:
        return float(np.mean(self.finals[:, None] >= self.peer_finals))

    def readings(self, rng: np.random.Generator | None) -> tuple[float, float, float]:
        """Epochs, the peer's epochs, and gain; of the studies as they are, or of as many drawn from them."""
        ours, theirs = (
            np.arange(n) if rng is None else rng.integers(0, n, n)
            for n in (len(self.finals), len(self.peer_finals))
        )
        gain = self.finals[ours].mean() - self.peer_finals[theirs].mean()
        return self.epochs[np.ix_(ours, theirs)].mean(), self.peer_epochs[theirs].mean(), gain


def epochs_to(trace: Floats, values: Floats) -> Floats:
    """How many epochs until each of `values` was reached; the whole budget where it never was."""
    return np.minimum(np.searchsorted(trace, values) + 1.0, len(trace))


def _mean(halves: Sequence[_Half], rng: np.random.Generator | None) -> tuple[float, float, float]:
    """Ratio, share of the budget and gain over all halves."""
    epochs, peer_epochs, gain = np.mean([half.readings(rng) for half in halves], axis=0)
    return epochs / peer_epochs, epochs / halves[0].budget, gain
