"""What runs out of memory is learnt, so that the search avoids what would run out of it again.

The memory that a training takes is near to a product of powers of its sizes (batch, width, depth). So the
logarithm is near to a sum over the sizes on a logarithmic scale, and a logistic regression on the parameters
says how probable it is that a configuration runs out of memory. Before any trial has, larger numbers are
taken to need more, and most configurations to fit (the prior); the trials move that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from tuner.search.points.cube import drawn
from tuner.storage.allocate import state_of
from tuner.storage.attributes import AGENT_LOST, OUT_OF_MEMORY

PRIOR_SLOPE, SLOPE_SPREAD = 1.0, 4.0  # of a number, from the smallest to the largest; in log odds
PRIOR_ODDS, ODDS_SPREAD = -2.0, 3.0  # in the middle of the space; in log odds
NEWTON_STEPS = 20
PROBABLE = 0.35  # a configuration that runs out of memory with a higher probability is not proposed
CANDIDATES = 64  # drawn in place of such a one
ALMOST = 0.25  # of the steepest slope: parameters with less are not named

Array = NDArray[np.float64]
Params = Mapping[str, Any]


class MemoryLimit:
    """How probable it is that a configuration runs out of memory.

    Args:
        distributions: of the parameters.
        failed, fine: parameters of the trials that ran out of memory, and of those that did not.
    """

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], failed: Sequence[Params], fine: Sequence[Params]
    ) -> None:
        self._distributions = {name: axis for name, axis in distributions.items() if not axis.single()}
        self._columns = [
            (name, choice) for name, axis in self._distributions.items() for choice in _choices(axis)
        ]
        prior = np.array(
            [PRIOR_ODDS, *(PRIOR_SLOPE if choice is None else 0.0 for _, choice in self._columns)]
        )
        precision = np.array([ODDS_SPREAD, *(SLOPE_SPREAD for _ in self._columns)]) ** -2.0
        x = self._features([*failed, *fine])
        happened = np.array([1.0] * len(failed) + [0.0] * len(fine))
        weights = prior.copy()
        for _ in range(NEWTON_STEPS):  # the most probable weights
            p = _sigmoid(x @ weights)
            gradient = x.T @ (happened - p) - precision * (weights - prior)
            curvature = (x.T * (p * (1 - p))) @ x + np.diag(precision)
            step = np.linalg.solve(curvature, gradient)
            weights = weights + step / max(1.0, np.abs(step).max() / 2.0)
        self._weights: Array = weights

    def probability(self, configs: Sequence[Params]) -> Array:
        """That each of the configurations runs out of memory."""
        return _sigmoid(self._features(configs) @ self._weights)

    def mended(
        self,
        params: Params,
        rng: np.random.Generator,
        *,
        fixed: Collection[str] = (),
        anywhere: bool = False,
        valid: Callable[[Params], bool] = lambda params: True,
    ) -> dict[str, Any]:
        """`params` where they probably fit, else the nearest of some that do, else the one that may best fit.

        Args:
            fixed: names of parameters that stay as they are.
            anywhere: all others are drawn anew, as random search does; else one or some of them.
            valid: what a configuration must be besides.
        """
        if self.probability([params])[0] <= PROBABLE:
            return dict(params)
        free = [name for name in self._distributions if name in params and name not in fixed]
        candidates = []
        for _ in range(CANDIDATES if free else 0):
            names = free if anywhere else rng.choice(free, rng.integers(1, len(free) + 1), replace=False)
            candidate = {**params, **{name: drawn(self._distributions[name], rng) for name in names}}
            if valid(candidate):
                candidates.append(candidate)
        if not candidates:
            return dict(params)
        risks = self.probability(candidates)
        apart = np.square(self._features(candidates) - self._features([params])).sum(1)
        order = np.arange(len(candidates)) if anywhere else apart
        fits = risks <= PROBABLE
        best = np.where(fits, order, np.inf).argmin() if fits.any() else risks.argmin()
        return candidates[int(best)]

    def larger(self) -> list[str]:
        """The numbers of which large values are avoided, the most decisive first."""
        slopes = {
            name: slope
            for (name, choice), slope in zip(self._columns, self._weights[1:].tolist(), strict=True)
            if choice is None and slope > PRIOR_SLOPE
        }
        steepest = max(slopes.values(), default=0.0)
        return [
            n for n in sorted(slopes, key=slopes.__getitem__, reverse=True) if slopes[n] >= ALMOST * steepest
        ]

    def _features(self, configs: Sequence[Params]) -> Array:
        """(configuration, feature): 1, then places from -0.5 to 0.5 of numbers, and a half or minus a half of
        each choice; 0 of a parameter that is absent.
        """
        rows = [
            [
                1.0,
                *(
                    _feature(self._distributions[name], choice, params.get(name))
                    for name, choice in self._columns
                ),
            ]
            for params in configs
        ]
        return np.array(rows, dtype=float).reshape(len(configs), 1 + len(self._columns))


def learnt(
    trials: Sequence[FrozenTrial], distributions: Mapping[str, BaseDistribution]
) -> MemoryLimit | None:
    """What the trials of a study say; None where none ran out of memory."""
    failed = [trial.params for trial in trials if ran_out(trial) and trial.params]
    if not failed:
        return None
    fine = [trial.params for trial in trials if state_of(trial) in ("complete", "pruned", "paused")]
    return MemoryLimit(distributions, failed, fine)


def ran_out(trial: FrozenTrial) -> bool:
    """Whether a trial ran out of memory, or its agents died so often that it must have been the trial."""
    if trial.state is not TrialState.FAIL:  # most have not, and each suggestion asks of all trials
        return False
    return OUT_OF_MEMORY.of(trial) or (AGENT_LOST.of(trial) and state_of(trial) == "failed")


def _choices(axis: BaseDistribution) -> Sequence[Any]:
    """The choices that are features of their own; (None,) of a number, which is one feature."""
    return (None,) if _bounds(axis) else getattr(axis, "choices", ())


def _bounds(axis: BaseDistribution) -> tuple[float, float] | None:
    """The smallest and the largest value of a number, also where it is one of several choices."""
    if isinstance(axis, FloatDistribution | IntDistribution):
        return float(axis.low), float(axis.high)
    assert isinstance(axis, CategoricalDistribution)
    if all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in axis.choices):
        numbers = [float(choice) for choice in axis.choices]  # type: ignore[arg-type]
        return min(numbers), max(numbers)
    return None


def _feature(axis: BaseDistribution, choice: Any, value: Any) -> float:
    bounds = _bounds(axis)
    if value is None:
        return 0.0
    if bounds is None:
        return 0.5 if value == choice else -0.5
    low, high = bounds
    if low > 0:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) - 0.5


def _sigmoid(odds: Array) -> Array:
    found: Array = 1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0)))
    return found
