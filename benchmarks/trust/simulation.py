"""Simulated studies of a task, and what each way of choosing ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from trust import ways
from trust.tasks import Floats, Task
from trust.ways import EQUAL, Choice, World

BEST = "best score of the study"
MORE = "best three once more, mean of both"
CROSS = "best five cross-validated, as many runs as the race"
WILCOXON = "best four and the default, Optuna's Wilcoxon rule"
NAIVE = "keep if better, each beside the one that was kept"
RACE = "race with the default"
LATER = "race, the noise known from two earlier races"
PROPOSAL = "proposal of the race: its best estimate"
WAYS = (BEST, MORE, CROSS, WILCOXON, NAIVE, RACE, LATER, PROPOSAL)
RACES = (RACE, LATER)
TEAM, PUBLISHED = "team's default", "published baseline"


@dataclass(frozen=True)
class Result:
    """What one way of choosing ends with in each study; NaN where it says nothing.

    Attributes:
        worse: 1 where the chosen configuration is worse than the default by truth; `test`: by the truth on
            test data.
        lost: to the best truth of the study, in the metric's unit.
        over: by how much the reported score is above the truth.
        covers: 1 where the interval of the gain over the default contains the true gain; `won`: the same
            where the race chose something else than the default.
    """

    worse: Floats
    test: Floats
    lost: Floats
    over: Floats
    runs: Floats
    covers: Floats
    won: Floats


@dataclass(frozen=True)
class Simulated:
    """The studies of one task with one kind of default."""

    task: Task
    default: str
    ways: Mapping[str, Result]


def defaults(task: Task) -> tuple[str, ...]:
    """The kinds of defaults that a task has."""
    return (TEAM,) if task.baseline is None else (TEAM, PUBLISHED)


def simulate(task: Task, default: str, studies: int) -> Simulated:
    """Runs all ways of choosing on the same studies."""
    rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
    records: list[Mapping[str, Any]] = []
    for number in range(studies):
        rng = np.random.default_rng([number, len(default)])
        place = task.baseline if default == PUBLISHED else task.default(rng)
        assert place is not None
        world = ways.study(task, place, rng)
        for way, choice in _choices(world, records).items():
            rows[way].append(_row(world, choice))
    return Simulated(task, default, {w: Result(*np.array(found).T) for w, found in rows.items()})


def _choices(world: World, records: list[Mapping[str, Any]]) -> dict[str, Choice]:
    """By way of choosing. The race's record is added to those of the races before."""
    raced = ways.raced(world)
    later = ways.raced(world, ways.known_noise(records[-2:]))
    assert raced.record is not None
    records.append(raced.record)
    return {
        BEST: ways.best_score(world),
        MORE: ways.once_more(world),
        CROSS: ways.cross_validated(world, raced.runs),
        WILCOXON: ways.wilcoxon_rule(world),
        NAIVE: ways.keep_if_better(world),
        RACE: raced,
        LATER: later,
        PROPOSAL: ways.proposed(raced),
    }


def _row(world: World, choice: Choice) -> tuple[float, ...]:
    truth, chosen = world.truth, choice.chosen
    test = math.nan
    if world.task.test is not None:
        on_test = world.task.test.mean(axis=1)[world.members]
        test = float(on_test[chosen] < on_test[0] - EQUAL)
    covers, won = _covers(world, choice)
    return (
        float(truth[chosen] < truth[0] - EQUAL),
        test,
        float(truth.max() - truth[chosen]),
        float(choice.reported - truth[chosen]),
        float(choice.runs),
        covers,
        won,
    )


def _covers(world: World, choice: Choice) -> tuple[float, float]:
    if choice.record is None or choice.record["gain"] is None:
        return math.nan, math.nan
    gain = choice.record["gain"]
    low, high = (gain[b] if gain[b] is not None else s * math.inf for b, s in (("low", -1), ("high", 1)))
    true = float(world.truth[choice.record["leader"]] - world.truth[0])
    covers = float(low - EQUAL <= true <= high + EQUAL)
    return covers, math.nan if choice.record["default"] else covers
