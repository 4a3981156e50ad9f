"""What tuners search: a space, and a learning curve for each of its configurations.

Outside curves (`../shared/data/curves`) are tables: a proposal is moved to the nearest configuration that the
study has not had. This costs search models something, and random draws nothing.

Between some 75 recorded runs, extremely randomised trees (Geurts et al., 2006) interpolate: grown without
bootstrap to their ends they give at a recorded configuration the recorded curve itself, and between two the
average of what lies around. (The nearest run instead would make of a 10-dimensional space 75 plateaus,
on which a search model proposes the same run again and again.)
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arena.outside import CURVES, arrays, index
from arena.summary import SHOWN, Floats
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sklearn.ensemble import ExtraTreesRegressor

from model.config import Config
from tuner.definition.loading import from_plain, load_study_file
from tuner.definition.study_file import StudyFile
from tuner.search.points.cube import Cube

FOLDER = Path(__file__).parents[1] / "data"
NAMES = {
    "curves": "our model, accuracy",
    "digits": "a small network on digits, accuracy",
    "boosting": "gradient boosting, log loss",
}
DEFAULTS: dict[str, dict[str, Any]] = {  # what people take who have tuned nothing: ours, scikit-learn's
    "curves": Config().to_dict(),
    "digits": {
        "learning_rate": 1e-3,
        "log2_width": 7,
        "layers": 1,
        "batch_size": 128,
        "optimizer": "adam",
        "activation": "relu",
        "dropout": 0.0,
        "weight_decay": 1e-4,
    },
    "boosting": {
        "learning_rate": 0.1,
        "log2_leaves": 5,
        "min_samples_leaf": 20,
        "l2_regularization": 1e-3,
        "max_features": 1.0,
        "max_bins": 255,
    },
}
WIDE = 10  # times, from which the values of a grid are compared on a logarithmic scale
SIDES = ("choose", "report")  # settings are chosen on one, results reported of the other
SPLITS = 2  # random halves of the recorded runs of our worlds


class Surrogate:
    """A learning curve for any configuration.

    Args:
        distributions: of the searched parameters, by name.
        runs: the recorded runs, {"params", "values"} each, equally long.
        trees: a tenth of them is as good for a test, and faster.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        runs: Sequence[Mapping[str, Any]],
        *,
        trees: int = 200,
    ) -> None:
        self._distributions = distributions
        self.epochs = len(runs[0]["values"])
        self.space = [axis(name, distribution) for name, distribution in distributions.items()]
        forest = ExtraTreesRegressor(trees, random_state=0)
        forest.fit([self._features(run["params"]) for run in runs], [run["values"] for run in runs])
        self._forest = Forest(forest)
        self._known: dict[str, list[float]] = {}

    def curve(self, params: Mapping[str, Any]) -> list[float]:
        """The values after each epoch."""
        key = json.dumps([params[name] for name in self._distributions])
        if key not in self._known:
            self._known[key] = self._forest.predict(self._features(params)).tolist()
        return self._known[key]

    def _features(self, params: Mapping[str, Any]) -> list[float]:
        """Numbers as they are (logarithms where the space has them), choices one-hot."""
        features: list[float] = []
        for name, distribution in self._distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                features += [float(params[name] == choice) for choice in distribution.choices]
            else:
                logarithmic = getattr(distribution, "log", False)
                features.append(float(np.log(params[name]) if logarithmic else params[name]))
        return features


class Forest:
    """What a fitted forest predicts for one row, all trees at once: 0.2 ms, where scikit-learn takes 15."""

    def __init__(self, forest: ExtraTreesRegressor) -> None:
        trees = [estimator.tree_ for estimator in forest.estimators_]
        self._roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        self._feature = np.concatenate([tree.feature for tree in trees])  # below 0: a leaf
        self._threshold = np.concatenate([tree.threshold for tree in trees])
        rooted = list(zip(trees, self._roots, strict=True))
        self._left = np.concatenate([tree.children_left + root for tree, root in rooted])
        self._right = np.concatenate([tree.children_right + root for tree, root in rooted])
        self._values = np.concatenate([tree.value[:, :, 0] for tree in trees])  # (node, epoch)

    def predict(self, row: Sequence[float]) -> Any:
        """The mean over trees, (epoch,)."""
        x = np.asarray(row, dtype=np.float32)  # as scikit-learn compares
        node = self._roots
        while (inner := self._feature[node] >= 0).any():
            left = x[self._feature[node]] <= self._threshold[node]
            node = np.where(inner, np.where(left, self._left[node], self._right[node]), node)
        return self._values[node].mean(0)


