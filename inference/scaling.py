"""How the probabilities of a head are scaled: by a temperature and, where it helps, an exponent.

With gap_c = max z − z_c of the logits z, p_c ∝ exp(−gap_c^exponent / T). Exponent 1 is temperature scaling
(Guo et al., 2017). Another exponent changes sure and unsure answers by different amounts, which networks
trained with label smoothing need. The order of the classes never changes (Rahimi et al., 2020, give the
general family).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax

Floats = NDArray[np.float64]

HOTTEST, COLDEST = 20.0, 0.05  # temperatures searched
FLATTEST, STEEPEST = 0.5, 3.0  # exponents searched
PRIOR = 2.0  # strength of the priors at 1, in positions of unit variance; matters for few samples
FOLDS = 5  # of recordings


@dataclass(frozen=True)
class Scaling:
    """See the docstring of this file."""

    temperature: float = 1.0
    exponent: float = 1.0

    def log_p(self, logits: Floats) -> Floats:
        """(n, classes) logits → log-probabilities."""
        return np.asarray(log_softmax(bent(logits, self.exponent) / self.temperature, axis=-1))


def bent(logits: Floats, exponent: float) -> Floats:
    """The logits −gap^exponent; those with exponent 1 as they are."""
    if exponent == 1:
        return logits
    return np.asarray(-((logits.max(axis=-1, keepdims=True) - logits) ** exponent))


@dataclass(frozen=True)
class HeadSamples:
    """The logits of a head on one part, in groups with the same classes.

    Attributes:
        logits: (n, classes) per group; gold: (n,) per group; recording: (n,) per group.
    """

    logits: tuple[Floats, ...]
    gold: tuple[NDArray[np.int64], ...]
    recording: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return sum(map(len, self.gold))

    def nll(self, scaling: Scaling) -> float:
        """Mean negative log-likelihood in nats; 0 without samples."""
        total = 0.0
        for logits, gold in zip(self.logits, self.gold, strict=True):
            total -= float(scaling.log_p(logits)[np.arange(len(gold)), gold].sum())
        return total / max(1, len(self))

    def bent(self, exponent: float) -> HeadSamples:
        """The samples with the logits −gap^exponent."""
        return HeadSamples(tuple(bent(z, exponent) for z in self.logits), self.gold, self.recording)

    def of(self, recordings: Iterable[int]) -> HeadSamples:
        """The samples of these recordings."""
        masks = [np.isin(group, list(recordings)) for group in self.recording]
        return HeadSamples(
            tuple(group[mask] for group, mask in zip(self.logits, masks, strict=True)),
            tuple(group[mask] for group, mask in zip(self.gold, masks, strict=True)),
            tuple(group[mask] for group, mask in zip(self.recording, masks, strict=True)),
        )


def exact_temperature(samples: HeadSamples, *, prior: float = PRIOR) -> float:
    """The temperature in COLDEST … HOTTEST that minimises NLL + prior/2·(1/T − 1)².

    The negative log-likelihood of softmax(βz) is convex in β = 1/T. Its minimum is where the derivative is 0,
    found by Brent's method. 1 without samples.
    """
    if not len(samples):
        return 1.0
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _slope(samples, low, prior) >= 0:
        return HOTTEST
    if _slope(samples, high, prior) <= 0:
        return COLDEST
    return 1 / float(brentq(lambda beta: _slope(samples, beta, prior), low, high, xtol=1e-10))


def _slope(samples: HeadSamples, beta: float, prior: float) -> float:
    """Derivative in β of the summed NLL and the prior: Σ (E_β[z] − z_gold) + prior·(β − 1)."""
    total = prior * (beta - 1)
    for logits, gold in zip(samples.logits, samples.gold, strict=True):
        p = np.exp(log_softmax(beta * logits, axis=-1))
        total += float((p * logits).sum() - logits[np.arange(len(gold)), gold].sum())
    return total


def with_exponent(samples: HeadSamples, *, prior: float = PRIOR) -> Scaling:
    """The temperature and the exponent in FLATTEST … STEEPEST that together minimise NLL and their priors."""
    if not len(samples):
        return Scaling()

    def scaling(exponent: float) -> Scaling:
        return Scaling(exact_temperature(samples.bent(exponent), prior=prior), exponent)

    def loss(exponent: float) -> float:
        found = scaling(exponent)
        priors = (1 / found.temperature - 1) ** 2 + math.log(exponent) ** 2
        return len(samples) * samples.nll(found) + prior / 2 * priors

    bounds = (FLATTEST, STEEPEST)
    return scaling(float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3}).x))


def fit(samples: HeadSamples) -> Scaling:
    """A temperature; with an exponent where cross-validation over recordings shows that it helps.

    It helps where the NLL of left-out recordings falls, summed over `FOLDS` folds, by more than one standard
    error over recordings.
    """
    plain = Scaling(exact_temperature(samples))
    owners = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *samples.recording]))
    if len(owners) < FOLDS:
        return plain
    gains = []
    for fold in range(FOLDS):
        out = owners[fold::FOLDS]
        rest = samples.of(np.setdiff1d(owners, out))
        one, two = Scaling(exact_temperature(rest)), with_exponent(rest)
        for owner in out:
            own = samples.of([owner])
            gains.append(len(own) * (own.nll(one) - own.nll(two)))
    error = float(np.std(gains, ddof=1)) * math.sqrt(len(gains))  # of the sum
    return with_exponent(samples) if sum(gains) > error else plain
