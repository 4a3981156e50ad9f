"""What tuners search: a space, and a learning curve for each of its configurations.

Between some 75 recorded runs, extremely randomised trees (Geurts et al., 2006) interpolate: grown without
bootstrap to their ends they give at a recorded configuration the recorded curve itself, and between two the
average of what lies around. (The nearest run instead would make of a 10-dimensional space 75 plateaus,
on which a search model proposes the same run again and again.)
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from sklearn.ensemble import ExtraTreesRegressor

from model.config import Config
from tuner.definition.loading import load_study_file
from tuner.search.freeze_thaw import Curve

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
EARLIER = 30  # runs of an earlier study
LENGTHS = 24  # full runs that a study may spend
SIDES = ("choose", "report")  # settings are chosen on one, results reported of the other


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
        values = np.array([run["values"] for run in runs])
        forest = ExtraTreesRegressor(trees, random_state=0)
        forest.fit(
            [self._features(run["params"]) for run in runs],
            values.squeeze(axis=1) if self.epochs == 1 else values,
        )
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


class World:
    """One side of a random split of a world's recorded runs.

    Attributes:
        default: the Optuna parameters of a configuration that people take who have tuned nothing.
        runs: on this side. others: the runs on the other side.
        sign: -1 where the metric is a loss. Tuners are compared on values of which larger ones are better.
        budget: epochs of a study.
    """

    def __init__(self, name: str, side: str, split: int, *, trees: int = 200) -> None:
        self.name = name
        self.study = load_study_file(FOLDER / f"{name}.yaml")
        recorded = json.loads((FOLDER / f"{name}.json").read_text())
        self.runs = half_of(recorded, side, split)
        self.others = half_of(recorded, SIDES[side == SIDES[0]], split)
        self.default = self.study.space.params_for(DEFAULTS[name], nearest=True)
        self._distributions = self.study.space.distributions()
        self._surrogate = Surrogate(self._distributions, self.runs, trees=trees)
        self.sign = 1.0 if self.study.metric.goal == "maximize" else -1.0
        self.space, self.epochs = self._surrogate.space, self._surrogate.epochs
        self.budget = LENGTHS * self.epochs

    def curve(self, params: Mapping[str, Any]) -> list[float]:
        """Values after each epoch, larger is better."""
        return [self.sign * value for value in self._surrogate.curve(params)]

    @cached_property
    def _logs_of_seconds(self) -> Surrogate:
        runs = [{"params": run["params"], "values": [math.log(run["seconds"])]} for run in self.runs]
        return Surrogate(self._distributions, runs)

    def seconds(self, params: Mapping[str, Any]) -> float:
        """What an epoch of a configuration took when the runs were recorded."""
        return math.exp(self._logs_of_seconds.curve(params)[0])

    @property
    def median_seconds(self) -> float:
        """What an epoch of the median run took."""
        return statistics.median(run["seconds"] for run in self.runs)

    def earlier(self, seed: int, *, misleading: bool = False) -> list[Curve]:
        """EARLIER runs of the other side. A misleading study calls the best values the worst."""
        picked = np.random.default_rng(seed).choice(len(self.others), EARLIER, replace=False)
        runs = [self.others[place] for place in picked]
        values = np.array([run["values"] for run in runs])
        if misleading:
            values = values.max() + values.min() - values
        found = []
        for number, (run, row) in enumerate(zip(runs, values, strict=True)):
            params = {name: run["params"][name] for name in self._distributions}
            found.append(Curve(number, params, dict(enumerate(row.tolist(), start=1)), "ended"))
        return found
