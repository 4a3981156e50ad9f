"""The metric that a study optimises, and what counts as the score of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tuner.definition.yaml_source import YamlPart

KEYS = ("name", "goal", "target", "impute", "impute_while_running")
Scored = Literal["last", "best"]
SCORES = ("last", "best")


@dataclass(frozen=True)
class Metric:
    """The metric to optimise.

    Attributes:
        target: the study stops once a trial reaches this value.
        declared: False if the file names no metric (W&B allows that for grid and random). A trial then also
            completes without logging this metric.
        scored: which value of a run is its score, see `score`.
    """

    name: str
    goal: Literal["minimize", "maximize"] = "minimize"
    target: float | None = None
    declared: bool = True
    scored: Scored = "last"

    @classmethod
    def read(cls, section: YamlPart) -> Metric:
        section.only(KEYS, "key")
        name = section.text("name")
        if not name:
            section.fail("name", "missing; expected the name of a logged metric")
        section.choice("impute", ("latest", "best", "worst"))
        section.choice("impute_while_running", ("latest", "best", "worst", "false"))
        goal = section.choice("goal", ("minimize", "maximize"), "minimize")
        return cls(name, goal, section.number("target"))

    def score(self, reported: Iterable[float], told: float | None = None) -> float | None:
        """The value of a run, by the one rule for scripts, functions, trials that are asked for, and imports.

        `last`: what the run itself says (`told`), else the last value that it reported. `best`: the best of
        all these, which W&B's Bayes search takes (`SweepRun.metric_extremum` of its package `sweeps`).

        Args:
            reported: the finite values on the way, in order.
            told: what the run returned or wrote into its summary; None: nothing finite.

        Returns:
            None where there is no value.
        """
        known = [*reported, *(() if told is None else (told,))]
        if self.scored == "last":
            return known[-1] if known else None
        return (max if self.goal == "maximize" else min)(known, default=None)

    def summary_kind(self, kinds: Iterable[str]) -> str | None:
        """Which of the summaries that a script defines for the metric (`define_metric`) is its value: the
        best of all epochs, else the first that is not the worst."""
        best, worst = ("max", "min") if self.goal == "maximize" else ("min", "max")
        found = [kind for kind in kinds if kind != worst]
        return best if best in found else next(iter(found), None)

    def score_in_words(self) -> str:
        """The rule of `score`."""
        if self.scored == "best":
            return f"the best {self.name} of all epochs, as W&B's search takes it"
        return f"{self.name} at its end: what it returns or puts into its W&B summary, else the last value"

    def reached(self, value: float) -> bool:
        """Whether `value` meets the target."""
        if self.target is None:
            return False
        return value >= self.target if self.goal == "maximize" else value <= self.target


def read_metrics(section: YamlPart, key: str) -> tuple[Metric, ...]:
    """A list of metrics."""
    return tuple(map(Metric.read, section.sections(key)))
