"""Rebuilds a damaged database from what SQLite still reads and from finished run folders."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import json_to_distribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.base.errors import InputError
from tuner.base.sqlite_url import sqlite_path, sqlite_url
from tuner.storage import outage, second_record, sqlite_file
from tuner.storage.attributes import AGENTS_STARTED, ERROR
from tuner.storage.databases import Sqlite
from tuner.storage.optuna_private import TABLES, DatabaseStorage, study_id
from tuner.storage.second_record import StudyRecord
from tuner.storage.sql_queue import SqlQueue

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
LOST = "lost: the database was damaged, and the trial has no finished run folder"


@dataclass
class Repaired:
    """What became of a database.

    Attributes:
        copy: where the database lies as it was; None: there was none, or nothing was wrong.
        read: finished trials by study that the database still had.
        rebuilt: finished trials by study that were taken from run folders.
        lost: trials by study of which nothing is left.
        problems: records that cannot be read, a line each.
    """

    copy: Path | None = None
    read: dict[str, int] = field(default_factory=dict)
    rebuilt: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What happened, in words."""
        found = [f"the database as it was: {self.copy}"] if self.copy else []
        for name in sorted({*self.read, *self.rebuilt, *self.lost}):
            line = f"study {name}: {self.read.get(name, 0)} finished trials were in the database"
            line += f", {self.rebuilt.get(name, 0)} came from run folders"
            found.append(line + (f", nothing is left of {self.lost[name]}" if self.lost.get(name) else ""))
        return [*found, *self.problems]


