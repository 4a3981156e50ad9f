"""The input of a report: studies, trials, bundles and the data set. Read once, never changed.

Metrics on the part `test` are only shown. Nothing is sorted or chosen by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from tuner.base.errors import InputError
from tuner.base.files import read_object
from tuner.base.nested import merged
from tuner.base.run_folder import CONFIG, METRICS, RESULT, if_readable, read_metrics
from tuner.definition.campaign_file import HYPOTHESES, CampaignFile
from tuner.definition.loading import shipped_campaign
from tuner.definition.study_file import StudyFile
from tuner.search import ranking
from tuner.storage import attributes
from tuner.storage.allocate import state_of
from tuner.storage.attributes import (
    CHOSEN,
    DEFAULT,
    ERROR,
    FILE,
    IMPORTED,
    LATENCY,
    LEASE,
    NOT_COUNTED,
    OUTSIDE,
    PRUNED_BECAUSE,
    RAN_WITH,
    RUN_FOLDER,
    SIZE,
    STINTS,
    STOPPED,
    TOTAL,
    WHY,
)
from tuner.storage.leases import agent_of
from tuner.storage.records import Records
from tuner.storage.study import OpenStudy, load_study, training_seconds
from tuner.storage.study_store import RETRAINED
from tuner.workloads.registry import workload_if_known
from tuner.workloads.workload import Workload

PAIRED = HYPOTHESES  # the study of pairs of runs for the claims of other studies
SHOWN_ONLY = "shown only"  # the state of a trial that does not fit since the study was changed
NOTES = (OUTSIDE, ERROR, PRUNED_BECAUSE, WHY, CHOSEN)  # attributes of which the first is a trial's note


@dataclass(frozen=True)
class Stint:
    """A time that a trial ran without a pause; `agent` is "" where it is not known."""

    agent: str
    started: datetime
    ended: datetime

    @property
    def minutes(self) -> float:
        return max(0.0, (self.ended - self.started).total_seconds()) / 60


@dataclass(frozen=True)
class Trial:
    """One trial, as the report shows it.

    Attributes:
        value: the first objective of a complete trial; otherwise the last reported value.
        params: the searched parameters by dotted name, with the study file's values.
        config: the complete configuration.
        metrics: the `val/…` metrics.
        test: the `test/…` metrics, only to be shown.
        curve: `(epoch from 1, objective)`.
        seconds: training time; if unknown, wall time.
        stints: when it ran; several, if it was paused.
    """

    number: int
    state: str
    value: float | None
    violation: float
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    test: Mapping[str, float]
    curve: tuple[tuple[int, float], ...]
    seconds: float
    started: datetime | None
    ended: datetime | None
    stints: tuple[Stint, ...]
    note: str
    folder: str
    frozen: FrozenTrial = field(repr=False)
    size: float | None = None
    latency: float | None = None
    result: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def epochs(self) -> int:
        """Number of reported epochs."""
        return self.curve[-1][0] if self.curve else 0

    def metric(self, name: str) -> float | None:
        """A metric on the part `select`, named with or without the prefix `val/`."""
        return self.metrics.get(name, self.metrics.get(f"val/{name}"))


@dataclass(frozen=True, eq=False)
class Study:
    """A study.

    Attributes:
        ranked: complete trials, best first. front: trials that no other beats in every respect.
        outside: trials that do not fit since the study was changed; they are among no others.
    """

    name: str
    file: StudyFile
    trials: tuple[Trial, ...]
    ranked: tuple[Trial, ...]
    front: tuple[Trial, ...]
    attrs: Mapping[str, Any]
    source: optuna.Study = field(repr=False)
    outside: tuple[Trial, ...] = ()
    # of `judge.of_study`, by the material
    answers: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def maximize(self) -> bool:
        return self.file.metric.goal == "maximize"

    @property
    def metric(self) -> str:
        return self.file.metric.name

    @property
    def finished(self) -> tuple[Trial, ...]:
        """Complete and pruned trials that count towards the number that is wanted."""
        ended = (t for t in self.trials if t.state in ("complete", "pruned"))
        return tuple(t for t in ended if NOT_COUNTED not in t.frozen.user_attrs)

    @property
    def imported(self) -> tuple[Trial, ...]:
        """Trials that were run elsewhere."""
        return tuple(t for t in self.trials if IMPORTED in t.frozen.user_attrs)

    @cached_property
    def winner(self) -> Trial | None:
        """The trial that the study hands on (`ranking.winner`); None if no trial is feasible."""
        found = ranking.winner([t.frozen for t in self.ranked], self.attrs, self.file)
        return next((t for t in self.ranked if found is not None and t.number == found.number), None)

    @property
    def feasible(self) -> tuple[Trial, ...]:
        """The complete trials that meet the constraints, best first."""
        return tuple(t for t in self.ranked if t.violation <= 0)

    @property
    def best_score(self) -> Trial | None:
        """The complete trial with the best objective, whether it meets the constraints or not."""
        sign = 1.0 if self.maximize else -1.0
        return max(self.ranked, key=lambda t: sign * (t.value or 0.0), default=None)

    @property
    def default(self) -> Trial | None:
        """The trial of the default configuration, if it is complete."""
        return next((t for t in self.ranked if t.note == DEFAULT), None)

    def count(self, state: str) -> int:
        return sum(t.state == state for t in self.trials)

    @property
    def done(self) -> bool:
        """Whether the study has all its trials (failed points of a grid count), or has stopped for good."""
        if self.count("running") or not self.trials:
            return False
        total, tried = TOTAL.of(self.attrs), len(self.finished)
        if self.file.method == "grid":
            tried += self.count("failed")
        return bool(STOPPED.of(self.attrs)) or (total is not None and tried >= total)

    @cached_property
    def workload(self) -> Workload:
        """The workload of the study. If it is not installed: a generic one."""
        return workload_if_known(self.file)

    @property
    def searched(self) -> list[str]:
        if self.file.space.open:
            return list(dict.fromkeys(name for trial in self.trials for name in trial.params))
        return [p.name for p in self.file.space.searched]

    def retrained(self, number: int) -> list[float]:
        """The objective of every retraining of a trial's configuration (by `study all` and `verify`)."""
        return ranking.retrained(self.attrs, number)