def half_of(runs: Sequence[dict[str, Any]], side: str, split: int) -> list[dict[str, Any]]:
    """The runs on one side ("choose" or "report") of the random split with this number, in their order."""
    order = np.random.default_rng(split).permutation(len(runs))
    middle = len(runs) // 2
    places = order[:middle] if side == "choose" else order[middle:]
    return [runs[place] for place in sorted(places)]


def axis(name: str, distribution: Any) -> dict[str, Any]:
    """A parameter as plain values, for the peers to write in their own terms."""
    if isinstance(distribution, CategoricalDistribution):
        return {"name": name, "choices": list(distribution.choices)}
    whole = isinstance(distribution, IntDistribution)
    bounds = {"low": distribution.low, "high": distribution.high, "log": distribution.log}
    return {"name": name, **bounds, "integer": whole}


class World(ABC):
    """A task.

    Attributes:
        name: `source/task`.
        study: a study file of its space, with a metric and a pruner.
        default: the Optuna parameters of a configuration that people take who have tuned nothing, if known.
        distributions, space: the searched parameters, as Optuna has them and as plain values.
        sign: -1 where the metric is a loss. Tuners are compared on values of which larger ones are better.
        budget: epochs of a study.
        shown: full runs, after which the best value is shown.
    """

    shown = SHOWN
    default: dict[str, Any] | None = None

    def __init__(self, name: str, study: StudyFile) -> None:
        assert study.max_epochs is not None
        self.name, self.study, self.epochs = name, study, study.max_epochs
        self.sign = 1.0 if study.metric.goal == "maximize" else -1.0
        self.budget = self.shown[-1] * self.epochs
        self.distributions = study.space.distributions()
        self.space = [axis(name, distribution) for name, distribution in self.distributions.items()]

    @abstractmethod
    def curve(self, params: Mapping[str, Any]) -> list[float]:
        """Values after each epoch, larger is better."""

    @abstractmethod
    def ends(self) -> Floats:
        """The best value of each of many random configurations: what regret is measured by."""

    def fresh(self) -> World:
        """The world for another study."""
        return self


class Recorded(World):
    """One side of a random split of the recorded runs of one of our worlds.

    Attributes:
        runs: on this side.
    """

    def __init__(self, name: str, side: str, split: int, *, trees: int = 200) -> None:
        super().__init__(f"ours/{name}.{split}", load_study_file(FOLDER / f"{name}.yaml"))
        self.runs = half_of(json.loads((FOLDER / f"{name}.json").read_text()), side, split)
        self.default = self.study.space.params_for(DEFAULTS[name], nearest=True)
        self._surrogate = Surrogate(self.distributions, self.runs, trees=trees)

    def curve(self, params: Mapping[str, Any]) -> list[float]:
        return [self.sign * value for value in self._surrogate.curve(params)]

    def ends(self) -> Floats:
        return np.array([max(self.sign * value for value in run["values"]) for run in self.runs])


class Table(World):
    """Configurations with a curve each; a proposal is moved to the nearest one that the study has not had.

    Args:
        parameters: name, low, high, log and integer of each; or its name and choices.
        rows: values of the parameters, a row for each configuration.
        curves: (configuration, epoch), of which larger ones are better.
    """

    def __init__(
        self,
        name: str,
        parameters: Sequence[Mapping[str, Any]],
        rows: Sequence[Sequence[Any]],
        curves: Floats,
        metric: Mapping[str, str],
    ) -> None:
        task, length = name.rpartition("/")[2], curves.shape[1]
        raw = {
            "method": "random",
            "metric": metric,
            "parameters": {each["name"]: _sweep_axis(each) for each in parameters},
            "tuner": {"max_epochs": length, "pruner": _pruner(length)},
        }
        super().__init__(name, from_plain(raw, name=task, path=Path(f"{task}.yaml")))
        self._curves = curves
        self.distributions = {each["name"]: _axis_of(each) for each in parameters}
        self.space = [axis(name, distribution) for name, distribution in self.distributions.items()]
        self._cube = Cube(self.distributions)
        self._rows = self._cube.encode([dict(zip(self.distributions, row, strict=True)) for row in rows])
        self._taken: dict[str, int] = {}

    def curve(self, params: Mapping[str, Any]) -> list[float]:
        key = json.dumps(dict(params))
        if key not in self._taken:
            far = self._cube.distances(self._rows, self._cube.encode([params])).sum(0)[:, 0]
            far[list(self._taken.values())] = np.inf
            self._taken[key] = int(np.argmin(far))
        found: list[float] = self._curves[self._taken[key]].tolist()
        return found

    def ends(self) -> Floats:
        return np.asarray(self._curves.max(1))

    def fresh(self) -> Table:
        world = copy.copy(self)
        world._taken = {}
        return world


