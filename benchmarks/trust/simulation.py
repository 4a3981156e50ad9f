"""Simulated studies of a task, and what each way of choosing ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from arena.summary import Floats
from trust import ways
from trust.tasks import Task
from trust.ways import EQUAL, Choice, World

from tuner.stats import two_way
from tuner.stats.intervals import student

BEST = "best score of the study"
MORE = "best three once more, mean of both"
CROSS = "best five cross-validated, as many runs as the race"
WILCOXON = "best four and the default, Optuna's Wilcoxon rule"
NAIVE = "keep if better, each beside the one that was kept"
RACE = "race with the default"
LATER = "race, the noise known from two earlier races"
PROPOSAL = "proposal of the race: its best estimate"
TEAM, PUBLISHED = "team's default", "published baseline"


class Result(NamedTuple):
    """What one way of choosing ends with in each study, `(study,)`; NaN where it says nothing.

    Attributes:
        worse: 1 where the chosen configuration is worse than the default by truth; `test`: by the truth on
            test data.
        lost: to the best truth of the study, in the metric's unit.
        over: by how much the reported score is above the truth.
        covers: 1 where the interval of the gain over the default contains the true gain; `won`: the same
            where the race chose something else than the default.
        plain_covers, plain_won: the same of an ordinary t interval from the same runs.
    """

    worse: Floats
    test: Floats
    lost: Floats
    over: Floats
    runs: Floats
    covers: Floats
    won: Floats
    plain_covers: Floats
    plain_won: Floats


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
    rows: dict[str, list[tuple[float, ...]]] = {}
    records: list[Mapping[str, Any]] = []
    for number in range(studies):
        rng = np.random.default_rng([number, len(default)])
        place = task.baseline if default == PUBLISHED else task.default(rng)
        assert place is not None
        world = ways.study(task, place, rng)
        for way, choice in _choices(world, records).items():
            rows.setdefault(way, []).append(_row(world, choice))
    return Simulated(task, default, {way: Result(*np.array(found).T) for way, found in rows.items()})


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
    """The fields of `Result` for one study."""
    truth, chosen = world.truth, choice.chosen
    test = math.nan
    if world.task.test is not None:
        on_test = world.task.test.mean(axis=1)[world.members]
        test = float(on_test[chosen] < on_test[0] - EQUAL)
    worse, lost = truth[chosen] < truth[0] - EQUAL, truth.max() - truth[chosen]
    return (worse, test, lost, choice.reported - truth[chosen], choice.runs, *_covers(world, choice))


def _covers(world: World, choice: Choice) -> tuple[float, float, float, float]:
    """Whether the gain over the default lies in the interval of the race, and in an ordinary one; each for
    all studies and for winners.
    """
    record = choice.record
    if record is None or record["gain"] is None:
        return (math.nan,) * 4
    leader, low, high = record["leader"], record["gain"]["low"], record["gain"]["high"]
    true = world.truth[leader] - world.truth[0]
    stated = (-math.inf, math.inf) if low is None else (low, high)
    found = [float(a - EQUAL <= true <= b + EQUAL) for a, b in (stated, _ordinary(record))]
    won = [math.nan if record["default"] else holds for holds in found]
    return found[0], won[0], found[1], won[1]


def _ordinary(record: Mapping[str, Any]) -> tuple[float, float]:
    """The 95 % t interval of the leader's gain by least squares, as if it had been named before the race."""
    runs = [
        (i, k, score)
        for i, candidate in enumerate(record["candidates"])
        for k, score in zip(candidate["rounds"], candidate["again"], strict=True)
    ]
    numbers = [candidate["number"] for candidate in record["candidates"]]
    one, two = numbers.index(record["leader"]), numbers.index(0)
    fit = two_way.fit(runs, len(numbers))
    if not fit.freedom:
        return -math.inf, math.inf
    mean = fit.means[one] - fit.means[two]
    half = student(fit.freedom) * fit.noise * math.sqrt(fit.variance_of_difference(one, two))
    return mean - half, mean + half
