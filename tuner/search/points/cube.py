"""Configurations as points of the unit cube, and points near a good one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

STEPS = (0.05, 0.1, 0.2)  # how far a neighbour lies along a parameter, as a share of its range
MOVED = 0.5  # of the parameters, in a neighbour

Array = NDArray[np.float64]


class Cube:
    """The parameters that can differ, one a column. An absent (conditional) parameter is NaN."""

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.distributions = dict(distributions)
        self.axes = {name: axis for name, axis in distributions.items() if not axis.single()}
        self.choices = np.array(
            [isinstance(axis, CategoricalDistribution) for axis in self.axes.values()], bool
        )

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> Array:
        """(configuration, parameter): numbers between 0 and 1, choices by their place."""
        rows = [
            [_to_unit(axis, config[name]) if name in config else math.nan for name, axis in self.axes.items()]
            for config in configs
        ]
        return np.array(rows, dtype=float).reshape(len(configs), len(self.axes))

    def column(self, name: str, values: Array) -> Array:
        """`encode` of values of one parameter that are in Optuna's internal form."""
        axis = self.axes[name]
        return np.array([_to_unit(axis, axis.to_external_repr(value)) for value in values])

    def distances(self, ones: Array, others: Array) -> Array:
        """Squared distance along each parameter, (parameter, one, other).

        Two choices are 0 or 1 apart; so is a parameter that only one side has.
        """
        a, b = ones.T[:, :, None], others.T[:, None, :]
        if not self.choices.any() and not (np.isnan(ones).any() or np.isnan(others).any()):
            apart = a - b
            return np.square(apart, out=apart)
        absent_a, absent_b = np.isnan(a), np.isnan(b)
        apart = np.where(self.choices[:, None, None], a != b, np.square(a - b))
        return np.where(absent_a | absent_b, absent_a != absent_b, apart).astype(float)

    def decode(self, row: Array, origin: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration at a point. What cannot differ is taken from `origin`."""
        fixed = {name: value for name, value in origin.items() if name not in self.axes}
        return fixed | {
            name: axis.choices[int(unit)]
            if isinstance(axis, CategoricalDistribution)
            else from_unit(axis, unit)
            for (name, axis), unit in zip(self.axes.items(), row.tolist(), strict=True)
            if not math.isnan(unit)
        }

    def near(self, good: Array, others: Array, rng: np.random.Generator) -> Array:
        """A point near each of `good`, (point, parameter); `others`, as many, give the choices that change.

        Where the two have different parameters, a changed choice may be the reason. So either nothing but
        numbers changes, or `others` give everything that is not a number of both.
        """
        shape = others.shape
        moved = rng.random(shape) < MOVED
        moved[np.arange(len(others)), rng.integers(0, max(1, shape[1]), len(others))] = True
        alike = (np.isnan(good) == np.isnan(others)).all(1)[:, None]
        swapped = ~alike & (rng.random((len(others), 1)) < MOVED)
        points = np.where(swapped, others, good)
        points = np.where(self.choices & moved & alike & (rng.random(shape) < MOVED), others, points)
        steps = rng.normal(0.0, 1.0, shape) * rng.choice(STEPS, (len(others), 1))
        numbers = ~self.choices & ~np.isnan(points) & ~np.isnan(good)
        return np.where(numbers, self.snapped(_reflected(good + moved * steps)), points)

    def drawn(self, count: int, rng: np.random.Generator) -> Array:
        """Points anywhere, (count, parameter)."""
        points = rng.random((count, len(self.axes)))
        for column, axis in enumerate(self.axes.values()):
            if isinstance(axis, CategoricalDistribution):
                points[:, column] = np.floor(points[:, column] * len(axis.choices))
            elif isinstance(axis, IntDistribution) and not axis.log:
                places = (axis.high - axis.low) // axis.step
                points[:, column] = np.floor(points[:, column] * (places + 1)) / places
        return self.snapped(points)

    def snapped(self, points: Array) -> Array:
        """The nearest points with valid values."""
        snapped = points.copy()
        for column, axis in enumerate(self.axes.values()):
            if isinstance(axis, CategoricalDistribution):
                continue
            assert isinstance(axis, FloatDistribution | IntDistribution)
            if axis.step is not None and not axis.log:
                places = (axis.high - axis.low) / axis.step
                snapped[:, column] = np.round(points[:, column] * places) / places
            elif axis.step is not None:
                low, range_ = math.log(axis.low), math.log(axis.high) - math.log(axis.low)
                values = np.round(np.exp(low + points[:, column] * range_))
                snapped[:, column] = (np.log(np.clip(values, axis.low, axis.high)) - low) / range_
        return snapped


def _reflected(points: Array) -> Array:
    """Back inside from beyond a bound, as far as they went beyond."""
    inside = np.abs(points)
    return np.clip(np.where(inside > 1.0, 2.0 - inside, inside), 0.0, 1.0)


def _to_unit(axis: BaseDistribution, value: Any) -> float:
    if isinstance(axis, CategoricalDistribution):
        return axis.to_internal_repr(value)
    assert isinstance(axis, FloatDistribution | IntDistribution)
    low, high, x = float(axis.low), float(axis.high), float(value)
    if axis.log:
        low, high, x = math.log(low), math.log(high), math.log(x)
    return (x - low) / (high - low)


def drawn(axis: BaseDistribution, rng: np.random.Generator) -> Any:
    """A value, all equally likely (on a logarithmic scale where the distribution has one)."""
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[rng.integers(len(axis.choices))]
    if isinstance(axis, IntDistribution) and not axis.log:
        return axis.low + axis.step * int(rng.integers((axis.high - axis.low) // axis.step + 1))
    return from_unit(axis, rng.random())


def from_unit(axis: BaseDistribution, unit: float) -> Any:
    """The valid number nearest to a place between 0 and 1."""
    assert isinstance(axis, FloatDistribution | IntDistribution)
    low, high = float(axis.low), float(axis.high)
    if axis.log:
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        value = low + unit * (high - low)
    if axis.step is not None:
        value = low + axis.step * round((value - low) / axis.step)
    value = min(max(value, low), high)
    return round(value) if isinstance(axis, IntDistribution) else value