class Tabular(Table):
    """A task of TaskSet or LCBench. A loss counts as CAP times the untrained one if it is larger, or NaN."""

    CAP = 2.0

    def __init__(self, source: str, task: str) -> None:
        about, content = index(CURVES, source), arrays(CURVES, f"{source}/{task}")
        curves = content[about["metric"]].astype(float)
        if about["goal"] == "minimize":
            cap = self.CAP * float(np.nanmedian(curves[:, 0]))
            curves = -np.fmin(curves, cap)[:, 1:]  # fmin: of a NaN and a number the number
        metric = {"name": about["metric"], "goal": about["goal"]}
        super().__init__(f"{source}/{task}", about["parameters"], content["params"].tolist(), curves, metric)


class Whole(Table):
    """The same tasks, and tables of final values (their mean over seeds): a trial runs to its end."""

    shown = (8, 16, 32, 64, 100)

    def __init__(self, source: str, task: str) -> None:
        about, content = index(CURVES, source), arrays(CURVES, f"{source}/{task}")
        if "grid" not in about:
            known = Tabular(source, task)
            parameters, rows, ends = about["parameters"], content["params"].tolist(), known.ends()
        else:
            grid = about["grid"]
            parameters = [_grid_axis(name, values) for name, values in grid.items()]
            rows = [
                [values[place] for values, place in zip(grid.values(), places, strict=True)]
                for places in content["places"].tolist()
            ]
            ends = np.nanmean(content["values"], axis=1) * (-1.0 if about["goal"] == "minimize" else 1.0)
        metric = {"name": "score", "goal": about["goal"]}
        super().__init__(f"whole/{source}.{task}", parameters, rows, ends[:, None], metric)


def _grid_axis(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """The parameter that a grid is of: logarithmic where its values grow by factors."""
    if isinstance(values[0], str):
        return {"name": name, "choices": list(values)}
    low, high = min(values), max(values)
    return {
        "name": name,
        "low": low,
        "high": high,
        "log": low > 0 and high / low >= WIDE,
        "integer": all(isinstance(value, int) for value in values) and high > 1,
    }


def _sweep_axis(each: Mapping[str, Any]) -> dict[str, Any]:
    if "choices" in each:
        return {"values": each["choices"]}
    bounds = {"min": each["low"], "max": each["high"]}
    if each["log"]:
        kind = "q_log_uniform_values" if each["integer"] else "log_uniform_values"
        return {"distribution": kind, **bounds, **({"q": 1} if each["integer"] else {})}
    return {"distribution": "int_uniform" if each["integer"] else "uniform", **bounds}


def _axis_of(each: Mapping[str, Any]) -> BaseDistribution:
    """As Optuna has it. (In a study file a rounded parameter is drawn from 0 to 1, and rounded then.)"""
    if "choices" in each:
        return CategoricalDistribution(each["choices"])
    if each["integer"]:
        return IntDistribution(each["low"], each["high"], log=each["log"])
    return FloatDistribution(each["low"], each["high"], log=each["log"])


def _pruner(length: int) -> dict[str, Any] | str:
    if length == 1:
        return "none"
    first = max(1, round(length / 9))
    return {"type": "hyperband", "min_resource": first, "max_resource": length, "eta": 3, "brackets": 1}


PRUNED = ("taskset", "lcbench", "ours")  # trials can be ended early
WHOLE = {"numbers": ("taskset", "lcbench", "hpobench"), "choices": ("hpolib", "nas201")}  # all run to the end
SOURCES = (*PRUNED, *WHOLE)


def tasks(source: str, side: str) -> list[World]:
    """The tasks of a source on one side: of outside sources, every other one in the order of their index."""
    if source == "ours":
        return [Recorded(name, side, split) for name in NAMES for split in range(SPLITS)]
    made = Whole if source in WHOLE else Tabular
    return [
        made(name, task)
        for name in WHOLE.get(source, (source,))
        for task in list(index(CURVES, name)["tasks"])[SIDES.index(side) :: 2]
    ]
