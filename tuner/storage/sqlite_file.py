"""The file of an SQLite database: whether it is whole, and how a new one appears all at once.

A database that is made in its place passes through states that no later run can use: no bytes, no tables,
some tables. So it is made beside its place and renamed. A file that is in such a state nevertheless (a kill
in an old version, a copy without its `-wal`, a file that something emptied) is made anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner.base.sqlite_url import sqlite_url
from tuner.storage.optuna_private import TABLES, DatabaseStorage

SECONDS = 60.0  # to wait for another process that writes


def has_studies(path: Path) -> bool:
    """Whether the file holds Optuna's tables, or something that is not ours to replace.

    False: there is no file, it has no tables, or it has some of Optuna's and no study in them.

    Raises:
        sqlite3.Error: it is damaged, is no database, or cannot be read.
    """
    if not path.exists():
        return False
    with contextlib.closing(sqlite3.connect(path, timeout=SECONDS)) as connection:
        found = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if found >= TABLES or found - TABLES:
            return True
        return "studies" in found and bool(connection.execute("SELECT count(*) FROM studies").fetchone()[0])


def make(path: Path, say: Callable[[str], None]) -> None:
    """Makes the tables where there are none. Call it with the storage's lock."""
    if has_studies(path):
        return
    if path.exists():
        say(f"{path}: had no tables (was it emptied, or copied without its -wal file?): created again")
    for left_over in path.parent.glob(f".{path.name}.new*"):
        left_over.unlink()
    beside = path.with_name(f".{path.name}.new")
    create(beside).engine.dispose()
    put(beside, path)


class _Unsynced(sqlite3.Connection):
    """A connection to a file that nobody relies on yet: no write waits for the disk."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA synchronous=OFF")
        self.execute("PRAGMA journal_mode=MEMORY")


def create(path: Path) -> DatabaseStorage:
    """A new database; `put` gives it its place."""
    return DatabaseStorage(sqlite_url(path), {"connect_args": {"factory": _Unsynced}}, create=True)


def put(beside: Path, path: Path) -> None:
    """Renames a database that nobody has open to its place, once the disk has it."""
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    for suffix in ("-wal", "-shm"):  # of an earlier file: SQLite would write them into the new one
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    beside.replace(path)