def repair(url: str, results: Path) -> Repaired:
    """Repairs the database at `url`, and adds finished trials of `results` that it does not know.

    Where nothing is wrong, nothing is changed. Raises InputError if it is no SQLite file.
    """
    path = sqlite_path(url)
    if path is None:
        raise InputError(
            "--repair: for SQLite files; a PostgreSQL server is repaired from its own backups (pg_restore)"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Sqlite(path).lock, tempfile.TemporaryDirectory(dir=path.parent, prefix=".repair-") as scratch:
        sound = path.exists() and outage.is_sound(path) and sqlite_file.has_studies(path)
        there, whole = _read(_copied(path, Path(scratch) / "copy.db")) if path.exists() else ({}, False)
        sound = sound and whole
        done = Repaired(read={
            name: sum(trial.state in FINISHED for trial in study.trials.values())
            for name, study in there.items()
        })  # fmt: skip
        _add_records(there, results, done, trusted=sound)
        done.lost = {name: lost for name, study in there.items() if (lost := _fill_gaps(study))}
        if (sound and not done.rebuilt and not done.lost) or not (there or path.exists()):
            return done
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        _write(beside, there)
        if path.exists():
            names = (f"{path.stem}.before-repair-{n}{path.suffix}" for n in itertools.count(1))
            copies = map(path.with_name, names)
            done.copy = _copied(path, next(copy for copy in copies if not copy.exists()))
        sqlite_file.put(beside, path)
    return done


def _read(copy: Path) -> tuple[dict[str, StudyRecord], bool]:
    """The studies of a database without what cannot be read, and whether that was everything."""
    scratch = copy.with_name("read.db")
    sqlite_file.create(scratch).engine.dispose()
    with (
        contextlib.closing(sqlite3.connect(f"{copy.resolve().as_uri()}?mode=rw", uri=True)) as damaged,
        contextlib.closing(sqlite3.connect(scratch)) as saved,
    ):
        broken = False
        damaged.text_factory = lambda data: data.decode(errors="replace")
        for table in sorted(TABLES):
            for columns, row in _rows(damaged, table):
                if not _is_readable(columns, row):
                    broken = True
                    continue
                with contextlib.suppress(sqlite3.Error):
                    marks, names = ", ".join("?" * len(row)), ", ".join(columns)
                    saved.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", row)
        saved.commit()
    storage = DatabaseStorage(sqlite_url(scratch))
    try:
        found = {}
        for study in storage.get_all_studies():
            trials = dict(_trials(storage, study_id(study)))
            found[study.study_name] = StudyRecord(
                study.study_name, list(study.directions), study.user_attrs, study.system_attrs, trials
            )
        return found, not broken
    finally:
        storage.engine.dispose()


def _is_readable(columns: list[str], row: tuple[Any, ...]) -> bool:
    """Whether Optuna can read a row."""
    try:
        for name, value in zip(columns, row, strict=True):
            if name == "distribution_json":
                json_to_distribution(value)
            elif name.endswith("_json"):
                json.loads(value)
            elif name == "state":
                TrialState[value]
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    return True


def _rows(damaged: sqlite3.Connection, table: str) -> Iterator[tuple[list[str], tuple[Any, ...]]]:
    """The rows of a table that can be read: from its begin up to the damage, and from its end."""
    seen: set[int] = set()
    for order in ("ASC", "DESC"):
        try:
            found = damaged.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid {order}")
            columns = [name for name, *_ in found.description[1:]]
            for number, *row in found:
                if number in seen:
                    break
                seen.add(number)
                yield columns, tuple(row)
            if order == "ASC":
                return  # it was read to its end
        except sqlite3.Error:
            continue


def _trials(storage: RDBStorage, study: int) -> Iterator[tuple[int, FrozenTrial]]:
    """The trials by number that are whole."""
    try:
        found = storage.get_all_trials(study, deepcopy=False)
    except Exception:  # a broken row of one trial: the others are read alone
        found = []
        for number in range(storage.get_n_trials(study)):
            with contextlib.suppress(Exception):
                one = storage.get_trial_id_from_study_id_trial_number(study, number)
                found.append(storage.get_trial(one))
    for trial in found:
        needs_values = trial.state is TrialState.COMPLETE and not trial.values
        if trial.state not in FINISHED or (trial.user_attrs and not needs_values):
            yield trial.number, trial


def _add_records(there: dict[str, StudyRecord], results: Path, done: Repaired, *, trusted: bool) -> None:
    """Adds what run folders know; where the database is not `trusted`, finished records overrule it."""
    for record in second_record.studies(results):
        study = there.setdefault(record.name, record)
        study.user_attrs = {**record.user_attrs, **study.user_attrs}
        for found in second_record.trials(results, record.name):
            if isinstance(found, InputError):
                done.problems.append(str(found))
                continue
            known = study.trials.get(found.number)
            if known is not None and (trusted or _agrees(known, found)):
                if not trusted:
                    known.user_attrs = {**found.user_attrs, **known.user_attrs}
                    known.intermediate_values = {**found.intermediate_values, **known.intermediate_values}
                continue
            study.trials[found.number] = found
            if known is not None and known.state in FINISHED:
                done.read[record.name] -= 1
            if found.state in FINISHED:
                done.rebuilt[record.name] = done.rebuilt.get(record.name, 0) + 1


def _agrees(known: FrozenTrial, found: FrozenTrial) -> bool:
    """Whether a trial of a damaged database is whole; it may be newer than its record (a changed study)."""
    return known.state is found.state and known.values == found.values and {*found.params} <= {*known.params}


def _fill_gaps(study: StudyRecord) -> int:
    """A trial keeps its number, which its run folder has, too: what is missing between is put in as lost."""
    missing = set(range(max(study.trials, default=-1) + 1)) - set(study.trials)
    for number in missing:
        study.trials[number] = create_trial(state=TrialState.FAIL, user_attrs={ERROR: LOST})
    # the next agents' samplers must not draw what earlier ones drew
    study.user_attrs[AGENTS_STARTED] = max(AGENTS_STARTED.of(study), len(study.trials))
    return len(missing)


def _write(path: Path, studies: dict[str, StudyRecord]) -> None:
    storage = sqlite_file.create(path)
    queue = SqlQueue(storage, Sqlite(path))
    try:
        for name, study in studies.items():
            identity = storage.create_new_study(study.directions, name)
            for key, value in study.user_attrs.items():
                storage.set_study_user_attr(identity, key, value)
            for key, value in study.system_attrs.items():
                storage.set_study_system_attr(identity, key, value)
            queue.restore(identity, [study.trials[number] for number in sorted(study.trials)])
    finally:
        storage.engine.dispose()
        Path(f"{path}.lock").unlink(missing_ok=True)


def _copied(path: Path, copy: Path) -> Path:
    """Copies the database and the transactions that SQLite keeps beside it."""
    for suffix in ("", "-wal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            shutil.copyfile(part, copy.with_name(copy.name + suffix))
    return copy
