"""Opens the storage of studies: an SQLite file, a PostgreSQL database, or a server of one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import optuna

from tuner.base import plugins
from tuner.base.errors import InputError
from tuner.base.sqlite_url import sqlite_url
from tuner.storage.databases import NoStudiesYet, database_for
from tuner.storage.optuna_private import CachedStorage, GrpcStorage, other_schema
from tuner.storage.outage import PATIENCE_SECONDS, Patience, hide_password, storage_errors
from tuner.storage.records import Records
from tuner.storage.sql_queue import SqlQueue

DATABASE = "studies.db"
PATIENCE_VARIABLE = "TUNER_STORAGE_PATIENCE"
_OTHER_SCHEMA = {
    "older": "an older Optuna made its tables; keep a copy of it, then run: "
    "optuna storage upgrade --storage URL",
    "newer": "a newer Optuna made its tables; install that one, or choose another storage",
}


def default_url(results: Path) -> str:
    """The storage of a results folder."""
    return sqlite_url(results / DATABASE)


def open_records(
    url: str,
    *,
    create: bool = False,
    waits: bool = False,
    say: Callable[[str], None] = lambda line: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Records:
    """Opens the storage at `url`.

    Args:
        url: `sqlite:///FILE`, `postgresql://USER@HOST/DATABASE` or `grpc://HOST:PORT`.
        create: makes the folder and the tables when they are missing. A server does this itself.
        waits: while the storage does not answer, this call and each later one waits for it, up to a limit.
        say: told in a line what was wrong with a database that is made anew, and that it waits.
        stopping: called while waiting; True: give up now.

    Raises:
        InputError: the storage does not exist and `create` is false, or the URL is not supported.
        StorageFailed: it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    patience = patience_with(url)
    patience.say, patience.stopping = say, stopping
    scheme, _, _ = url.partition("://")

    def opened() -> tuple[CachedStorage | GrpcStorage, SqlQueue]:
        if scheme in plugins.installed(plugins.STORAGES):
            return plugins.installed(plugins.STORAGES)[scheme].load()(url)  # type: ignore[no-any-return]
        return open_database(url, create=create, say=say)

    backend, queue = patience.insist(opened) if waits else patience.once(opened)
    return Records(backend, queue, patience, waits=waits)


def patience_with(url: str) -> Patience:
    """How long to wait for the storage at `url` when it cannot be reached."""
    told = os.environ.get(PATIENCE_VARIABLE, PATIENCE_SECONDS)
    try:
        return Patience(hide_password(url), limit=max(0.0, float(told)))
    except ValueError:
        raise InputError(f"${PATIENCE_VARIABLE}: expected seconds, got '{told}'") from None


def open_database(
    url: str, *, create: bool, say: Callable[[str], None] = lambda line: None
) -> tuple[CachedStorage, SqlQueue]:
    """Opens a database in this process; returns Optuna's storage and the queue of trials.

    Raises:
        InputError: as `open_records`, or another Optuna made its tables.
    """
    database = database_for(url)
    with storage_errors(url):
        database.prepare(say) if create else database.check()
    # two processes must not make the tables at once
    lock: AbstractContextManager[None] = database.lock if create else nullcontext()
    with storage_errors(url), lock:
        backend = database.storage(create=create)
        made_by = other_schema(backend)
    if made_by is not None:
        raise InputError(f"storage {hide_password(url)}: {_OTHER_SCHEMA[made_by]}")
    return CachedStorage(backend), SqlQueue(backend, database)


def find_records(
    url: str, *, waits: bool = False, say: Callable[[str], None] = lambda line: None
) -> Records | None:
    """The storage at `url`; None if it has no study yet."""
    try:
        return open_records(url, waits=waits, say=say)
    except NoStudiesYet:
        return None
