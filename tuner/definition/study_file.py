"""A checked study: a W&B sweep file with our own keys under `tuner:`.

The fields of `StudyFile` are the table of keys: they say what a key means, how it is read, what holds without
it, and what a change of it means. Parsing (`loading.py`), the check of names and the tables in
docs/study_files.md follow from them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from tuner.base.errors import InputError
from tuner.definition.constraints import Constraint, Hypothesis, read_hypotheses, read_matters
from tuner.definition.keys import BINDS, OF_RUNS, QUIET, REQUIRED, TOP, Key, key, made_by
from tuner.definition.metric import Metric, Scored, read_metrics
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.repeats import Repeats
from tuner.definition.scheduler import Scheduler
from tuner.definition.space import Space
from tuner.definition.values import (
    Base,
    Resources,
    StopRules,
    count,
    names_or_auto,
    one_of,
    read_command,
    read_constraints,
    read_function,
    read_older_workload,
    read_patterns,
    read_time_limit,
    read_workload,
    sentence,
)
from tuner.definition.yaml_source import YamlPart

METHODS = ("bayes", "random", "grid", "custom")
NO_CONSTRAINT_VALUE = 1e9  # stored in place of infinity, which JSON does not have


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """A checked study file."""

    path: Path
    raw: Mapping[str, Any]  # the file as plain Python
    # of each parameter, for messages
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    # what the user should know of how the file was read
    notes: tuple[str, ...] = field(default=(), compare=False)
    purpose: str = key(
        "the question of the study, in a sentence, for `list`, `--dry-run` and reports",
        rules=QUIET,
        read=sentence,
        value="",
    )
    cost: str = key("what it costs, in words, for the same places", rules=QUIET, read=sentence, value="")
    expectation: str = key(
        "what you expect to come out, in words, for the same places", rules=QUIET, read=sentence, value=""
    )
    objective: str | None = key(
        "a function `package.module:function` (or `file.py:function` next to the study file): "
        "`train(config, report) -> metrics`, or an objective of Optuna's, `objective(trial)`",
        rules=BINDS | OF_RUNS,
        read=read_function,
    )
    workload: str | None = made_by(
        on=Key(rules=BINDS | OF_RUNS, read=read_older_workload),
        workload=Key(
            "a class that runs the trials, `package.module:Class` or `file.py:Class`. It extends "
            "`tuner.Workload` ([architecture.md](architecture.md)). The shipped studies use "
            "`model.workload:Training` and `inference.workload:Decoding`",
            "the installed workload `default` (our network), unless the file names a program or an objective",
            BINDS | OF_RUNS,
            read=read_workload,
        ),
    )
    # the function or workload class itself, pickled, where it was given in Python
    function: bytes | None = field(default=None, compare=False, repr=False)
    folder: str | None = key(
        "where `program` or `command` runs, relative to the study file",
        "the file's folder, or the current folder if only that one has the program",
        OF_RUNS,
        read=YamlPart.text,
    )
    resources: Resources = key(
        "resources of one trial: `{gpus: 1, cpus: 4, memory: 8GiB}`. With `gpus: 0.5` two trials share a "
        "GPU. As many agents run as fit, and each sees only its own GPU. Studies that run at the same time "
        "share the GPUs of the machine: an agent waits until there is room for its share, and says who has "
        "the GPUs. If you ask for more `--agents` than fit, they share further",
        "one GPU if there are any, one core",
        OF_RUNS,
        read=Resources.read,
        value=Resources(),
    )
    weights: tuple[str, ...] | None = key(
        'patterns of files that only the best trials keep in their run folders (`["*.pt"]`)',
        "the usual endings of weights",
        OF_RUNS,
        read=read_patterns,
    )
    seed: str | None = key(
        "the name of the parameter that seeds a run, for retrainings and matched pairs",
        "`seed`; scripts without this parameter get no seed",
        OF_RUNS,
        read=YamlPart.text,
    )
    # seconds
    trial_timeout: float | None = key(
        "how long a trial may take (`90s`, `30m`, `2h`), counted again when it continues from a "
        "checkpoint. A trial that takes longer fails with that reason and is not tried again. A script is "
        "ended at once, a function at its next report; one that never reports is ended with its agent, "
        "`grace` and 15 seconds later",
        "no limit",
        OF_RUNS,
        read=read_time_limit,
    )
    # seconds
    grace: float = key(
        "how long a trial has for its next report when the study stops (`--timeout`, Ctrl-C, SIGTERM). A "
        "trial that does not report in this time is ended and returns to the queue; it loses what it did "
        "since its last [checkpoint](checkpoints.md)",
        "`30s`",
        OF_RUNS,
        read=YamlPart.duration,
        value=30.0,
    )
    run: Literal["first", "last", "mean"] = key(
        "which W&B run counts if a script makes several in one trial: `first` (of rank 0), `last`, or the "
        "`mean` of all (then nothing is pruned)",
        "`first`",
        BINDS | OF_RUNS,
        read=one_of("first", "last", "mean"),
        value="first",
    )
    metrics_from: Literal["log", "stdout"] = key(
        "`stdout`: of a script that logs nothing, but prints its metric, each line with it is read: "
        "`epoch 3: loss=0.31, acc=0.9`, `'loss': 0.31`, a progress bar",
        "`log`: W&B and other loggers, lines of JSON",
        BINDS | OF_RUNS,
        read=one_of("log", "stdout"),
        value="log",
    )
    program: str | None = key(
        "the script that a trial runs, relative to the file's folder", rules=TOP | BINDS, read=YamlPart.text
    )
    command: tuple[str, ...] | None = key(
        "the words of the command that starts it, with W&B's macros (`${env}`, `${interpreter}`, "
        "`${program}`, `${args}` …)",
        "W&B's",
        TOP | BINDS,
        read=read_command,
    )
    method: str = key(
        "`bayes`, `random`, `grid`; `custom` with `metrics` or a `scheduler`",
        "required",
        TOP,
        read=one_of(*METHODS),
        value=REQUIRED,
    )
    space: Space = made_by(
        REQUIRED,
        parameters=Key("the [parameters](study_files.md#parameters) to search, by name", "required", TOP),
        when=Key(
            "for a parameter: it exists only if this expression over other parameters is true", "always"
        ),
        requires=Key("expressions that every configuration must fulfil"),
        points=Key(
            "for a grid: the configurations to run instead of the full product (a design)", "the product"
        ),
    )
    metric: Metric = made_by(
        REQUIRED,
        metric=Key(
            "`{name: …, goal: minimize or maximize, target: …}`; the study stops once a trial reaches the "
            "target",
            "required for `bayes` and for early stopping",
            TOP,
        ),
        score=Key(
            "which value of a run is its [score](study_files.md#the-score-of-a-run): `last`, the value at "
            "its end, or `best`, the best of all epochs, as W&B's search takes it. It cannot change later",
            "`last`",
            BINDS,
        ),
    )
    # what Optuna optimises, `metric` first
    objectives: tuple[Metric, ...] = made_by(
        REQUIRED,
        metrics=Key("several metrics, for `method: custom`", rules=TOP | BINDS),
        objectives=Key(
            "several objectives for the sampler, the metric first. Trials are pruned by the first",
            "the metric",
            BINDS,
        ),
    )
    # None: until it is stopped; of a grid: its size at most
    run_cap: int | None = key(
        "how many finished trials make the study complete",
        "until it is stopped; a grid: all points",
        TOP | QUIET,
        read=count,
    )
    pruner: PrunerSettings = made_by(
        REQUIRED,
        early_terminate=Key(
            "W&B's Hyperband: `{type: hyperband, min_iter: 3, eta: 3}`; `tuner: {pruner: …}` has more kinds",
            "no trial is stopped",
            TOP,
        ),
        pruner=Key(
            "`hyperband`, `successive_halving`, `median`, `wandb_hyperband` or `none`, or one of Optuna's by "
            "its name (`PercentilePruner`); or a mapping with `type` and settings",
            "`early_terminate`; without it `none`",
        ),
        patience=Key(
            "epochs without a better value after which a trial is pruned, in addition to `pruner`. A pruned "
            "trial cannot become the best trial, so leave room: with 5, a curve may stand still for four "
            "epochs"
        ),
    )
    # safe as the name of a folder
    name: str = key("the name of the study", "the file's name", TOP | QUIET, value=REQUIRED)
    description: str = key("a description, kept for reports", rules=TOP | QUIET, read=YamlPart.text, value="")
    # `auto` is resolved
    scheduler: Scheduler = made_by(
        Scheduler,
        scheduler=Key(
            "`{engine: optuna, …}`: its sampler and pruner, or functions that make them and draw parameters "
            "([schedulers](from_wandb_sweeps.md#schedulers))",
            rules=TOP,
        ),
    )
    sampler: str = made_by(
        REQUIRED,
        sampler=Key(
            "`tpe`, [`freeze_thaw`](search.md) (trials are paused and resumed), `random`, `grid`, `gp`, "
            "`cmaes`, `nsgaii`, `qmc`, or `auto`: freeze_thaw with a pruner, `max_epochs` and one objective "
            "without constraints; else a Gaussian process for up to 250 trials of numbers, NSGA-II for long "
            "studies of several objectives, else TPE; or one of Optuna's by its name, or a mapping "
            "with its name as `type` and its arguments",
            "by `method`",
        ),
    )
    epoch_budget: int | None = key(
        "with `freeze_thaw`: the epochs that all `run_cap` trials may use together; more or fewer with "
        "`--trials`",
        "a quarter of whole runs",
        read=count,
    )
    learn_from: tuple[str, ...] = key(
        "with `freeze_thaw`: names of studies in the same storage, or `auto` for the latest eight that share "
        "parameters. Parameters are the same if name, scale and kind are; ranges may differ, and others may "
        "be added or missing. The search starts from what their trials reached, and trusts it as far as its "
        "own trials agree",
        read=names_or_auto,
        value=(),
    )
    stop: StopRules = key(
        "`{no_gain: 20}`: the study stops when none of the latest 20 finished trials was better than the "
        "best before. `{lead: 0.95, after: 10}`: it stops when the best trial's lead over every other "
        "trial is above 0 with 95 % confidence, after at least 10 finished trials. This needs [`seeds` or "
        "`folds`](study_files.md#several-seeds-or-folds-as-one-trial): trials are compared seed by seed "
        "and fold by fold (a paired t interval). `{levels: {digits: 0.99}}`, for a grid: if a value of "
        "`digits` is worse than another one at two or three equal points, and its next point would be worse "
        "with 99 % confidence (a prediction interval), its further points are pruned before they run. You "
        "can change `stop` later, and the study continues",
        value=StopRules(),
    )
    max_epochs: int | None = key(
        "epochs of a full run (`epochs` of the model)", "the model's", BINDS | OF_RUNS, read=count
    )
    # of retrainings
    seeds: tuple[int, ...] = key(
        "a number: how many seeds each configuration is run with, [as one "
        "trial](study_files.md#several-seeds-or-folds-as-one-trial). A list: seeds of the first rounds in "
        "which the best are retrained; a race continues with the next ones",
        "`[1]`",
        QUIET | OF_RUNS,
        value=(1,),
    )
    repeats: Repeats = made_by(
        Repeats(),
        folds=Key(
            "how many folds each configuration is run on, as one trial; `{split: 5}` if the parameter is not "
            "called `fold`",
            rules=BINDS | OF_RUNS,
        ),
        aggregate=Key(
            "the value of a trial of several runs: `mean`, `median` or `worst`", "`mean`", BINDS | OF_RUNS
        ),
    )
    base: Base = key(
        "values below those of the space: options of the model, and `winner of: STUDY`",
        "the defaults",
        BINDS,
        read=Base.read,
        value=Base(),
    )
    shuffle: bool = key(
        "for a grid: true runs its points in a random order. The study's name decides the order, so it is "
        "the same for all agents and after every restart",
        "false: W&B's order",
        value=False,
    )
    first: tuple[Mapping[str, Any], ...] = key(
        "configurations that a new study runs first, in order: `[{lr: 0.1}, {lr: 0.01, layers: 2}]`. The "
        "sampler draws what one leaves out. If the defaults are known, they are trial 0 all the same",
        value=(),
    )
    defaults: Mapping[str, Any] = key(
        "the value that earlier trials had of a parameter that is new in the file: `{layers: 2}` ([a study "
        "that changes](study_files.md#a-study-that-changes))",
        "`base`, then the program's defaults",
        value=dict,
    )
    constraints: tuple[Constraint, ...] = key(
        "bounds on logged metrics, `metric >= number`; the prefix `val/` is optional. Trials that meet "
        "them rank first, then those that miss them least. For TPE this holds for complete trials. Pruned "
        "trials are ranked by the epoch they reached (Optuna would use the constraint after, say, two "
        "epochs)",
        rules=OF_RUNS,
        read=read_constraints,
        value=(),
    )
    front: tuple[Metric, ...] = key(
        "further metrics. The report draws a Pareto front of them and the objective. Pruning still works",
        rules=QUIET,
        read=read_metrics,
        value=(),
    )
    matters: float | None = key(
        "the largest difference of the metric that does not matter to you, for all verdicts",
        "the noise between seeds, where runs were repeated",
        QUIET,
        read=read_matters,
    )
    deterministic: bool = key(
        "`true`: repeated runs of a configuration give the same score, so one run is the truth, and "
        "`verdict` compares single runs",
        "runs differ by their seed",
        QUIET,
        read=YamlPart.flag,
        value=False,
    )
    hypotheses: tuple[Hypothesis, ...] = key(
        "[claims](study_files.md#claims) about the result", rules=QUIET, read=read_hypotheses, value=()
    )

    @property
    def trial_epochs(self) -> int | None:
        """Epochs of a whole trial, all its runs together; None where the file does not say."""
        return None if self.max_epochs is None else self.max_epochs * self.repeats.count

    @property
    def learns_from_all(self) -> bool:
        """Whether the study learns from every other one that shares parameters."""
        return self.learn_from == ("auto",)

    @property
    def may_stop(self) -> bool:
        """Whether the study may be done before its last trial."""
        return self.metric.target is not None or self.stop.no_gain is not None or self.stop.lead is not None

    @property
    def only_in_python(self) -> bool:
        """Whether trials run a function of a script or notebook, so that no command can run them."""
        return (self.objective or self.workload or "").startswith("__main__:")

    @property
    def requires(self) -> tuple[str, ...]:
        """Expressions that every configuration must fulfil."""
        return self.space.requires

    def grid(self) -> list[dict[str, Any]]:
        """The points of a grid in the order in which they are tried: that of W&B, or shuffled.

        A shuffled order is decided by the study's name: it is the same for every agent and every start.
        """
        points = self.space.grid()
        if self.shuffle:
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


# keys that make no field
NO_FIELD = {
    "project": Key("project of the W&B runs", "W&B's", TOP | QUIET),
    "entity": Key("entity of the W&B runs", "W&B's", TOP | QUIET),
    "apiVersion": Key("accepted, has no effect", rules=TOP),
    "kind": Key("`sweep`; has no effect", rules=TOP),
    "controller": Key("accepted, has no effect: there is no server", rules=TOP),
    "job": Key("W&B Launch: refused without a `program` or `command`", rules=TOP | BINDS),
    "image_uri": Key("as `job`", rules=TOP | BINDS),
}

BY_FIELD: Mapping[str, Mapping[str, Key]] = {
    each.name: {name or each.name: key for name, key in each.metadata.items()}
    for each in dataclasses.fields(StudyFile)
}
KEYS = {name: key for keys in (*BY_FIELD.values(), NO_FIELD) for name, key in keys.items()}
WANDB_KEYS = {name: key for name, key in KEYS.items() if TOP in key.rules}
TUNER_KEYS = {name: key for name, key in KEYS.items() if TOP not in key.rules}
