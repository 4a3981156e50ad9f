"""What earlier studies say of configurations: a prediction of each, from the parameters that it shares.

Each earlier study gets a model of its own. What it predicts is a feature of a configuration, and the process
of the present study learns how far each feature is right (`process.py`): a study that misleads gets no
weight, or a negative one. (Feurer et al., 2018, weigh such models by their ranking.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from tuner.search.freeze_thaw.candidates import Candidate
from tuner.search.freeze_thaw.curves import Curve, rungs_of
from tuner.search.freeze_thaw.data import Data
from tuner.search.freeze_thaw.process import ROOT5, Hyperparameters, Pairs, Process, fit
from tuner.search.points.cube import Cube

FEWEST = 5  # trials with values, before a study says anything
MOST_VALUES = 150  # of an earlier study
GOOD = 3  # of its best configurations, near which candidates lie
LOOKED_AT = 256  # configurations, over which predictions are standardised
FAR = 3.0  # standard deviations, beyond which a prediction says no more

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Earlier:
    """An earlier study.

    Attributes:
        distributions: of its parameters.
        curves: of its trials, all ended.
    """

    distributions: Mapping[str, BaseDistribution]
    curves: Sequence[Curve]
    maximize: bool


class History:
    """What earlier studies predict of points of `cube`; false where none of them says anything."""

    def __init__(self, earlier: Sequence[Earlier], cube: Cube, rng: np.random.Generator) -> None:
        looked_at = cube.drawn(LOOKED_AT, rng) if earlier else np.empty((0, 0))
        found = (_Predictor.of(study, cube, looked_at) for study in earlier)
        self._predictors = [predictor for predictor in found if predictor is not None]
        self._cube, self._rng, self._looked_at = cube, rng, looked_at

    def __len__(self) -> int:
        return len(self._predictors)

    def features(self, points: Array) -> Array:
        """(point, study), each with mean 0 and deviation 1 over the space."""
        if not self._predictors:
            return np.zeros((len(points), 0))
        return np.stack([predictor(points) for predictor in self._predictors], axis=1)

    def good(self, place: int) -> list[Candidate]:
        """Configurations that were among the best of a study; what it does not have is drawn."""
        predictor = self._predictors[place % len(self._predictors)]
        picked = self._rng.integers(0, len(predictor.best), GOOD)
        drawn = self._looked_at[self._rng.integers(0, len(self._looked_at), GOOD)]
        points = np.where(np.isnan(predictor.best[picked]), drawn, predictor.best[picked])
        return [({}, point) for point in self._cube.snapped(points)]


@dataclass(frozen=True)
class _Predictor:
    """The mean of an earlier study's process at the end of a run.

    Attributes:
        columns: of the present cube, that both studies have. maps: its units to the earlier ones, by column.
        rows, weights: the configurations that are known, and what each adds. scales: of the kernel.
        best: the best of them, as points of the present cube; NaN: not shared.
    """

    cube: Cube
    columns: list[int]
    maps: list[Callable[[Array], Array]]
    rows: Array
    weights: Array
    scales: Array
    best: Array
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, study: Earlier, cube: Cube, looked_at: Array) -> _Predictor | None:
        """None where it has too few values, or shares no parameter."""
        shared = {
            name: other
            for name, axis in cube.axes.items()
            if (other := study.distributions.get(name)) and not other.single() and _alike(axis, other)
        }
        length = max((curve.done for curve in study.curves), default=0)
        if not shared or length < 1:
            return None
        data = Data.of(study.curves, rungs_of(length), maximize=study.maximize, most=MOST_VALUES)
        if data is None or len(data.curves) < FEWEST:
            return None
        own = Cube(shared)
        rows = own.encode([curve.params for curve in data.curves])
        none = np.zeros((len(rows), 0))
        pairs = Pairs(own.distances(rows, rows), np.eye(len(rows)), (none, none))
        hyperparameters = fit(data.points, pairs, data.targets, Hyperparameters.median(len(shared)))
        process = Process.of(data.points, pairs, data.targets, hyperparameters)
        a, b, *_ = np.exp(hyperparameters.logs)
        scale = np.exp(hyperparameters.logs[7])
        near = np.exp(-0.5 * np.square((math.log(length) - data.points.logs) / scale))
        weights = np.zeros(len(rows))
        np.add.at(weights, data.points.rows, process.weights * (a + b * near))
        ends = np.full(len(rows), -np.inf)
        np.maximum.at(ends, data.points.rows, data.targets)
        names = list(cube.axes)
        columns = [names.index(name) for name in shared]
        best = np.full((max(1, len(rows) // 10), len(names)), np.nan)
        for column, name in zip(columns, shared, strict=True):
            back = _map(shared[name], cube.axes[name])
            best[:, column] = back(rows[np.argsort(ends)[::-1][: len(best)], list(shared).index(name)])
        maps = [_map(cube.axes[name], other) for name, other in shared.items()]
        found = cls(own, columns, maps, rows, weights, np.exp(-2.0 * hyperparameters.logs[9:]), best)
        over = found(looked_at)
        if (deviation := float(over.std())) < 1e-6:
            return None
        return replace(found, mean=float(over.mean()), deviation=deviation)

    def __call__(self, points: Array) -> Array:
        """(point,)"""
        asked = np.stack(
            [to(points[:, column]) for column, to in zip(self.columns, self.maps, strict=True)], axis=1
        )
        r = np.sqrt(np.tensordot(self.scales, self.cube.distances(asked, self.rows), 1))
        found = ((1.0 + ROOT5 * r + 5.0 / 3.0 * r**2) * np.exp(-ROOT5 * r)) @ self.weights
        return np.clip((found - self.mean) / self.deviation, -FAR, FAR)


def _alike(axis: BaseDistribution, other: BaseDistribution) -> bool:
    """Whether two parameters of one name mean the same: both choices, or numbers on one scale."""
    if isinstance(axis, CategoricalDistribution) or isinstance(other, CategoricalDistribution):
        both = isinstance(axis, CategoricalDistribution) and isinstance(other, CategoricalDistribution)
        return both and bool(set(axis.choices) & set(other.choices))  # type: ignore[attr-defined]
    return bool(axis.log == other.log)  # type: ignore[attr-defined]


def _map(axis: BaseDistribution, other: BaseDistribution) -> Callable[[Array], Array]:
    """From the units of one to those of the other; a choice that the other has not is absent."""
    if isinstance(axis, CategoricalDistribution):
        choices = list(other.choices)  # type: ignore[attr-defined]
        places = np.array([choices.index(c) if c in choices else np.nan for c in axis.choices] + [np.nan])
        return lambda units: places[np.nan_to_num(units, nan=len(places) - 1).astype(int)]
    (low, high), (other_low, other_high) = (
        map(math.log, (each.low, each.high)) if each.log else (each.low, each.high)  # type: ignore[attr-defined]
        for each in (axis, other)
    )
    return lambda units: (low + units * (high - low) - other_low) / (other_high - other_low)
