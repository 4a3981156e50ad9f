"""Opening the Optuna storage: SQLite in WAL mode, made once, its errors told in one line.

Measured on optuna 5.0 (8 parameters, 20 reports a trial): SQLite as it comes manages 2–10 trials a second
with stalls of 8.7 s; in WAL mode with `synchronous=NORMAL` 19–31 and 0.8 s; a journal file can be torn.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.storages import RDBStorage

from model.errors import InputError, WorkFailed
from tuner.locks import lock_for, sqlite_path
from tuner.records import Records

DATABASE = "studies.db"


class WalConnection(sqlite3.Connection):
    """A connection in WAL mode; as a factory it reaches every connection of SQLAlchemy's pool."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


class StorageFailed(WorkFailed):
    """The storage cannot be read or written; what is in it stays, and the study can be resumed."""


def default_url(results: Path) -> str:
    """The storage of a results folder."""
    return f"sqlite:///{results / DATABASE}"


def open_records(url: str, *, create: bool = False) -> Records:
    """Opens the storage at `url`.

    Args:
        url: `sqlite:///FILE`.
        create: makes folder and schema when missing. Only the process that starts agents does this: several
            that open a fresh file at once crash on each other's tables.

    Raises:
        InputError: nothing is there and `create` is false, or the URL is not supported.
        StorageFailed: it cannot be opened.
    """
    lock = lock_for(url)
    path = sqlite_path(url)
    if path is not None:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise InputError(f"{path}: no studies yet; start one with: python -m tuner study loss_weighting")
    engine: dict[str, Any] = {"connect_args": {"timeout": 60, "factory": WalConnection}}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna stamps the schema's version on every opening that does not find it, also when it makes no tables:
    # one that opens while another makes the file must wait, or the version is there twice and one fails.
    readable_only = path is not None and not create and not os.access(path.parent, os.W_OK)
    with storage_errors(url), contextlib.nullcontext() if readable_only else lock:
        backend = RDBStorage(
            url,
            engine_kwargs=engine,
            skip_table_creation=not create,
            skip_compatibility_check=not create,
        )
    return Records(backend, lock)


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turns what SQLAlchemy, Optuna and SQLite raise inside into one `StorageFailed` line."""
    try:
        yield
    except (
        optuna.exceptions.StorageInternalError,
        sqlalchemy.exc.SQLAlchemyError,
        sqlite3.Error,
    ) as error:
        raise StorageFailed(
            f"storage {hide_password(where)}: {_cause(error)}; nothing finished is lost, "
            "run the same command again to go on"
        ) from error


def _cause(error: BaseException) -> str:
    """The innermost reason, in words: SQLAlchemy wraps the driver's error, Optuna wraps SQLAlchemy's."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    advice = {
        "database or disk is full": "the disk is full (free some space)",
        "disk I/O error": "the disk cannot be written (full, or gone?)",
        "attempt to write a readonly database": "it is read-only",
        "unable to open database file": "it cannot be opened or written (folder missing or read-only?)",
        "file is not a database": "that file is not an SQLite database",
        "database is locked": "another program has kept it locked for 60 s",
    }
    return advice.get(text, text)


def hide_password(url: str) -> str:
    """`url` with the password of `user:password@host` replaced, fit to be shown."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)
