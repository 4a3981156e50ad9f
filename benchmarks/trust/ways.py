"""Ways to choose a configuration after a study, and the simulated study that they choose from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from arena.summary import Floats
from numpy.typing import NDArray
from scipy.stats import rankdata
from trust.tasks import Task

from tuner.claims import race
from tuner.claims.retrain import Candidate
from tuner.definition.loading import from_plain
from tuner.stats.noise import UNKNOWN, Noise, pooled

TRIALS = 40
P_THRESHOLD, STARTUP = 0.1, 2  # of optuna.pruners.WilcoxonPruner, its defaults
SEEDS = 6  # that a configuration has under its rule
EQUAL = 1e-9  # truths, or sums of ranks, that differ by less are the same
FILE = from_plain(
    {"method": "random", "program": "train.py", "metric": {"name": "score", "goal": "maximize"},
     "parameters": {"x": {"min": 0.0, "max": 1.0}}},
    name="trust", path=Path("trust.yaml"),
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """A study of a task: 40 configurations, the default among them, and one score of each.

    All trials of the study have the same seed. All runs of a round have another one, so a round keeps what a
    seed does to all configurations.

    Attributes:
        members: the place of each configuration in the task. The default is the first.
        seed: that of the trials.
        runs: `(configuration, round)`: fresh runs. Round k is the same for every way of choosing.
    """

    task: Task
    members: NDArray[np.int64]
    seed: int
    runs: Floats

    @cached_property
    def truth(self) -> Floats:
        return self.task.truth[self.members]

    @cached_property
    def scores(self) -> Floats:
        return self.task.values[self.members, self.seed]

    @cached_property
    def best(self) -> list[int]:
        """All configurations, the best score first."""
        return [int(i) for i in np.argsort(-self.scores, kind="stable")]


def study(task: Task, default: int, rng: np.random.Generator) -> World:
    """A study with its default as the first trial."""
    others = np.delete(np.arange(len(task.values)), default)
    drawn = rng.choice(others, min(TRIALS - 1, len(others)), replace=False)
    members = np.array([default, *drawn])
    seeds = rng.integers(task.values.shape[1], size=TRIALS)
    runs = task.fresh(members, seeds, rng)
    return World(task, members, int(rng.integers(task.values.shape[1])), runs)


@dataclass(frozen=True)
class Choice:
    """What a way of choosing ends with.

    Attributes:
        chosen: the place of the configuration in the study.
        reported: the score that it is reported with.
        runs: runs beside the study.
        record: of a race.
    """

    chosen: int
    reported: float
    runs: int
    record: Mapping[str, Any] | None = None


def best_score(world: World) -> Choice:
    """The best score of the study: also what a loop `if better: keep` over the trials ends with."""
    return Choice(world.best[0], float(world.scores[world.best[0]]), 0)


def once_more(world: World) -> Choice:
    """The best three once more on another seed; the mean of both scores decides."""
    means = {i: float(world.scores[i] + world.runs[i, 0]) / 2 for i in world.best[:3]}
    return _highest(means, 3)


def cross_validated(world: World, runs: int) -> Choice:
    """The best five on as many seeds as make about `runs` runs; the mean of those decides."""
    rounds = max(1, round(runs / 5))
    return _highest({i: float(world.runs[i, :rounds].mean()) for i in world.best[:5]}, 5 * rounds)


def keep_if_better(world: World) -> Choice:
    """Goes through the trials from the default on, runs each and the one that was kept on a new seed, and
    keeps the better one.
    """
    kept, score = 0, float(world.scores[0])
    for number in range(1, len(world.members)):
        one, other = world.runs[number, number], world.runs[kept, number]
        kept, score = (number, float(one)) if one > other else (kept, float(other))
    return Choice(kept, score, 2 * (len(world.members) - 1))


def wilcoxon_rule(world: World) -> Choice:
    """The best four and the default on up to six seeds each, one after the other. One stops early by the rule
    of `optuna.pruners.WilcoxonPruner`: worse than the best mean so far, by a signed-rank test at 0.1.
    """
    kept: int | None = None
    total = 0
    for i in dict.fromkeys([*world.best[:4], 0]):
        rounds = SEEDS
        if kept is not None:
            rounds = _until_pruned(world.runs[i, :SEEDS], world.runs[kept, :SEEDS])
        total += rounds
        if rounds == SEEDS and (
            kept is None or world.runs[i, :SEEDS].mean() > world.runs[kept, :SEEDS].mean()
        ):
            kept = i
    assert kept is not None
    return Choice(kept, float(world.runs[kept, :SEEDS].mean()), total)


def _until_pruned(own: Floats, best: Floats) -> int:
    for rounds in range(STARTUP, len(own)):
        if signed_rank(own[:rounds] - best[:rounds]) < P_THRESHOLD and own[:rounds].mean() < best.mean():
            return rounds
    return len(own)


def signed_rank(gaps: Floats) -> float:
    """The p value of Wilcoxon's test that gaps are below 0, over all signs; a gap of 0 counts for half."""
    ranks = rankdata(np.abs(gaps))
    signs = np.array(list(itertools.product([0.0, 1.0], repeat=len(gaps))))
    signs[:, gaps == 0] = 0.5
    positive = np.where(gaps == 0, 0.5, gaps > 0) @ ranks
    return float(np.mean(signs @ ranks <= positive + EQUAL))


def entrants(world: World) -> list[int]:
    """The best few and the default, as they enter a race."""
    first = world.best[: race.TOP]
    return first if 0 in first else [*first, 0]


def raced(world: World, known: Noise = UNKNOWN) -> Choice:
    """The race of a campaign; `known` is the noise that earlier races measured."""
    entered = entrants(world)
    default = entered.index(0)
    found = [Candidate(i, {"x": i}, (float(world.scores[i]),), 0.0) for i in entered]
    tried: set[tuple[int, int]] = set()
    while True:
        wanted = race.entries(
            found,
            FILE,
            default=default,
            first=race.first_rounds(known),
            most=race.ROUNDS,
            tried=tried,
            known=known,
        )
        new = [entry for entry in wanted if entry not in tried]
        if not new:
            break
        for place, number in new:
            again = {**found[place].again, number: float(world.runs[entered[place], number])}
            found[place] = replace(found[place], again=again, violation_again=dict.fromkeys(again, 0.0))
            tried.add((place, number))
    record = race.record(found, FILE, default=default, known=known)
    return Choice(int(record["number"]), float(record["mean"]), len(tried), record)


def proposed(raced: Choice) -> Choice:
    """The best estimate of a race, whether it was handed on or not."""
    assert raced.record is not None
    proposal = raced.record["proposal"]["number"]
    mean = next(c["mean"] for c in raced.record["candidates"] if c["number"] == proposal)
    return Choice(int(proposal), float(mean), raced.runs)


def _highest(means: Mapping[int, float], runs: int) -> Choice:
    chosen = max(means, key=means.__getitem__)
    return Choice(chosen, means[chosen], runs)


def known_noise(records: list[Mapping[str, Any]]) -> Noise:
    """What races measured together, as in a campaign. A race without any noise counts for nothing."""
    return pooled([noise for noise in map(race.noise_of, records) if noise.deviation > 0])
