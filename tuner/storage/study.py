"""A study in its storage: its study file, its trials, what is stored with them, and how far it is.

Other programs and people may have written to a storage. An attribute of the wrong type is an error in one
line here, not an exception later.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.base.errors import InputError, nearest
from tuner.base.words import counted
from tuner.definition.loading import from_plain
from tuner.definition.metric import Scored
from tuner.definition.study_file import StudyFile
from tuner.storage import optuna_private
from tuner.storage.attributes import (
    ASKED,
    ERROR,
    FILE,
    ORIGIN,
    PATH,
    SCORE,
    SECONDS,
    STINTS,
    STOPPED,
    TOTAL,
    UNCOUNTED,
    check,
)
from tuner.storage.leases import Observer
from tuner.storage.outage import StorageUnreachable
from tuner.storage.records import Records

# Reasons to stop start with one of these; they still hold when the study is resumed
TARGET = "target reached"
NO_GAIN = "no gain"  # a changed study file clears it
LEAD = "clear lead"  # as NO_GAIN
SEARCHED = "search ended"  # by the study's own sampler or terminator of Optuna's; as NO_GAIN
GOOD_ENDS = (TARGET, NO_GAIN, LEAD, SEARCHED)  # what a study that found what it looked for was stopped for

MOST_TO_LEARN_FROM = 8  # earlier studies: each takes time at every choice


@dataclass(frozen=True)
class Stop:
    """What `tuner stop` and `pause` ask the agents of a study to do: to leave it.

    `verb`: stop or pause; else who stopped it. `now`: trials are ended at once, not after their epoch.
    """

    verb: str
    now: bool = False

    def __str__(self) -> str:
        if self.verb not in ("stop", "pause"):
            return f"stopped by {self.verb}"
        return f"{'paused' if self.verb == 'pause' else 'stopped'} by tuner {self.verb}"


class OpenStudy(optuna.Study):
    """A study in its storage. Where its storage waits, so does each call (`open_records`).

    Args:
        file: its study file, where that is known already.

    Attributes:
        asked_before: the stop that had been asked for when this command began, which is for earlier ones.
    """

    asked_before: Any = None

    def __init__(self, records: Records, name: str, file: StudyFile | None = None) -> None:
        super().__init__(name, records)
        self.records = records
        self.id = optuna_private.study_id(self)
        if file is not None:
            self.file = file

    @functools.cached_property
    def file(self) -> StudyFile:
        """The study file that it was made from. Raises InputError as `stored_file`."""
        return stored_file(self)

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Its attributes, not to be changed."""
        return self.records.get_study_user_attrs(self.id)

    @property
    def total(self) -> int | None:
        """How many finished trials are wanted; None: no end."""
        return TOTAL.of(self.attrs)

    @property
    def origin(self) -> Mapping[str, Any]:
        """What its trials rest on besides its file (`study_store.Origin`), as far as it is stored."""
        found = ORIGIN.of(self.attrs)
        return found if isinstance(found, Mapping) else {}

    # -- its trials

    def counts(self) -> dict[TrialState, int]:
        """How many trials are in each state."""
        return self.records.counts(self.id)

    def finished(self) -> int:
        """How many trials count towards the number that it wants."""
        return finished(self.counts(), self.attrs)

    def outside(self) -> list[FrozenTrial]:
        """The trials that do not fit it since it was changed; nothing is learned from them."""
        return self.records.trials_outside(self.id)

    def everything(self) -> list[FrozenTrial]:
        """All trials by number, those included that do not fit it since it was changed."""
        return sorted([*self.get_trials(deepcopy=False), *self.outside()], key=lambda trial: trial.number)

    def done(self) -> str | None:
        """Why no trial is left to run, found without starting an agent; None when one may be."""
        counts, attrs, grid = self.counts(), self.attrs, self.file.method == "grid"
        if counts[TrialState.RUNNING] or (counts[TrialState.WAITING] and grid):
            return None
        if STOPPED.of(attrs):
            return STOPPED.of(attrs)
        if grid:
            points = len(self.file.grid()[: self.total])
            return f"all {points} points tried" if len(self.points_taken()) >= points else None
        count, total = finished(counts, attrs), self.total
        return f"{counted(count, 'trial')} finished" if total is not None and count >= total else None

    def points_taken(self) -> set[int]:
        """Indices of the grid points that have a trial, in any state."""
        return self.records.grid_points_taken(self.id)

    def running(self) -> list[str]:
        """The trials that run and whose process is not known to be gone, a line each."""
        observer = Observer()
        return [
            f"trial {number} by process {lease.get('pid')} on {lease.get('host')}"
            for trial_id, number, lease in self.records.running(self.id)
            if lease and observer.gone(trial_id, lease) is None
        ]

    def give_up(self, number: int, reason: str) -> None:
        """Ends a running trial as failed, without another try."""
        for trial_id, running, _ in self.records.running(self.id):
            if running == number:
                self.records.give_up(trial_id, {ERROR: reason})

    def put_back(self, killed: Collection[Mapping[str, Any]]) -> None:
        """Returns the trials of these owners to the queue: their agents were stopped, they did not fail."""
        for trial_id, _, lease in self.records.running(self.id):
            if lease is not None and {k: v for k, v in lease.items() if k != "beat"} in killed:
                self.records.release(trial_id)

    # -- whether it is to stop

    def stop_because(self, reason: str | None) -> None:
        """Lets no further trial start, if there is a reason."""
        if reason is not None:
            self.set_user_attr(STOPPED, reason)

    def stop(self) -> None:
        """Called by a sampler of Optuna's that has nothing left to try."""
        self.stop_because(f"{SEARCHED}: the sampler has nothing left to try")

    def ask_to_stop(self, stop: Stop) -> int:
        """Asks its agents to leave it; returns how many of its trials run at the moment."""
        self.set_user_attr(ASKED, {"verb": stop.verb, "now": stop.now, "id": uuid4().hex})
        return len(self.running())

    def stop_asked(self) -> Stop | None:
        """What somebody asked for, in any terminal; None also while the storage does not answer."""
        with contextlib.suppress(StorageUnreachable), self.records.at_once():
            return self.stop_in(self.attrs)
        return None

    def stop_in(self, attrs: Mapping[str, Any]) -> Stop | None:
        """What was asked for, by the study's attributes, since this command began."""
        asked = ASKED.of(attrs)
        if asked == self.asked_before or not isinstance(asked, Mapping):
            return None
        return Stop(str(asked.get("verb")), bool(asked.get("now")))


