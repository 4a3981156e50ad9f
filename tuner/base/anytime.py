"""Intervals that stay valid however often one looks: confidence sequences for effects in a linear model.

An ordinary 95 % interval holds for one look at a number of runs that was fixed before. Whoever looks after
every run and stops once the interval is clear is wrong far more often than once in twenty. The intervals here
hold for all looks together: with 95 % probability, none of them ever misses the effect.

For normal noise of unknown size, the ratio of the data's likelihoods with an effect δ drawn from
N(0, g σ²) and with a given δ0, both averaged over the scale-free prior of σ, is a martingale under δ0:

    E = (1 + g a)^(-1/2) · [(1 + t²/ν) / (1 + t²/(ν (1 + g a)))]^((ν + 1)/2)

with t = (estimate − δ0) √a / s, `a` the information on δ in units of 1/σ², and ν the degrees of freedom of
s. By Ville's inequality E reaches 1/α with a probability of at most α, at any time. The interval is the set
of δ0 with E < 1/α. Sources: Lai, "On confidence sequences" (1976); Pérez-Ortiz, Lardy, de Heide, Grünwald,
"E-statistics, group invariance and anytime-valid testing" (arXiv 2208.07610); for a coefficient of a
regression Lindon, Ham, Tingley, Bojinov, "Anytime-valid linear models" (arXiv 2210.08589).

In a screening design every run speaks for several effects. `effects` estimates one of them and treats the
others as draws from N(0, τ²) (a mixed model): with many runs that equals least squares, with few it is still
defined. τ/σ maximises the restricted likelihood. `tests/tuner_tests/base/test_anytime.py` counts how often
such intervals miss, looked at after every round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.base.statistics import LEVEL

Floats = NDArray[np.float64]
PRIOR = 1.0  # g: the effects that are looked for are about as large as the noise of one pair of runs
FEW = 4.0  # g where a handful of pairs is to decide: twice as large
RATIOS = np.array([0.0, *np.geomspace(0.05, 200.0, 28)])  # τ²/σ² that are tried


@dataclass(frozen=True)
class Effect:
    """An effect with its interval.

    Attributes:
        error: standard error.
        freedom: degrees of freedom of the noise.
        noise: standard deviation of one observation.
    """

    mean: float
    low: float
    high: float
    error: float
    freedom: float
    noise: float


def critical(information: float, freedom: float, *, level: float = LEVEL, prior: float = PRIOR) -> float:
    """How many standard errors the interval reaches to each side; infinite where there is too little data.

    Args:
        information: variance of one observation over that of the estimate (the number of observations, for a
            mean).
        freedom: degrees of freedom of the standard error.
        prior: g, to be chosen before the data are seen. A larger one needs fewer runs to begin with, and
            gives somewhat wider intervals in the end.
    """
    if freedom <= 0 or information <= 0:
        return math.inf
    spread = 1 + prior * information
    bound = (math.sqrt(spread) / (1 - level)) ** (2 / (freedom + 1))
    if bound >= spread:
        return math.inf
    return math.sqrt(freedom * (bound - 1) / (1 - bound / spread))


def effects(signs: Floats, y: Floats, *, level: float = LEVEL, prior: float = PRIOR) -> list[Effect | None]:
    """The effect of each column of `signs` on `y`, with an interval that holds at every look.

    Args:
        signs: `(observation, effect)`: +1, -1, or 0 where an observation does not speak for the effect.
        y: differences between the two runs of a pair.

    Returns:
        None for an effect that no observation speaks for, or that cannot be told from another.
    """
    return [_effect(signs, y, column, level, prior) for column in range(signs.shape[1])]


def _effect(signs: Floats, y: Floats, column: int, level: float, prior: float) -> Effect | None:
    own = signs[:, column]
    count = len(y)
    if not own.any() or count < 2:
        return None
    others = np.delete(signs, column, axis=1)
    others = others[:, others.any(axis=0)]
    ratio = _ratio(own, others, y)
    values, vectors = np.linalg.eigh(others @ others.T)
    whitened = (vectors / np.sqrt(1 + ratio * np.maximum(values, 0))) @ vectors.T  # V^(-1/2)
    z, d = whitened @ own, whitened @ y
    information = float(z @ z)
    if information < 1e-9:
        return None
    mean = float(z @ d) / information
    rest = d - z * mean
    spent = float(np.sum(ratio * np.maximum(values, 0) / (1 + ratio * np.maximum(values, 0))))
    freedom = count - 1 - spent
    if freedom < 0.5:
        return None
    # E[rest'rest] is (n − 1) σ² where the model holds; the random effects take part of it up
    noise = math.sqrt(max(0.0, float(rest @ rest)) / (count - 1))
    error = noise / math.sqrt(information)
    reach = critical(information, freedom, level=level, prior=prior)
    half = 0.0 if noise == 0 and count > 2 else reach * error
    half = math.inf if math.isnan(half) else half
    return Effect(mean, mean - half, mean + half, error, freedom, noise)


def _ratio(own: Floats, others: Floats, y: Floats) -> float:
    """τ²/σ² of the other effects that maximises the restricted likelihood."""
    if not others.size:
        return 0.0
    values, vectors = np.linalg.eigh(others @ others.T)
    values = np.maximum(values, 0)
    z, d = vectors.T @ own, vectors.T @ y
    best, found = -math.inf, 0.0
    for ratio in RATIOS:
        weights = 1 / (1 + ratio * values)
        information = float(np.sum(weights * z * z))
        if information <= 0:
            continue
        rest = d - z * float(np.sum(weights * z * d)) / information
        scale = float(np.sum(weights * rest * rest)) / (len(d) - 1)
        if scale <= 0:
            return float(ratio)
        likelihood = -0.5 * (
            (len(d) - 1) * math.log(scale) - float(np.sum(np.log(weights))) + math.log(information)
        )
        if likelihood > best:
            best, found = likelihood, float(ratio)
    return found
