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

That interval is good at every number of runs, so it is not the narrowest at any. Most claims are decided, or
given up, at about the same number of pairs, because the difference that matters is small. So most of α goes
to an interval for a number of pairs T that is set before (`Looks`): the sum of normal increments leaves
±b √T before T with a probability of at most 4 (1 − Φ(b)), by the reflection principle. At T it is a fourth
narrower than the other, which saves four runs in ten. With noise of unknown size, Student's t takes the place
of Φ. The narrowest counts, and they share α.

In a screening design every run speaks for several effects. `effects` estimates each in two ways, and takes
the narrower interval (they share α). Alone: the others have random signs, so what they add is noise. In a
mixed model: large effects are fitted, the others are draws from N(0, τ²), where τ/σ maximises the restricted
likelihood. The first finds huge effects early, the second small ones. The tests
(`tests/tuner_tests/stats/test_anytime.py`) count how often such intervals miss, looked at after every round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from tuner.stats.comparison import REPEATS, Comparison
from tuner.stats.intervals import LEVEL

Floats = NDArray[np.float64]
ALONE = 0.1  # share of α for an effect's interval that leaves the others out of account
LEAST_ALONE = 8  # pairs that it needs: with fewer, signs may agree with those of a large effect by chance
RATIOS = np.array([0.0, *np.geomspace(0.05, 200.0, 28)])  # τ²/σ² that are tried


@dataclass(frozen=True)
class Looks:
    """How α is shared between intervals, to be chosen before the data are seen.

    Attributes:
        prior: g. A larger one needs fewer runs to begin with, and gives somewhat wider intervals in the end.
        horizons: numbers of pairs T at which an interval is narrow, each with its share of α. The interval
            that is good at every number has the rest.
    """

    prior: float
    horizons: tuple[tuple[float, float], ...]

    @property
    def rest(self) -> float:
        """The share of α of the interval that is good at every number of pairs."""
        return 1 - sum(share for _, share in self.horizons)


# The effects of claims are about as large as the noise of a pair; a claim is decided or given up by 72 pairs:
# after the round of 8 in which it has its 64th (`tuner/claims/rounds.py`). Two configurations are compared by
# a handful of pairs, and by more if need be.
CLAIMS = Looks(1.0, ((72.0, 0.85),))
RUNS = Looks(4.0, ((6.0, 0.45), (12.0, 0.2), (24.0, 0.15), (48.0, 0.1)))


def critical(information: float, freedom: float, *, level: float = LEVEL, looks: Looks = CLAIMS) -> float:
    """How many standard errors the interval reaches to each side; infinite where there is too little data.

    Args:
        information: variance of one observation over that of the estimate (the number of observations, for a
            mean).
        freedom: degrees of freedom of the standard error.
    """
    if freedom <= 0 or information <= 0:
        return math.inf
    alpha = 1 - level
    found = mixture(information, freedom, level=1 - looks.rest * alpha, prior=looks.prior)
    for horizon, share in looks.horizons:
        if information <= horizon * (1 + 1e-9):  # of a fit, it is rounded
            bound = float(stdtrit(freedom, 1 - share * alpha / 4))
            found = min(found, bound * math.sqrt(horizon / information))
    return found


def mixture(
    information: float, freedom: float, *, level: float = LEVEL, prior: float = CLAIMS.prior
) -> float:
    """Like `critical`, from the ratio of likelihoods alone."""
    if freedom <= 0 or information <= 0:
        return math.inf
    spread = 1 + prior * information
    bound = (math.sqrt(spread) / (1 - level)) ** (2 / (freedom + 1))
    if bound >= spread:
        return math.inf
    return math.sqrt(freedom * (bound - 1) / (1 - bound / spread))


def effects(signs: Floats, y: Floats, *, level: float = LEVEL) -> list[Comparison | None]:
    """The effect of each column of `signs` on `y`, with an interval that holds at every look.

    Args:
        signs: `(observation, effect)`: +1, -1, or 0 where an observation does not speak for the effect.
        y: differences between the two runs of a pair.

    Returns:
        None for an effect that no observation speaks for, or that cannot be told from another.
    """
    if signs.shape[1] == 1:
        return [_alone(signs[:, 0], y, level, early=False)]
    first, second = 1 - ALONE * (1 - level), 1 - (1 - ALONE) * (1 - level)  # they hold together
    enough = np.count_nonzero(signs, axis=0) >= LEAST_ALONE
    columns = range(signs.shape[1])
    alone = [_alone(signs[:, j], y, first, early=True) if enough[j] else None for j in columns]
    sure = [j for j, e in enumerate(alone) if e is not None and not e.low <= 0 <= e.high]
    found = []
    for column, one in enumerate(alone):
        known = [j for j in sure if j != column]
        told = _speaks(signs, column)
        both = [_among(signs[told], y[told], column, known, second), one]
        # both intervals hold at once, so the choice of the narrower one costs nothing
        found.append(min(filter(None, both), key=lambda each: each.high - each.low, default=None))
    return found


