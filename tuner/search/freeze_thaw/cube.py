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

    def distances(self, ones: Array, others: Array) -> Array:
        """Squared distance along each parameter, (parameter, one, other).

        Two choices are 0 or 1 apart; so is a parameter that only one side has.
        """
        a, b = ones.T[:, :, None], others.T[:, None, :]
        absent_a, absent_b = np.isnan(a), np.isnan(b)
        apart = np.where(self.choices[:, None, None], a != b, np.square(a - b))
        return np.where(absent_a | absent_b, absent_a != absent_b, apart).astype(float)

    def near(
        self, config: Mapping[str, Any], other: Mapping[str, Any], rng: np.random.Generator
    ) -> dict[str, Any]:
        """A configuration near `config`. Choices that it changes, and what `config` lacks, come from `other`.

        Where the two have different parameters, a changed choice may be the reason. So either nothing but
        numbers changes, or `other` gives everything that is not a number of both.
        """
        moved = rng.random(len(self.axes)) < MOVED
        if len(moved):
            moved[rng.integers(len(moved))] = True
        step = rng.choice(STEPS)
        changed = dict(config)
        if config.keys() != other.keys() and rng.random() < MOVED:
            changed = dict(other)
        for (name, axis), moves in zip(self.axes.items(), moved, strict=True):
            if name not in changed or name not in config:
                continue
            if isinstance(axis, CategoricalDistribution):
                if moves and config.keys() == other.keys() and rng.random() < MOVED:
                    changed[name] = other[name]
                continue
            unit = _to_unit(axis, config[name])
            if moves:
                unit = _reflected(unit + rng.normal(0.0, step))
            changed[name] = from_unit(axis, unit) if moves else config[name]
        return changed


def _reflected(unit: float) -> float:
    """Back inside from beyond a bound, as far as it went beyond."""
    return min(max(abs(unit), 0.0), 1.0) if unit <= 1.0 else max(2.0 - unit, 0.0)


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
    if isinstance(axis, IntDistribution) and not axis.log:
        return axis.low + axis.step * int(rng.integers((axis.high - axis.low) // axis.step + 1))
    return from_unit(axis, rng.random())


def from_unit(axis: BaseDistribution, unit: float) -> Any:
    """The valid value nearest to a place between 0 and 1; of choices, the one there."""
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[min(int(unit * len(axis.choices)), len(axis.choices) - 1)]
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
