"""An exact Gaussian process over (configuration, epoch), with the likeliest hyperparameters under priors.

The covariance of two values, of configurations x and x' after t and t' epochs, is

    k = K(x, x') (a + b R(t, t')) + c R(t, t') + [same trial] (d R(t, t') + e) + [same value] noise

K is a Matérn 5/2 with a length scale for each parameter, R a squared exponential over log(epochs). The terms
say in turn: like configurations have like curves; all curves rise alike; a trial keeps what is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, lapack, solve_triangular
from scipy.optimize import minimize

# Log-normal priors, (median, deviation of the logarithm): targets have deviation 1, parameters a range of 1.
VARIANCES = {"a": (0.5, 1.0), "b": (0.3, 1.0), "c": (0.5, 1.0), "d": (0.03, 1.0), "e": (0.03, 1.0)}
NOISE = (0.003, 1.0)
TIME_SCALE = (1.5, 0.5)  # in log(epochs)
LENGTH_SCALE = (1.0, 1.0)
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
class Hyperparameters:
    """Logarithms: a, b, c, d, e, the noise, R's length scale, and K's length scales."""

    logs: Array

    @classmethod
    def median(cls, parameters: int) -> Hyperparameters:
        """The medians of the priors."""
        return cls(_priors(parameters)[0])


def _priors(parameters: int) -> tuple[Array, Array]:
    pairs = [*VARIANCES.values(), NOISE, TIME_SCALE, *[LENGTH_SCALE] * parameters]
    medians, deviations = zip(*pairs, strict=True)
    return np.log(medians), np.array(deviations, dtype=float)


def fit(points: Points, apart: Array, targets: Array, start: Hyperparameters) -> Hyperparameters:
    """The hyperparameters of the highest posterior density that is found from `start`.

    Args:
        apart: squared distances of the configurations along each parameter, (parameter, one, other).
        targets: (point,).
    """
    medians, deviations = _priors(len(apart))
    loss = _loss(points, apart, targets, medians, deviations)
    bounds = list(zip(medians - 4 * deviations, medians + 4 * deviations, strict=True))
    found = minimize(
        loss, start.logs, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS}
    )
    return Hyperparameters(found.x) if np.isfinite(found.fun) else start


def _loss(
    points: Points, apart: Array, targets: Array, medians: Array, deviations: Array
) -> Callable[[Array], tuple[float, Array]]:
    """The negative log posterior and its gradient, as a function of the hyperparameters' logarithms."""
    rows, count = points.rows, len(points.rows)
    flat = apart.reshape(len(apart), -1)
    here = np.ix_(rows, rows)
    same = (rows[:, None] == rows[None, :]).astype(float)
    lag = np.square(points.logs[:, None] - points.logs[None, :])
    members = np.zeros((count, apart.shape[1]))
    members[np.arange(count), rows] = 1.0

    def loss(logs: Array) -> tuple[float, Array]:
        a, b, c, d, e, noise, scale = np.exp(logs[:7])
        weights = np.exp(-2.0 * logs[7:])
        r = np.sqrt((weights @ flat).reshape(apart.shape[1:]))
        decay = np.exp(-ROOT5 * r)
        like = ((1.0 + ROOT5 * r + 5.0 / 3.0 * r**2) * decay)[here]
        near = np.exp(-0.5 * lag / scale**2)
        k = like * (a + b * near) + c * near + same * (d * near + e)
        k.flat[:: count + 1] += noise + JITTER
        lower, failed = lapack.dpotrf(k, lower=1, clean=1)
        if failed:
            return np.inf, np.zeros_like(logs)
        alpha = cho_solve((lower, True), targets)
        inverse, _ = lapack.dpotri(lower, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        outer = np.outer(alpha, alpha) - inverse  # d(log likelihood) = 1/2 sum(outer * dk)
        with_near, with_same = outer * near, outer * same
        by_near = outer * (b * like + c + d * same)
        gradient = np.empty_like(logs)
        gradient[0] = a * np.vdot(outer, like)
        gradient[1] = b * np.vdot(with_near, like)
        gradient[2] = c * with_near.sum()
        gradient[3] = d * np.vdot(with_same, near)
        gradient[4] = e * with_same.sum()
        gradient[5] = noise * np.trace(outer)
        gradient[6] = np.vdot(by_near, near * lag) / scale**2
        configs = members.T @ (outer * (a + b * near)) @ members
        slope = 5.0 / 3.0 * (1.0 + ROOT5 * r) * decay * configs
        gradient[7:] = weights * (flat @ slope.ravel())
        off = (logs - medians) / deviations
        value = 0.5 * targets @ alpha + np.log(np.diag(lower)).sum() + 0.5 * off @ off
        return float(value), -0.5 * gradient + off / deviations

    return loss


@dataclass(frozen=True)
class Process:
    """The process after it has seen values at `points`."""

    hyperparameters: Hyperparameters
    points: Points
    targets: Array
    lower: Array  # of the values' covariance
    weights: Array

    @classmethod
    def of(cls, points: Points, apart: Array, targets: Array, hyperparameters: Hyperparameters) -> Process:
        """Conditions on values; more jitter where the covariance is not positive in floating point."""
        own = _covariance(hyperparameters, apart, points, points, same=np.eye(apart.shape[1]))
        jitter = np.exp(hyperparameters.logs[5]) + JITTER
        while True:
            lower, failed = lapack.dpotrf(own + jitter * np.eye(len(own)), lower=1, clean=1)
            if not failed:
                break
            jitter *= 10.0
        return cls(hyperparameters, points, targets, lower, cho_solve((lower, True), targets))

    def predict(self, points: Points, apart: Array, same: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the values at `points`, without noise.

        Args:
            apart: squared distances between configurations, (parameter, asked, known).
            same: (asked, known), 1 where the two are one trial.
        """
        cross = _covariance(self.hyperparameters, apart, points, self.points, same=same)
        a, b, c, d, e = np.exp(self.hyperparameters.logs[:5])
        explained = solve_triangular(self.lower, cross.T, lower=True, check_finite=False)
        variance = a + b + c + d + e - np.square(explained).sum(0)
        return cross @ self.weights, np.sqrt(np.maximum(variance, 1e-12))

    def with_pending(self, points: Points, apart: Array) -> Process:
        """As if the values at `points`, of configurations among those known, had come as predicted.

        Args:
            apart: squared distances among the known configurations.
        """
        if not len(points.rows):
            return self
        mean, _ = self.predict(points, apart, np.eye(apart.shape[1]))
        both = Points(
            np.concatenate([self.points.rows, points.rows]), np.concatenate([self.points.logs, points.logs])
        )
        return Process.of(both, apart, np.concatenate([self.targets, mean]), self.hyperparameters)


def _covariance(hyper: Hyperparameters, apart: Array, ones: Points, others: Points, *, same: Array) -> Array:
    a, b, c, d, e, _, scale = np.exp(hyper.logs[:7])
    r = np.sqrt(np.tensordot(np.exp(-2.0 * hyper.logs[7:]), apart, 1))
    like = (1.0 + ROOT5 * r + 5.0 / 3.0 * r**2) * np.exp(-ROOT5 * r)
    near = np.exp(-0.5 * np.square((ones.logs[:, None] - others.logs[None, :]) / scale))
    here = np.ix_(ones.rows, others.rows)
    return like[here] * (a + b * near) + c * near + same[here] * (d * near + e)
