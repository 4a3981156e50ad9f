"""The differences between SQLite and PostgreSQL: how each is opened, locked and written to.

Only `database_for` looks at the kind of a URL; all other code uses what both have: the methods, `lock`, which
is held while an agent claims, releases or finishes a trial, and `insert`, the INSERT of the SQL dialect with
`on_conflict_do_update`.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tuner.base import extras
from tuner.base.errors import InputError
from tuner.base.files import check_file, make_folder
from tuner.base.sqlite_url import sqlite_path, sqlite_url
from tuner.storage import sqlite_file
from tuner.storage.locks import APPLICATION, AdvisoryLock, FileLock
from tuner.storage.optuna_private import DatabaseStorage, transaction
from tuner.storage.outage import StorageFailed

DRIVER = "postgresql+psycopg"
POSTGRESQL = ("postgresql", "postgres", DRIVER)
SUPPORTED = "sqlite:///FILE, postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"
BEGIN = "start one with: tuner study FILE.yaml"


class NoStudiesYet(InputError):
    """No study was ever made in this storage."""


class WalConnection(sqlite3.Connection):
    """A connection in WAL mode; SQLAlchemy makes all connections of its pool with this class.

    It makes no file: where one was removed while agents run, an empty one would take its place.
    """

    def __init__(self, database: str, timeout: float = 60, **options: Any) -> None:
        there = f"{Path(database).resolve().as_uri()}?mode=rw"
        super().__init__(there, timeout, **{**options, "uri": True})
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


class Sqlite:
    """A file on a local disk, for the agents of one machine.

    Measured with optuna 5.0 (8 parameters, 20 reports a trial): SQLite with its defaults does 2–10 trials a
    second, with pauses of up to 8.7 s; in WAL mode with `synchronous=NORMAL` 19–31, and up to 0.8 s.
    """

    def __init__(self, path: Path) -> None:
        from sqlalchemy.dialects.sqlite import insert

        if path.exists():
            check_file(path, sys.maxsize)  # a pipe would be waited for
        self.path = path
        self._file: int | None = None  # inode of the file that is open
        self.lock = FileLock(path.with_name(path.name + ".lock"))
        self.insert = insert

    def storage(self, *, create: bool) -> DatabaseStorage:
        """Optuna's storage in it. `create`: makes the tables that are missing."""
        options = {"connect_args": {"timeout": 60, "factory": WalConnection}}
        return DatabaseStorage(sqlite_url(self.path), options, create=create)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Makes what the tables need; says what was wrong with it."""
        make_folder(self.path.parent)
        with self.lock:
            sqlite_file.make(self.path, say)

    def check(self) -> None:
        """Raises NoStudiesYet if there are no tables yet."""
        if not sqlite_file.has_studies(self.path):
            raise NoStudiesYet(f"{self.path}: no studies yet; {BEGIN}")

    def session(self, storage: RDBStorage) -> AbstractContextManager[Session]:
        """A transaction of the process that holds the lock; committed at the end.

        Refuses a file that took the place of the one that was opened: that one is written to unseen.
        """
        found = self.path.stat().st_ino if self.path.exists() else None
        self._file = self._file or found
        if found is None or found != self._file:
            raise StorageFailed(
                f"{self.path} was {'removed' if found is None else 'replaced'} while this process ran; "
                "trials that finished since are in their run folders: "
                "put the file back, or run tuner doctor --repair, then run the same command again"
            )
        return transaction(storage.scoped_session)

    def close(self) -> None:
        """Does nothing: the lock has its file open only while it is held."""


class Postgres:
    """A PostgreSQL server, for agents of any number of machines.

    An agent has two connections: it writes on that of the lock, and reads on one of the pool. libpq reads
    PGPASSWORD, ~/.pgpass and PGSERVICE as usual.
    """

    def __init__(self, url: URL) -> None:
        from sqlalchemy.dialects.postgresql import insert

        extras.need("postgresql", "--storage postgresql://")
        # it prints a traceback for a connection that is lost between two uses; `Patience` says what matters
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        self.url = url.set(drivername=DRIVER)
        # with these, both sides notice a dead host or network within half a minute
        server = "-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
        self._connect_args = {
            "connect_timeout": 10,
            "application_name": f"{APPLICATION} {os.getpid()}@{socket.gethostname()}"[:63],
            "keepalives": 1,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "options": f"{self.url.query.get('options', '')} {server}".strip(),
        }
        self._engine = sqlalchemy.create_engine(self.url, poolclass=NullPool, connect_args=self._connect_args)
        self._shown = self.url.set(drivername="postgresql").render_as_string(hide_password=True)
        self.lock: AdvisoryLock = AdvisoryLock(self._engine, where=self._shown)
        self.insert = insert

    def prepare(self, say: Callable[[str], None]) -> None:
        """Does nothing: many users may make tables but no database."""

    def storage(self, *, create: bool) -> DatabaseStorage:
        options = {
            "pool_size": 1,
            "max_overflow": 4,
            "pool_timeout": 60,
            "pool_pre_ping": True,  # no error if the server restarted between two reads
            "pool_recycle": 1800,  # firewalls drop idle connections
            "connect_args": self._connect_args,
        }
        return DatabaseStorage(self.url.render_as_string(hide_password=False), options, create=create)

    def check(self) -> None:
        if not sqlalchemy.inspect(self._engine).has_table("studies"):
            raise NoStudiesYet(f"{self._shown}: no studies yet; {BEGIN} --storage {self._shown}")

    def session(self, storage: RDBStorage) -> AbstractContextManager[Session]:
        connection = self.lock.connection()
        return transaction(lambda: Session(bind=connection))

    def close(self) -> None:
        self.lock.close()


Database = Sqlite | Postgres


def database_for(url: str) -> Database:
    """The database of a storage URL. Raises InputError if none that is supported has such a URL."""
    path = sqlite_path(url)
    if path is not None:
        return Sqlite(path)
    kind = url.split(":", 1)[0]
    if kind not in POSTGRESQL:
        raise InputError(f"--storage: expected {SUPPORTED}, got a '{kind}' URL, which is not supported")
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(
            "--storage: that is not a PostgreSQL URL; expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE "
            "(special characters of a password as %XX, or leave it to PGPASSWORD or ~/.pgpass)"
        ) from None
    return Postgres(parsed)
