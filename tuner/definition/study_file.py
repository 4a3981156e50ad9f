"""A checked study: a W&B sweep file with our own keys under `tuner:`."""

from __future__ import annotations

import hashlib
import json
import random
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from tuner.base.errors import InputError
from tuner.definition.constraints import Constraint, Hypothesis
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.repeats import Repeats
from tuner.definition.space import Space

GRACE_SECONDS = 30.0
Scored = Literal["last", "best"]
NO_CONSTRAINT_VALUE = 1e9  # stored in place of infinity, which JSON does not have


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


@dataclass(frozen=True)
class Resources:
    """The resources of one trial. None: the workload decides.

    Attributes:
        gpus: number of GPUs; a fraction (0.5) is a share of one GPU.
        cpus: number of cores.
        memory: bytes.
    """

    gpus: float | None = None
    cpus: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Base:
    """The values below those of the space: first the confirmed winner of a study, then `config`."""

    winner_of: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyFile:
    """A checked study file.

    Attributes:
        name: the file's `name`, or the file name without its ending. Safe as a folder name.
        run_cap: number of finished trials after which the study is complete; None: it runs until stopped.
            For a grid: the size of the grid.
        objectives: the metrics that Optuna optimises, `metric` first. Several only if the file lists several.
        front: metrics such as `parameters` or `ms_per_window`. The report draws a Pareto front of them and
            the objective. Optuna does not optimise them, so pruning still works.
        learn_from: studies of the same parameters whose trials `freeze_thaw` learns from.
        no_gain: the study stops after this many finished trials without a better best trial; None: never.
        lead: the study stops when the best trial leads every other at this level of confidence; None: never.
        lead_after: finished trials before the lead is looked at.
        levels: parameters of a grid, and how sure it must be that a value of one cannot win for its other
            points to be pruned before they run.
        program, command: an external script, as in W&B.
        folder: where the script runs, relative to the study file; None: where the program is found.
        objective: a Python function, `package.module:function` or `file.py:function`.
        function: the function (or workload class) itself, pickled, where it was given in Python.
        workload: a class that runs the trials, `package.module:Class`, or the name of an installed one.
        sampler: resolved name (tpe, freeze_thaw, random, grid, gp, cmaes, nsgaii, qmc).
        epoch_budget: epochs that a study with `freeze_thaw` may use for all its trials; None: a quarter of
            those of `run_cap` whole trials.
        base: values below those of the space: a configuration is base, then `epochs`, then the space's.
        defaults: what trials had of a parameter before the file named it.
        first: configurations that a new study tries first, in order, before those that the sampler draws.
        shuffled: whether the points of a grid are tried in a random order, which the name decides.
        deterministic: repeated runs of a configuration give the same score.
        matters: the largest difference of the metric that does not matter; None: the noise between seeds.
        seeds: on which the campaign and `verify` retrain the best configurations.
        repeats: the runs that one trial consists of.
        max_epochs: epochs of a whole run (`epochs` of the configuration), or None where that is the file's.
        resources: what a trial needs.
        weights: patterns of the files in a run folder that only the best trials keep; None: the workload's.
        seed: the parameter that seeds a run, where it has another name than `seed`.
        trial_timeout: seconds after which a trial is ended and has failed; None: no limit.
        grace: seconds that a trial has for its next report when the study is to stop.
        notes: what the user should know of how the file was read.
        run: which W&B run counts where a script makes several in one trial.
        lines: line of each parameter in the file, for messages.
        raw: the file as plain Python.
    """

    name: str
    path: Path
    method: str
    metric: Metric
    space: Space
    sampler: str
    pruner: PrunerSettings
    objectives: tuple[Metric, ...]
    raw: Mapping[str, Any]
    run_cap: int | None = None
    epoch_budget: int | None = None
    learn_from: tuple[str, ...] = ()
    no_gain: int | None = None
    lead: float | None = None
    lead_after: int = 10
    levels: Mapping[str, float] = field(default_factory=dict)
    early_terminate: Mapping[str, Any] | None = None
    program: str | None = None
    command: tuple[str, ...] | None = None
    folder: str | None = None
    objective: str | None = None
    constraints: tuple[Constraint, ...] = ()
    front: tuple[Metric, ...] = ()
    base: Base = Base()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    first: tuple[Mapping[str, Any], ...] = ()
    shuffled: bool = False
    hypotheses: tuple[Hypothesis, ...] = ()
    matters: float | None = None
    deterministic: bool = False
    seeds: tuple[int, ...] = (1,)
    repeats: Repeats = field(default_factory=Repeats)
    max_epochs: int | None = None
    function: bytes | None = field(default=None, compare=False, repr=False)
    workload: str | None = None
    resources: Resources = Resources()
    weights: tuple[str, ...] | None = None
    seed: str | None = None
    trial_timeout: float | None = None
    grace: float = GRACE_SECONDS
    notes: tuple[str, ...] = field(default=(), compare=False)
    run: Literal["first", "last", "mean"] = "first"
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    description: str = ""
    purpose: str = ""
    cost: str = ""
    expectation: str = ""

    @property
    def trial_epochs(self) -> int | None:
        """Epochs of a whole trial, all its runs together; None where the file does not say."""
        return None if self.max_epochs is None else self.max_epochs * self.repeats.count

    @property
    def may_stop(self) -> bool:
        """Whether the study may be done before its last trial."""
        return self.metric.target is not None or self.no_gain is not None or self.lead is not None

    @property
    def only_in_python(self) -> bool:
        """Whether trials run a function of a script or notebook, so that no command can run them."""
        return (self.objective or self.workload or "").startswith("__main__:")

    @property
    def requires(self) -> tuple[str, ...]:
        """Expressions that every configuration must fulfil."""
        return self.space.requires

    @property
    def points(self) -> tuple[Mapping[str, Any], ...]:
        """The points that replace the full product of a grid (a design), or empty."""
        return self.space.points

    def grid(self) -> list[dict[str, Any]]:
        """The points of a grid in the order in which they are tried: that of W&B, or shuffled.

        A shuffled order is decided by the study's name: it is the same for every agent and every start.
        """
        points = self.space.grid()
        if self.shuffled:
            random.Random(zlib.crc32(self.name.encode())).shuffle(points)
        return points

    def violations(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """By how much metrics miss each constraint, as it is stored."""
        return {str(c): min(c.violation(metrics), NO_CONSTRAINT_VALUE) for c in self.constraints}

    def scored_by(self, scored: Scored) -> StudyFile:
        """The same study, whose runs are scored so."""
        metric = replace(self.metric, scored=scored)
        return replace(self, metric=metric, objectives=(metric, *self.objectives[1:]))

    def fail(self, parameter: str, message: str) -> NoReturn:
        """Raises InputError: one line with the file, the line, the parameter and the message."""
        line = self.lines.get(parameter)
        where = f"{self.path}:{line}" if line else str(self.path)
        raise InputError(f"{where}: 'parameters.{parameter}': {message}")

    def digest(self) -> str:
        """A hash of the file's content, without comments and layout."""
        return hashlib.sha256(json.dumps(self.raw, sort_keys=True).encode()).hexdigest()[:16]
