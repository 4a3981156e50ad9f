"""Recorded learning curves as a world in which tuners can be compared in seconds.

Between some 75 recorded runs, extremely randomised trees (Geurts et al., 2006) interpolate: grown without
bootstrap to their ends they give at a recorded configuration the recorded curve itself, and between two the
average of what lies around. (The nearest run instead would make of a 10-dimensional space 75 plateaus,
on which a search model proposes the same run again and again.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from sklearn.ensemble import ExtraTreesRegressor


class Surrogate:
    """A learning curve for any configuration.

    Args:
        distributions: of the searched parameters, by name.
        runs: the recorded runs, {"params", "values"} each, equally long.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], runs: Sequence[dict[str, Any]]) -> None:
        self._distributions = distributions
        self.epochs = len(runs[0]["values"])
        self.space = [axis(name, distribution) for name, distribution in distributions.items()]
        self._trees = ExtraTreesRegressor(200, random_state=0)
        self._trees.fit([self._features(run["params"]) for run in runs], [run["values"] for run in runs])
        self._known: dict[str, list[float]] = {}
        self.best = max(max(run["values"]) for run in runs)

    def curve(self, params: Mapping[str, Any]) -> list[float]:
        """The values after each epoch."""
        key = json.dumps([params[name] for name in self._distributions])
        if key not in self._known:
            self._known[key] = self._trees.predict([self._features(params)])[0].tolist()
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


def axis(name: str, distribution: Any) -> dict[str, Any]:
    """A parameter as plain values, for the peers to write in their own terms."""
    if isinstance(distribution, CategoricalDistribution):
        return {"name": name, "choices": list(distribution.choices)}
    whole = isinstance(distribution, IntDistribution)
    bounds = {"low": distribution.low, "high": distribution.high, "log": distribution.log}
    return {"name": name, **bounds, "integer": whole}