@dataclass(frozen=True)
class Material:
    """Everything a report shows.

    Attributes:
        pairs: the studies of matched pairs.
        campaign: the campaign file. It gives the order of the studies and the campaign's claims.
        data: the data set to describe, if one was named or is the only one.
    """

    studies: tuple[Study, ...]
    made: datetime
    results: Path
    pairs: tuple[Study, ...] = ()
    campaign: CampaignFile | None = None
    data: Path | None = None


def load(
    records: Records, names: Sequence[str], results: Path, *, data: Path | None = None, made: datetime
) -> Material:
    """Reads the studies `names`. None named: all studies of this tuner except retrainings and pairs.

    Raises:
        InputError: there is no such study, or there are no studies.
    """
    known = optuna.get_all_study_names(records)
    campaign = shipped_campaign()
    if not names:
        names = [n for n in known if not n.endswith(RETRAINED) and "@" not in n and not is_paired(n)]
        names = [n for n in names if FILE in OpenStudy(records, n).attrs]
        order = {name: place for place, name in enumerate(campaign.studies)}
        names = sorted(names, key=lambda n: (order.get(n, len(order)), n))
    if not names:
        raise InputError("no studies to report on; start one with: tuner study FILE.yaml")
    studies = tuple(read_study(load_study(records, name), results) for name in names)
    paired = [n for n in known if is_paired(n)]  # earlier rounds, set aside, count as well
    pairs = tuple(read_study(load_study(records, name), results) for name in paired)
    return Material(studies, made, results, pairs, campaign, data)


def is_paired(name: str) -> bool:
    """Whether a study has matched pairs. Includes those that `--fresh` renamed (`hypotheses@…`)."""
    return name.partition("@")[0].partition(".")[0] == PAIRED


def read_study(source: OpenStudy, results: Path | None) -> Study:
    """A study with its trials, as the storage and the run folders in `results` (None: not read) tell them."""
    file = source.file
    frozen = source.get_trials(deepcopy=False)
    base = source.origin.get("base") or {}

    def read(trial: FrozenTrial) -> Trial:
        folder = None if results is None else results / "runs" / source.study_name / str(trial.number)
        return _trial(trial, file, folder, base)

    trials = {t.number: read(t) for t in frozen}
    return Study(
        name=source.study_name,
        file=file,
        trials=tuple(trials.values()),
        ranked=tuple(trials[t.number] for t in ranking.ranked(frozen, file)),
        front=tuple(trials[t.number] for t in ranking.front(frozen, file)),
        attrs=dict(source.user_attrs),
        source=source,
        outside=tuple(map(read, source.outside())),
    )


def _trial(trial: FrozenTrial, file: StudyFile, folder: Path | None, base: Mapping[str, Any]) -> Trial:
    attrs = trial.user_attrs
    result: dict[str, Any] = {}
    found: dict[str, Any] | None = None
    if folder is not None:
        result = if_readable(read_object, folder / RESULT) or {}
        found = if_readable(read_object, folder / CONFIG)
    own = RAN_WITH.of(attrs)  # of a trial outside the study, whose parameters are those of another space
    if own is None:
        own = file.space.config_of(trial.params)
    config = merged({**base, **own}, found or {})  # a parameter that was added later is not in the folder
    name = file.metric.name
    curve = tuple((int(k), float(v)) for k, v in sorted(trial.intermediate_values.items()))
    if not curve and folder is not None:
        lines = if_readable(read_metrics, folder / METRICS) or []
        curve = tuple((int(row["epoch"]) + 1, float(row[name])) for row in lines if name in row)
    value = trial.values[0] if trial.values else (curve[-1][1] if curve else None)
    return Trial(
        number=trial.number,
        state=SHOWN_ONLY if OUTSIDE in attrs else state_of(trial),
        value=value,
        violation=ranking.violation(trial),
        params=file.space.values_in(own),
        config=config,
        metrics={**attributes.METRICS.of(attrs), **(result.get("metrics") or {})},
        test=dict(result.get("test_metrics") or {}),
        curve=curve,
        seconds=training_seconds(trial),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        stints=_stints(trial),
        note=str(next((attrs[key] for key in NOTES if attrs.get(key)), "")),
        folder=RUN_FOLDER.of(attrs),
        size=ranking.measured(trial, SIZE),
        latency=ranking.measured(trial, LATENCY),
        frozen=trial,
        result={k: v for k, v in result.items() if k not in ("metrics", "test_metrics")},
    )


def _stints(trial: FrozenTrial) -> tuple[Stint, ...]:
    """When a trial ran; of one that is not done, as far as it is known."""
    found = STINTS.of(trial)
    if found:
        return tuple(Stint(a, datetime.fromisoformat(b), datetime.fromisoformat(e)) for a, b, e in found)
    if trial.datetime_start is None or trial.datetime_complete is None:
        return ()
    return (Stint(agent_of(LEASE.of(trial)), trial.datetime_start, trial.datetime_complete),)
