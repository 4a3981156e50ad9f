"""The runs of a loop, the arms that they are of, and what is said of an arm."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from tuner.base.words import finite

Word = Literal["baseline", "keep", "discard", "run again", "failed", "not comparable"]
STATUS = {"baseline": 0, "keep": 0, "discard": 10, "run again": 11, "failed": 12,
          "not comparable": 13}  # exit  # fmt: skip


STOPPED = "stopped"  # the status of a run that `referee run` has ended early


@dataclass(frozen=True)
class Run:
    """One run of an arm.

    Attributes:
        arm: the commit, branch, file or name of what ran. value: its metric; None: it has none.
        seed: as it was told. note: what the change was, in words. status: what the loop said of it.
        source: where it was read, as `results.tsv:7`.
        stopped: why `referee run` has ended it early, as a run that could no longer help its arm.
    """

    arm: str
    value: float | None
    seed: str = ""
    note: str = ""
    status: str = ""
    source: str = ""
    stopped: str = ""


@dataclass(eq=False)
class Arm:
    """An arm and its runs; scores are values whose larger ones are better."""

    name: str
    scores: list[float] = field(default_factory=list)
    place: int = 0  # among challengers, from 1; it is another one where the incumbent changes
    against: Arm | None = None
    kept: bool = False
    note: str = ""
    seeds: list[str] = field(default_factory=list)
    barred: str = ""  # why it cannot be compared

    @cached_property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def next_seed(self) -> int:
        """A seed that it was not run with, as far as seeds are told."""
        told = [int(seed) for seed in self.seeds if seed.lstrip("-").isdigit()]
        return max(told, default=len(self.scores) - 1) + 1

    def pairs(self) -> list[float]:
        """By how much it is better than what it challenges on each seed that both were run with."""
        if self.against is None:
            return []
        ours, theirs = (
            {seed: score for seed, score in zip(arm.seeds, arm.scores, strict=True) if seed}
            for arm in (self, self.against)
        )
        return [score - theirs[seed] for seed, score in ours.items() if seed in theirs]

    def add(self, run: Run, score: float) -> None:
        self.scores.append(score)
        self.seeds.append(run.seed)
        self.note = self.note or run.note
        self.__dict__.pop("mean", None)


@dataclass(frozen=True)
class Ruling:
    """What is known of an arm.

    Attributes:
        word: the verdict. reason: why, in words.
        mean: of its values; None where no run has one. runs: how many have one. failed: how many have none.
        against: the arm that it was compared with; "" for the baseline.
        difference: how much better it is than that one, in the metric's unit; positive is better.
        low, high: its interval, which holds however often one looks; infinite while the noise is not known.
        chance: probability that it is better at all, before a look at the other arms.
        more: further runs of the arm that would decide, if the difference is as it looks; None: not foreseen.
        evidence: its e-value. asked: the e-value with which it is kept.
    """

    arm: str
    word: Word
    reason: str
    mean: float | None = None
    runs: int = 0
    failed: int = 0
    against: str = ""
    difference: float | None = None
    low: float = -math.inf
    high: float = math.inf
    chance: float | None = None
    more: int | None = None
    evidence: float = 1.0
    asked: float = math.inf
    note: str = ""
    next_seed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; what is not known is null."""
        return dict(finite(vars(self)))
