"""An exact Gaussian process over (configuration, epoch), with the most likely hyperparameters under priors.

The covariance of two values, of configurations x and x' after t and t' epochs, is

    k = K(x, x') (a + b R(t, t')) + c R(t, t') + f + g H(x) H(x')
      + [same trial] (d R(t, t') + e) + [same value] noise

K is a Matérn 5/2 with a length scale for each parameter, R a squared exponential over log(epochs). The terms
say in turn: like configurations have like curves; all curves rise alike; a study has its level; values are a
linear function of what earlier studies predict, H(x); a trial keeps what is its own. How much earlier studies
say is fitted with everything else, so one that misleads soon has no influence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, lapack, solve_triangular
from scipy.optimize import minimize

# Log-normal priors, (median, deviation of the logarithm): targets have deviation 1, parameters a range of 1.
VARIANCES = {"a": (0.5, 1.0), "b": (0.3, 1.0), "c": (0.5, 1.0), "d": (0.03, 1.0), "e": (0.03, 1.0)}
LEVEL = (0.1, 1.0)
NOISE = (0.003, 1.0)
TIME_SCALE = (1.5, 0.5)  # in log(epochs)
LENGTH_SCALE = (1.0, 1.0)
HISTORY = (0.3, 1.0)  # of each earlier study's weight
BELIEF = 0.5  # in the mean prediction of earlier studies, while nothing is known
JITTER = 1e-6
ITERATIONS = 40
ROOT5 = 5**0.5

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Points:
    """Where values are known or asked for.

    Attributes:
        rows: (point,), which of the configurations.
        logs: (point,), log(epochs).
    """

    rows: Indices
    logs: Array


@dataclass(frozen=True)
class Pairs:
    """How configurations, (one, other), relate.

    Attributes:
        apart: squared distances along each parameter, (parameter, one, other).
        same: 1 where the two are one trial.
        before: of the ones and of the others, what earlier studies predict, (one, study) and (other, study).
    """

    apart: Array
    same: Array
    before: tuple[Array, Array]


@dataclass(frozen=True)
class Hyperparameters:
    """Logarithms: a, b, c, d, e, f, the noise, R's length scale, g, and K's length scales."""

    logs: Array

    @classmethod
    def median(cls, parameters: int) -> Hyperparameters:
        """The medians of the priors."""
        return cls(_priors(parameters)[0])


def _priors(parameters: int) -> tuple[Array, Array]:
    pairs = [*VARIANCES.values(), LEVEL, NOISE, TIME_SCALE, HISTORY, *[LENGTH_SCALE] * parameters]
    medians, deviations = zip(*pairs, strict=True)
    return np.log(medians), np.array(deviations, dtype=float)


def fit(points: Points, pairs: Pairs, targets: Array, start: Hyperparameters) -> Hyperparameters:
    """The hyperparameters of the highest posterior density that is found from `start`.

    Args:
        pairs: the configurations among themselves.
        targets: (point,).
    """
    medians, deviations = _priors(len(pairs.apart))
    loss = _loss(points, pairs, targets - _expected(pairs.before[0], points), medians, deviations)
    bounds = list(zip(medians - 4 * deviations, medians + 4 * deviations, strict=True))
    found = minimize(
        loss, start.logs, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS}
    )
    return Hyperparameters(found.x) if np.isfinite(found.fun) else start


def _loss(
    points: Points, pairs: Pairs, targets: Array, medians: Array, deviations: Array
) -> Callable[[Array], tuple[float, Array]]:
    """The negative log posterior and its gradient, as a function of the hyperparameters' logarithms."""
    rows, count = points.rows, len(points.rows)
    flat = pairs.apart.reshape(len(pairs.apart), -1)
    here = np.ix_(rows, rows)
    same, before = (
        pairs.same[here],
        (pairs.before[0] @ pairs.before[1].T / max(1, pairs.before[0].shape[1]))[here],
    )
    lag = np.square(points.logs[:, None] - points.logs[None, :])
    members = np.zeros((count, len(pairs.same)))
    members[np.arange(count), rows] = 1.0

    def loss(logs: Array) -> tuple[float, Array]:
        a, b, c, d, e, f, noise, scale, g = np.exp(logs[:9])
        weights = np.exp(-2.0 * logs[9:])
        r = np.sqrt((weights @ flat).reshape(pairs.same.shape))
        decay = np.exp(-ROOT5 * r)
        like = ((1.0 + ROOT5 * r + 5.0 / 3.0 * r**2) * decay)[here]
        near = np.exp(-0.5 * lag / scale**2)
        k = like * (a + b * near) + c * near + f + g * before + same * (d * near + e)
        k.flat[:: count + 1] += noise + JITTER
        lower, failed = lapack.dpotrf(k, lower=1, clean=1)
        if failed:
            return np.inf, np.zeros_like(logs)
        alpha = cho_solve((lower, True), targets)
        inverse, _ = lapack.dpotri(lower, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        outer = np.outer(alpha, alpha) - inverse  # d(log likelihood) = 1/2 sum(outer * dk)
        with_same, across_near = outer * same, outer * near
        gradient = np.empty_like(logs)
        gradient[0] = a * np.vdot(outer, like)
        gradient[1] = b * np.vdot(across_near, like)
        gradient[2] = c * across_near.sum()
        gradient[3] = d * np.vdot(with_same, near)
        gradient[4] = e * with_same.sum()
        gradient[5] = f * outer.sum()
        gradient[6] = noise * np.trace(outer)
        gradient[7] = np.vdot(outer * (b * like + c) + d * with_same, near * lag) / scale**2
        gradient[8] = g * np.vdot(outer, before)
        configs = members.T @ (a * outer + b * across_near) @ members
        slope = 5.0 / 3.0 * (1.0 + ROOT5 * r) * decay * configs
        gradient[9:] = weights * (flat @ slope.ravel())
        off = (logs - medians) / deviations
        value = 0.5 * targets @ alpha + np.log(np.diag(lower)).sum() + 0.5 * off @ off
        return float(value), -0.5 * gradient + off / deviations

    return loss


@dataclass(frozen=True)
class Process:
    """The process after it has seen values at `points`."""

    hyperparameters: Hyperparameters
    points: Points
    pairs: Pairs
    targets: Array
    lower: Array  # of the values' covariance
    weights: Array

    @classmethod
    def of(cls, points: Points, pairs: Pairs, targets: Array, hyperparameters: Hyperparameters) -> Process:
        """Conditions on values; more jitter where the covariance is not positive in floating point."""
        own = _covariance(hyperparameters, pairs, points, points)
        jitter = np.exp(hyperparameters.logs[6]) + JITTER
        while True:
            lower, failed = lapack.dpotrf(own + jitter * np.eye(len(own)), lower=1, clean=1)
            if not failed:
                break
            jitter *= 10.0
        left = targets - _expected(pairs.before[0], points)
        return cls(hyperparameters, points, pairs, targets, lower, cho_solve((lower, True), left))

    def predict(self, points: Points, pairs: Pairs) -> tuple[Array, Array]:
        """Mean and standard deviation of the values at `points`, without noise.

        Args:
            pairs: the configurations that are asked for, and those known.
        """
        cross = _covariance(self.hyperparameters, pairs, points, self.points)
        left = self._variances(points, pairs) - np.square(self._explained(cross)).sum(0)
        mean = cross @ self.weights + _expected(pairs.before[0], points)
        return mean, np.sqrt(np.maximum(left, 1e-12))

    def with_pending(self, points: Points) -> Process:
        """As if the values at `points`, of configurations among those known, had come as predicted."""
        if not len(points.rows):
            return self
        cross = _covariance(self.hyperparameters, self.pairs, points, self.points)
        among = _covariance(self.hyperparameters, self.pairs, points, points)
        noise = np.exp(self.hyperparameters.logs[6]) + JITTER
        explained = self._explained(cross)
        left = among + noise * np.eye(len(among)) - explained.T @ explained
        corner = np.linalg.cholesky(left + 1e-9 * np.eye(len(left)))
        lower = np.block([[self.lower, np.zeros_like(explained)], [explained.T, corner]])
        both = Points(
            np.concatenate([self.points.rows, points.rows]), np.concatenate([self.points.logs, points.logs])
        )
        mean = cross @ self.weights + _expected(self.pairs.before[0], points)
        targets = np.concatenate([self.targets, mean])
        weights = np.concatenate([self.weights, np.zeros(len(among))])  # what is as predicted changes no mean
        return replace(self, points=both, targets=targets, lower=lower, weights=weights)

    def _explained(self, cross: Array) -> Array:
        found: Array = solve_triangular(self.lower, cross.T, lower=True, check_finite=False)
        return found

    def _variances(self, points: Points, pairs: Pairs) -> Array:
        variances = np.exp(self.hyperparameters.logs)
        before = np.square(pairs.before[0]).mean(1)[points.rows] if pairs.before[0].size else 0.0
        return np.asarray(variances[:6].sum() + variances[8] * before)


def _expected(before: Array, points: Points) -> Array | float:
    """The mean of the values before any is known."""
    return BELIEF * before.mean(1)[points.rows] if before.size else 0.0


def _covariance(hyper: Hyperparameters, pairs: Pairs, ones: Points, others: Points) -> Array:
    a, b, c, d, e, f, _, scale, g = np.exp(hyper.logs[:9])
    r = np.sqrt(np.tensordot(np.exp(-2.0 * hyper.logs[9:]), pairs.apart, 1))
    like = (1.0 + ROOT5 * r + 5.0 / 3.0 * r**2) * np.exp(-ROOT5 * r)
    times, of_ones = np.unique(ones.logs, return_inverse=True)
    known, of_others = np.unique(others.logs, return_inverse=True)
    near = np.exp(-0.5 * np.square((times[:, None] - known) / scale))[np.ix_(of_ones, of_others)]
    here = np.ix_(ones.rows, others.rows)
    found = like[here]
    found *= a + b * near
    found += c * near + f
    if pairs.same.any():
        found += pairs.same[here] * (d * near + e)
    if pairs.before[0].size:
        found += g / pairs.before[0].shape[1] * (pairs.before[0][ones.rows] @ pairs.before[1][others.rows].T)
    return np.asarray(found)