def _speaks(signs: Floats, column: int) -> NDArray[np.bool_]:
    """The observations whose noise is that of an effect.

    One of another effect alone says nothing about this one, and may have much more noise: the side of a huge
    effect is often an unstable one. So an effect that was only varied alone has its own noise, too.
    """
    own, several = signs[:, column] != 0, np.count_nonzero(signs, axis=1) > 1
    return own | several if (own & several).any() else own


def _alone(own: Floats, y: Floats, level: float, *, early: bool) -> Comparison | None:
    """The mean over the pairs for an effect; what other effects add is noise of either sign."""
    x = (own * y)[own != 0]
    if len(x) < 2:
        return None
    mean, noise = float(x.mean()), float(x.std(ddof=1))
    error = noise / math.sqrt(len(x))
    if early:
        reach = mixture(len(x), len(x) - 1, level=level, prior=RUNS.prior)
    else:
        reach = critical(len(x), len(x) - 1, level=level)
    return _effect(mean, noise, error, len(x) - 1, reach, len(x))


def _effect(mean: float, noise: float, error: float, freedom: float, reach: float, pairs: int) -> Comparison:
    """An effect with the interval that `reach` standard errors give.

    Runs that repeat exactly give an exact effect, but two pairs can agree by chance.
    """
    exact = 0.0 if freedom >= 2 else math.inf
    repeat = noise <= REPEATS * max(abs(mean), 1e-12)
    half = exact if repeat else reach * error
    certain = repeat and freedom >= 2
    return Comparison(mean, mean - half, mean + half, error, freedom, noise, pairs, exact=certain)


def _among(signs: Floats, y: Floats, column: int, known: list[int], level: float) -> Comparison | None:
    """One effect in a mixed model: `known` ones are fitted as they are, the others as draws from N(0, τ²)."""
    own = signs[:, column]
    if not own.any() or len(y) < 2:
        return None
    free = [j for j in range(signs.shape[1]) if j != column and j not in known and signs[:, j].any()]
    others = signs[:, free]
    if known:  # what they explain is taken out of everything
        left, sizes, _ = np.linalg.svd(signs[:, known], full_matrices=True)
        rest = left[:, int(np.sum(sizes > 1e-9)) :].T
        own, others, y = rest @ own, rest @ others, rest @ y
    count = len(y)
    if count < 2:
        return None
    values, vectors = np.linalg.eigh(others @ others.T)
    values, z, d = np.maximum(values, 0), vectors.T @ own, vectors.T @ y
    ratio = _ratio(values, z, d) if others.size else 0.0
    z, d = z / np.sqrt(1 + ratio * values), d / np.sqrt(1 + ratio * values)  # V^(-1/2), in its eigenvectors
    information = float(z @ z)
    freedom = count - 1 - float(np.sum(ratio * values / (1 + ratio * values)))
    if information < 1e-9 or freedom < 0.5:
        return None
    mean = float(z @ d) / information
    remains = d - z * mean
    # E[remains'remains] is (n − 1) σ² where the model holds; the random effects take part of it up
    noise = math.sqrt(float(remains @ remains) / (count - 1))
    error = noise / math.sqrt(information)
    reach = critical(information, freedom, level=level)
    return _effect(mean, noise, error, freedom, reach, int(np.count_nonzero(signs[:, column])))


def _ratio(values: Floats, z: Floats, d: Floats) -> float:
    """τ²/σ² of the other effects that maximises the restricted likelihood.

    Args:
        values: eigenvalues of their covariance. z, d: the effect's signs and the differences, in its
            eigenvectors.
    """
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


def evidence(t: float, information: float, freedom: float, *, prior: float = CLAIMS.prior) -> float:
    """The e-value against "there is no gain": its mean is at most 1 at any time where there is none.

    As E above, for an effect drawn from the positive half of N(0, g σ²). What the other half would have had
    goes to this one: E is multiplied by twice the probability, after the data, that the effect is positive.

    Args:
        t: the estimate over its standard error.
        information, freedom: as for `critical`.
    """
    if freedom <= 0 or information <= 0:
        return 1.0
    spread = 1 + prior * information
    rest = freedom + t * t / spread
    log = -0.5 * math.log(spread) + (freedom + 1) / 2 * math.log((freedom + t * t) / rest)
    place = t * math.sqrt(prior * information / spread * (freedom + 1) / rest)
    return 2 * float(stdtr(freedom + 1, place)) * math.exp(min(log, 700.0))
