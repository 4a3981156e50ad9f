"""How two tuners' studies compare: three readings over all pairs of studies, with bootstrap intervals.

A study's trace holds the best value after each epoch. Studies of two tuners share nothing but the half of
the recorded runs in which they search, so every study of the one is compared with every study of the other
in the same half. (Pairs of equal seeds use a fraction of that: the ratio of 20 pairs scatters by 0.1.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # percentiles of the resampled readings

Traces = Sequence[NDArray[np.float64]]  # by half: (study, epoch)


@dataclass(frozen=True)
class Reading:
    """A number and the interval around it in which 95 % of resamples lie."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


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


def compare(ours: Traces, theirs: Traces, *, seed: int = 0) -> Comparison:
    """Compares all pairs within each half; resamples the studies of both sides, half by half."""
    budget = ours[0].shape[1]
    halves = [_Half.of(mine, peer) for mine, peer in zip(ours, theirs, strict=True)]
    drawn = np.array([_readings(halves, budget, rng) for rng in np.random.default_rng(seed).spawn(RESAMPLES)])
    low, high = np.percentile(drawn, INTERVAL, axis=0)
    values = _readings(halves, budget, None)
    ratio, share, gain = (Reading(*map(float, triple)) for triple in zip(values, low, high, strict=True))
    return Comparison(ratio, share, gain, float(np.mean([half.reached for half in halves])))


@dataclass(frozen=True)
class _Half:
    """Epochs that each of our studies took to each of the peer's finals (ours, theirs), and the rest."""

    epochs: NDArray[np.float64]
    peer_epochs: NDArray[np.float64]
    finals: NDArray[np.float64]
    peer_finals: NDArray[np.float64]
    reached: float

    @classmethod
    def of(cls, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> _Half:
        finals, peer_finals = ours[:, -1], theirs[:, -1]
        own = [epochs_to(trace, trace[-1:])[0] for trace in theirs]
        return cls(
            np.array([epochs_to(trace, peer_finals) for trace in ours]),
            np.array(own),
            finals,
            peer_finals,
            float(np.mean(finals[:, None] >= peer_finals)),
        )


def epochs_to(trace: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many epochs until each of `values` was reached; the whole budget where it never was."""
    return np.minimum(np.searchsorted(trace, values) + 1.0, len(trace))


def _readings(
    halves: Sequence[_Half], budget: int, rng: np.random.Generator | None
) -> tuple[float, float, float]:
    """Ratio, share of the budget and gain; of the studies as they are, or of as many drawn from them."""
    epochs, peer_epochs, gain = 0.0, 0.0, 0.0
    for half in halves:
        ours, theirs = (
            np.arange(n) if rng is None else rng.integers(0, n, n)
            for n in (len(half.finals), len(half.peer_finals))
        )
        epochs += half.epochs[np.ix_(ours, theirs)].mean() / len(halves)
        peer_epochs += half.peer_epochs[theirs].mean() / len(halves)
        gain += (half.finals[ours].mean() - half.peer_finals[theirs].mean()) / len(halves)
    return epochs / peer_epochs, epochs / budget, gain