def finished(counts: Mapping[TrialState, int], attrs: Mapping[str, Any]) -> int:
    """How many trials count towards the number that the study wants: complete and pruned ones.

    Those that do not fit since the study was changed do not count, nor those that were only imported.
    """
    return counts[TrialState.COMPLETE] + counts[TrialState.PRUNED] - UNCOUNTED.of(attrs)


def load_study(records: Records, name: str) -> OpenStudy:
    """The study `name`; raises InputError with the names of all studies if there is no such study."""
    names = optuna.get_all_study_names(records)
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise InputError(f"no study named '{name}'{nearest(name, names)} (studies here: {known})")
    return OpenStudy(records, name)


def find_study(records: Records | None, name: str) -> OpenStudy | None:
    """The study `name`; None if there is no such study, or no storage."""
    if records is None or name not in optuna.get_all_study_names(records):
        return None
    return OpenStudy(records, name)


def studies_to_learn_from(records: Records | None, file: StudyFile) -> list[optuna.Study]:
    """The studies that `learn_from` names, or with `auto` the latest MOST_TO_LEARN_FROM of one objective that
    share a parameter and have finished trials.
    """
    if records is None:
        return []
    if not file.learns_from_all:
        return [study for name in file.learn_from if (study := find_study(records, name))]
    names = {p.name for p in file.space.searched}
    found: list[tuple[datetime, optuna.Study]] = []
    for name in optuna.get_all_study_names(records):
        other = optuna.load_study(study_name=name, storage=records)
        ended = other.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        latest = max((t.datetime_complete for t in ended if t.datetime_complete), default=None)
        shares = any(names & t.params.keys() for t in ended)
        if latest is not None and shares and name != file.name and len(other.directions) == 1:
            found.append((latest, other))
    return [study for _, study in sorted(found, key=lambda one: one[0])[-MOST_TO_LEARN_FROM:]]


def stored_file(study: optuna.Study) -> StudyFile:
    """The study file that a study was made from, from the study's attributes.

    Raises:
        InputError: the study was not made by this tuner, or its attributes were changed since.
    """
    attrs = study.user_attrs
    raw = FILE.of(attrs)
    if raw is None:
        raise InputError(f"study '{study.study_name}' was not made by this tuner")
    check(study)
    path = Path(PATH.of(attrs) or f"{study.study_name}.yaml")
    try:
        file = from_plain(raw, name=study.study_name, path=path)
        return file.scored_by(score_of(attrs, file))
    except InputError as error:
        reason = str(error).partition(".yaml:")[2] or str(error)
        raise InputError(
            f"study '{study.study_name}': attribute '{FILE}': no study file of ours (line {reason})"
        ) from None


def score_of(attrs: Mapping[str, Any], study_file: StudyFile) -> Scored:
    """Which value of a run is its score in a study that was begun; a script's best before studies said so."""
    scored: Scored = "best" if study_file.program or study_file.command else "last"
    return SCORE.of(attrs) or scored


def training_seconds(trial: FrozenTrial) -> float:
    """What a trial has trained, as it says; else the time that it ran, without its pauses; 0 at first."""
    told = SECONDS.of(trial)
    if isinstance(told, int | float):
        return float(told)
    stints = [tuple(map(datetime.fromisoformat, stint[1:])) for stint in STINTS.of(trial)]
    if not stints and trial.datetime_start and trial.datetime_complete:
        stints = [(trial.datetime_start, trial.datetime_complete)]
    return sum(max(0.0, (end - begin).total_seconds()) for begin, end in stints)  # a clock may be set back
