"""`seeds`, `folds` and `aggregate` of a study file: the runs that one trial consists of.

A configuration that is run with three seeds, or on five folds, is one trial. Its value is the mean of its
runs. Both are the same thing: a run differs from the next in one value of the configuration.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuner.definition.yaml_source import YamlPart

AGGREGATES = ("mean", "median", "worst")
FOLD = "fold"  # the parameter that says which fold, where the file names no other
MOST = 100  # of each


@dataclass(frozen=True)
class Repeats:
    """The runs of a trial: each seed on each fold.

    Attributes:
        seeds: how many seeds; 1: a trial has the seed that its configuration says.
        fold: the parameter that takes the values in `folds`.
        folds: one run for each of these values; empty: no folds.
        aggregate: what becomes the trial's value of a metric that the study optimises. Others are averaged.
    """

    seeds: int = 1
    fold: str = FOLD
    folds: tuple[Any, ...] = ()
    aggregate: Literal["mean", "median", "worst"] = "mean"

    @property
    def count(self) -> int:
        """How many runs a trial consists of."""
        return self.seeds * max(1, len(self.folds))

    def of(self, values: Sequence[float], goal: str) -> float:
        """The runs' values of an objective as one."""
        if self.aggregate == "worst":
            return min(values) if goal == "maximize" else max(values)
        return statistics.median(values) if self.aggregate == "median" else statistics.fmean(values)

    def in_words(self) -> str:
        """`3 seeds`, `5 folds`, `3 seeds on 5 folds`."""
        seeds = f"{self.seeds} seeds" if self.seeds > 1 else ""
        folds = f"{len(self.folds)} {'folds' if self.fold == FOLD else f'values of {self.fold}'}"
        return " on ".join(filter(None, (seeds, folds if self.folds else "")))


def read_repeats(own: YamlPart) -> tuple[tuple[int, ...], Repeats]:
    """The seeds of retrainings (`seeds: [1, 2]`), and the runs of a trial (`seeds: 3`, `folds: 5`)."""
    given = own.get("seeds", (int, list), "how many seeds a trial has, or a list of seeds for retrainings", 1)
    retrain = given if isinstance(given, list) and given else [1]
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in retrain):
        own.fail("seeds", f"expected whole numbers from 0, got {given!r}")
    seeds = 1 if isinstance(given, list) else given
    if not 1 <= seeds <= MOST:
        own.fail("seeds", f"expected how many seeds a trial has, from 1 to {MOST}, got {seeds}")
    fold, folds = _folds(own)
    aggregate = own.choice("aggregate", AGGREGATES, "mean")
    found = Repeats(seeds, fold, folds, aggregate)
    if "aggregate" in own and found.count == 1:
        own.fail("aggregate", "a trial has one run: say how many with 'seeds: 3' or 'folds: 5'")
    return tuple(retrain), found


def _folds(own: YamlPart) -> tuple[str, tuple[Any, ...]]:
    """`folds: 5`, `folds: {split: 5}`, `folds: {split: [a, b]}`."""
    if "folds" not in own:
        return FOLD, ()
    given = own.get("folds", (int, dict), "how many folds, or the parameter that takes them: {split: 5}")
    name, values = next(iter(given.items()), (FOLD, 0)) if isinstance(given, dict) else (FOLD, given)
    if isinstance(given, dict) and len(given) != 1:
        own.fail("folds", f"expected one parameter, as in {{split: 5}}, got {given!r}")
    if isinstance(values, int) and not isinstance(values, bool) and values <= MOST:
        values = list(range(values))
    if not isinstance(values, list) or not 2 <= len(values) <= MOST:
        own.fail("folds", f"expected 2 to {MOST} folds, or a list of values, got {given!r}")
    if any(isinstance(value, dict | list) for value in values) or len({*map(repr, values)}) < len(values):
        own.fail("folds", f"expected different numbers or words, got {values!r}")
    return name, tuple(values)
