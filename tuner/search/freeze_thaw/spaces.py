"""Random valid configurations of a study's space, fast: a choice of freeze-thaw search looks at hundreds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna

from tuner.definition.space import Space
from tuner.search.points.cube import drawn

TRIES = 1000  # draws before a configuration that breaks `requires` is handed on, for the agent to refuse

Params = dict[str, Any]


Given = tuple[Mapping[str, Any], Mapping[str, Any]]  # values below and above those of the space


def mends_of(space: Space, given: Given = ({}, {})) -> Callable[[Mapping[str, Any]], Params | None] | None:
    """A function from values of all parameters to those that exist then, or to None if `requires` are broken.

    None for a space in which every configuration is valid: then there is nothing to mend.
    """
    if not space.conditional and not space.requires:
        return None
    base, overrides = given

    def mend(params: Mapping[str, Any]) -> Params | None:
        trial = optuna.trial.FixedTrial(dict(params))
        try:
            config = space.suggest(trial)
        except ValueError:  # a parameter exists that `params` does not have
            return None
        return None if space.violated({**base, **config, **overrides}) else dict(trial.params)

    return mend


def draws_of(space: Space, seed: int | None = None, given: Given = ({}, {})) -> Callable[[], Params]:
    """A function that draws a valid configuration: each parameter evenly, and only those that exist."""
    distributions, rng, mend = space.distributions(), np.random.default_rng(seed), mends_of(space, given)

    def draw() -> Params:
        params: Params = {}
        for _ in range(TRIES):
            params = {name: drawn(axis, rng) for name, axis in distributions.items()}
            mended = params if mend is None else mend(params)
            if mended is not None:
                return mended
        return params

    return draw
