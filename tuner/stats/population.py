"""Configurations that run in rounds, compared as draws from one population.

The best of several configurations looks better than it is, because luck helped to choose it. Where it is far
ahead, luck explains little; where all are close, it explains most of the lead. So the values of three or more
configurations are a normal population with an unknown spread:

    score = configuration + round + noise,   configuration ~ N(μ, τ²),   noise ~ N(0, σ²)

μ, the rounds and log σ have flat priors (σ also knows the noise that other races measured), and τ/σ has a
half-Cauchy prior of scale 1, summed over a grid. Given τ/σ, the posterior of a difference is Student's t
(Henderson's mixed-model equations), so the whole posterior is a mixture of t distributions. Its mean is
pulled towards the others, the more the closer all of them are (the shrinkage of James and Stein). Its
interval allows for the choice of the best, and for a stop as soon as one is sure: `benchmarks/bench_trust.py`
and `tests/tuner_tests/stats/test_population.py` count how often it holds then.

Two configurations alone tell little of a spread. Their interval is that of pairs, which holds at every look
(`anytime`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tuner.stats import two_way
from tuner.stats.comparison import Comparison
from tuner.stats.intervals import student
from tuner.stats.noise import UNKNOWN, Noise, pooled
from tuner.stats.two_way import TwoWay

Floats = NDArray[np.float64]
SEVERAL = 3  # configurations, whose spread tells something
RATIOS = np.geomspace(0.1, 300.0, 15)  # τ/σ
NOMINAL = 0.97  # of an interval that holds in 95 of 100 outside studies, whose noise is not quite normal
DRAWS = 20_000
BISECTIONS = 50


@dataclass(frozen=True)
class Posterior:
    """What is known of the configurations that ran: for each τ/σ a multivariate t distribution.

    Attributes:
        present: the levels that ran, in the order of the arrays.
        weights: `(ratio,)`, their sum is 1. means: `(ratio, level)`. covariances: `(ratio, level, level)`.
    """

    present: tuple[int, ...]
    weights: Floats
    means: Floats
    covariances: Floats
    freedom: float

    def below(self, value: float, one: int, two: int) -> float:
        """The probability that the difference of two levels is below a value."""
        return self._below(value, *self._difference(one, two))

    def difference(self, one: int, two: int) -> float:
        """The mean of the difference of two levels."""
        return float(self.weights @ self._difference(one, two)[0])

    def interval(self, one: int, two: int) -> tuple[float, float]:
        """The interval of the difference, with equal probabilities on both sides."""
        means, scales = self._difference(one, two)
        low, high = (self._quantile((1 + side * NOMINAL) / 2, means, scales) for side in (-1, 1))
        return low, high

    def _difference(self, one: int, two: int) -> tuple[Floats, Floats]:
        """Locations and scales of the t distributions of a difference, by ratio."""
        i, j = self.present.index(one), self.present.index(two)
        c = self.covariances
        scales = np.sqrt(np.maximum(c[:, i, i] + c[:, j, j] - 2 * c[:, i, j], 1e-300))
        return self.means[:, i] - self.means[:, j], scales

    def _below(self, value: float, means: Floats, scales: Floats) -> float:
        from scipy.special import stdtr

        return float(self.weights @ stdtr(self.freedom, (value - means) / scales))

    def _quantile(self, share: float, means: Floats, scales: Floats) -> float:
        from scipy.special import stdtrit

        bounds = means + scales * stdtrit(self.freedom, share)
        low, high = float(bounds.min()), float(bounds.max())
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._below(middle, means, scales) < share else (low, middle)
        return (low + high) / 2

    def best(self, among: Sequence[int]) -> Floats:
        """For each of these levels the probability that it is the best of them."""
        rng, places = np.random.default_rng(0), [self.present.index(i) for i in among]
        counts = np.zeros(len(places))
        for draws, mean, covariance in zip(
            rng.multinomial(DRAWS, self.weights), self.means, self.covariances, strict=True
        ):
            spread = np.sqrt(self.freedom / rng.chisquare(self.freedom, draws))[:, None]
            block = covariance[np.ix_(places, places)]
            noise = rng.multivariate_normal(np.zeros(len(places)), block, draws, method="eigh")
            counts += np.bincount((mean[places] + spread * noise).argmax(axis=1), minlength=len(places))
        return counts / DRAWS


@dataclass(frozen=True)
class Population:
    """Configurations after their runs in rounds.

    Attributes:
        fit: by least squares, in which each configuration stands for itself.
        noise: of a run around its configuration and round, other measurements included.
        posterior: None where fewer than two configurations ran, or nothing is known of the noise.
    """

    fit: TwoWay
    noise: Noise
    posterior: Posterior | None
    _known: Noise

    @cached_property
    def means(self) -> tuple[float, ...]:
        """The estimate of each configuration; -inf for one that did not run."""
        if self.posterior is None:
            return self.fit.means
        found = dict(zip(self.posterior.present, self.posterior.weights @ self.posterior.means, strict=True))
        return tuple(float(found.get(i, -math.inf)) for i in range(len(self.fit.means)))

    def compare(self, one: int, two: int) -> Comparison | None:
        """The difference of two configurations; None where no chain of rounds connects them."""
        plain = self.fit.compare(one, two, known=self._known)
        known = self.posterior
        if plain is None or plain.interval is None or known is None or len(known.present) < SEVERAL:
            return plain
        (low, high), mean = known.interval(one, two), known.difference(one, two)
        error, better = (high - low) / 2 / student(self.noise.freedom, NOMINAL), self.better(one, two)
        return replace(plain, difference=mean, low=low, high=high, error=error, better=better)

    def better(self, one: int, two: int) -> float | None:
        """The probability that one configuration is better than another; None: nothing is known."""
        return None if self.posterior is None else 1 - self.posterior.below(0.0, one, two)

    def best(self, among: Collection[int]) -> dict[int, float]:
        """For each of these configurations the probability that it is the best of them."""
        able = sorted(i for i in among if not math.isinf(self.fit.means[i]))
        if self.posterior is not None and able:
            return dict(zip(able, map(float, self.posterior.best(able)), strict=True))
        return dict.fromkeys(able, 1 / max(1, len(able)))


def fit(values: Sequence[tuple[int, int, float]], levels: int, known: Noise = UNKNOWN) -> Population:
    """The state after runs `(configuration, round, score)`; larger scores are better.

    Args:
        levels: how many configurations there are, counted from 0.
        known: the noise of a run by other measurements.
    """
    return _fitted(tuple(values), levels, known)


@lru_cache(maxsize=64)  # a race looks at its earlier rounds again before each new one
def _fitted(values: tuple[tuple[int, int, float], ...], levels: int, known: Noise) -> Population:
    plain = two_way.fit(values, levels)
    own = Noise(plain.noise, plain.freedom)
    noise = own if own.deviation == 0 else pooled([own, known])
    enough = len({i for i, _, _ in values}) > 1 and noise.freedom > 0 and noise.deviation > 0
    return Population(plain, noise, _posterior(values, known) if enough else None, known)


def _posterior(values: Sequence[tuple[int, int, float]], known: Noise) -> Posterior:
    present = sorted({level for level, _, _ in values})
    points = sorted({point for _, point, _ in values})
    rounds, levels = len(points), len(present)
    y = np.array([value for _, _, value in values])
    middle = float(y.mean())
    y = y - middle
    design = np.zeros((len(y), rounds + levels))  # the rounds without a penalty, then the configurations
    for row, (level, point, _) in enumerate(values):
        design[row, points.index(point)] = 1
        design[row, rounds + present.index(level)] = 1
    square, right = design.T @ design, design.T @ y
    prior = known.freedom * known.deviation**2 if known.freedom > 0 else 0.0
    freedom = len(y) - rounds + max(0, known.freedom)
    penalty = np.zeros((len(RATIOS), rounds + levels))
    penalty[:, rounds:] = RATIOS[:, None] ** -2.0
    inverse = np.linalg.inv(square + penalty[:, :, None] * np.eye(rounds + levels))
    found = inverse @ right  # (ratio, round or level)
    rest = y - found @ design.T
    squares = (rest**2).sum(axis=1) + (penalty * found**2).sum(axis=1) + prior
    half_cauchy = np.log(RATIOS / (1 + RATIOS**2))  # its density at points that are even in log τ/σ
    determinant = 2 * levels * np.log(RATIOS) - np.linalg.slogdet(inverse)[1]
    logs = half_cauchy - determinant / 2 - freedom / 2 * np.log(squares)
    weights = np.exp(logs - logs.max())
    return Posterior(
        tuple(present), weights / weights.sum(), middle + found[:, rounds:],
        (squares / freedom)[:, None, None] * inverse[:, rounds:, rounds:], freedom,
    )  # fmt: skip
