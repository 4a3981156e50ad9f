"""Reads the trials of an Optuna storage without writing to it.

Optuna makes its tables in a database that has none, and refuses those of another version. So a SQLite file is
copied first, and the copy is brought to this version; on a server the tables must be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import optuna
import sqlalchemy
from optuna.study import Study
from optuna.trial import TrialState

from tuner.base.endings import in_short
from tuner.base.errors import InputError, nearest
from tuner.base.nested import leaves
from tuner.base.sqlite_url import sqlite_url
from tuner.definition.study_file import StudyFile
from tuner.plugins.imports.rows import Row
from tuner.plugins.imports.tracker_source import copied
from tuner.storage.outage import hide_password, storage_errors

SERVERS = ("postgresql", "mysql", "mariadb")  # schemes that SQLAlchemy opens, with their drivers


def read_file(path: Path, file: StudyFile, name: str | None) -> list[Row]:
    """The trials of a study of a SQLite file, which is not changed.

    Raises:
        InputError: it has no Optuna study, or which one is not clear.
    """
    with copied(path) as copy:
        return _rows(sqlite_url(copy), str(path), file, name, upgrade=True)


def read(url: str, file: StudyFile, name: str | None) -> list[Row]:
    """The trials of a study on a database server.

    Raises:
        InputError: the URL is of another kind, the server has no Optuna study, or which one is not clear.
    """
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme not in SERVERS:
        raise InputError(
            f"{hide_password(url)}: cannot read '{scheme}://'; expected a file, sqlite:///FILE, or an Optuna "
            f"database on a server ({', '.join(SERVERS)})"
        )
    return _rows(url, hide_password(url), file, name, upgrade=False)


def _rows(url: str, shown: str, file: StudyFile, name: str | None, *, upgrade: bool) -> list[Row]:
    with storage_errors(url):
        try:
            _check_tables(url, shown)
        except ImportError as error:
            raise InputError(f"{shown}: needs a driver that is not installed: {in_short(error)}") from None
        storage = optuna.storages.RDBStorage(url, skip_compatibility_check=True, skip_table_creation=True)
        try:
            if storage.get_current_version() != storage.get_head_version():
                if not upgrade:
                    raise InputError(
                        f"{shown}: another version of Optuna made its tables; keep a copy of the database, "
                        "then run: optuna storage upgrade --storage URL"
                    )
                storage.upgrade()
            return _of_study(storage, shown, file, name)
        finally:
            storage.engine.dispose()


def _check_tables(url: str, shown: str) -> None:
    """Raises InputError where the database has no tables of Optuna, which would make them there."""
    engine = sqlalchemy.create_engine(url)
    try:
        there = set(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()
    if not {"studies", "trials", "version_info"} <= there:
        raise InputError(f"{shown}: has no tables of Optuna, so there is no study to import")


def _of_study(
    storage: optuna.storages.RDBStorage, shown: str, file: StudyFile, name: str | None
) -> list[Row]:
    names = optuna.get_all_study_names(storage)
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        hint = "" if name is None else nearest(name, names)
        known = ", ".join(sorted(names)) or "none"
        raise InputError(f"{shown}: which study? --from-study NAME{hint} (there are: {known})")
    study = optuna.load_study(study_name=name, storage=storage)
    goals = [direction.name.lower() for direction in study.directions]
    wanted = [metric.goal for metric in file.objectives]
    if goals != wanted:
        theirs, ours = " and ".join(goals), " and ".join(wanted)
        raise InputError(
            f"{shown}: the goal of study '{name}' there is to {theirs}, that of '{file.name}' to {ours}"
        )
    return list(_optuna_rows(study))


def _optuna_rows(study: Study) -> Iterator[Row]:
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            continue
        attrs = trial.user_attrs
        metrics = attrs.get("metrics") if isinstance(attrs.get("metrics"), Mapping) else attrs
        complete = trial.state is TrialState.COMPLETE
        yield Row(
            f"{study.study_name} trial {trial.number}",
            dict(leaves(trial.params)),
            dict(metrics or {}),
            [{"": value} for _, value in sorted(trial.intermediate_values.items())],
            trial.values if complete else (),
            "" if complete else f"the trial is {'pruned' if trial.state is TrialState.PRUNED else 'failed'}",
        )
