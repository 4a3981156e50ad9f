"""One writer at a time: the lock that is held while an agent claims, releases or finishes a trial.

SQLite has no `SELECT … FOR UPDATE`, so two agents could take the same queued trial, and both would run it. A
file lock around these few statements prevents that. It also avoids SQLite's own waiting, which sleeps up to
100 ms between tries. For PostgreSQL the lock is an advisory lock of the server, for agents on all hosts. The
server drops it when the session ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import Connection, Engine

from tuner.base.errors import WorkFailed
from tuner.storage.outage import StorageUnreachable, is_unreachable

LOCK_SECONDS = 60.0  # how long to wait for the lock
APPLICATION = "gcode-tuner"  # name of our connections on the server, followed by PROCESS@HOST


class Reentrant(ABC):
    """Mutual exclusion between all processes that use one storage. A thread that holds it may enter again."""

    def __init__(self) -> None:
        self._thread_lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._thread_lock.acquire()
        if self._depth == 0:
            try:
                self._acquire()
            except BaseException:
                self._thread_lock.release()
                raise
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._release()
        self._thread_lock.release()

    @abstractmethod
    def _acquire(self) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...


class FileLock(Reentrant):
    """`flock` on a file beside the database; the kernel drops it when the process that holds it ends.

    Args:
        path: the lock file; made if missing, never removed.
        timeout: seconds to wait; then the error names the process that holds the lock.
    """

    def __init__(self, path: Path, *, timeout: float = LOCK_SECONDS) -> None:
        super().__init__()
        self.path = path
        self._timeout = timeout
        self._file = -1
        self._random = random.Random(os.getpid())

    def _release(self) -> None:
        os.close(self._file)  # closing drops the lock

    def _acquire(self) -> None:
        import fcntl

        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise WorkFailed(f"storage {self.path.parent} cannot be written: {error.strerror}") from None
        start, pause = time.monotonic(), 0.0005
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - start > self._timeout:
                    holder = os.pread(self._file, 32, 0).decode(errors="replace").strip()
                    os.close(self._file)
                    raise WorkFailed(
                        f"{self.path}: process {holder or '?'} has held the storage for "
                        f"{self._timeout:.0f} s; end it if it hangs or is stopped, then start again"
                    ) from None
                time.sleep(pause * (0.5 + self._random.random()))
                pause = min(2 * pause, 0.01)
        with contextlib.suppress(OSError):  # a trial can be released also on a full disk
            os.pwrite(self._file, f"{os.getpid():<20}".encode(), 0)


class AdvisoryLock(Reentrant):
    """A PostgreSQL advisory lock on its own connection; the server drops it when the connection ends.

    The process that holds it writes on this connection only (`connection`). So a process that has lost the
    lock with its connection cannot go on writing on another.

    Args:
        engine: makes the connection.
        where: the storage's URL without its password, for messages.
    """

    def __init__(self, engine: Engine, *, where: str) -> None:
        super().__init__()
        self._engine = engine
        self._where = where
        self._connection: Connection | None = None
        self._key = 0

    def connection(self) -> Connection:
        """The connection that holds the lock. Raises StorageUnreachable if that was dropped."""
        if self._connection is None or self._connection.invalidated:
            raise StorageUnreachable("the connection was dropped")
        return self._connection

    def close(self) -> None:
        """Closes the connection; does nothing while the lock is held."""
        with self._thread_lock:
            if self._depth == 0:
                self._close()

    def _acquire(self) -> None:
        for fresh in (self._connection is None, True):  # an idle connection may have been dropped
            try:
                if self._connection is None:
                    self._connection = self._engine.connect()
                    schema = self._connection.execute(sqlalchemy.text("SELECT current_schema()")).scalar_one()
                    self._key = _advisory_key(str(schema))
                self._connection.execute(
                    sqlalchemy.text("SELECT set_config('lock_timeout', :ms, false), pg_advisory_lock(:key)"),
                    {"ms": f"{LOCK_SECONDS * 1000:.0f}", "key": self._key},
                )
                self._connection.commit()  # the lock belongs to the session, not to the transaction
                return
            except sqlalchemy.exc.DBAPIError as error:
                self._close()
                if getattr(error.orig, "sqlstate", None) == "55P03":
                    raise WorkFailed(self._held()) from None
                if fresh or not is_unreachable(error):
                    raise

    def _release(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.rollback()
            done = self._connection.execute(
                sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": self._key}
            ).scalar_one()
            self._connection.commit()
            if not done:  # the connection is a new one, without the lock
                self._close()
        except sqlalchemy.exc.SQLAlchemyError:
            self._close()  # the server drops the lock with the session

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            for end in (connection.invalidate, connection.close):
                with contextlib.suppress(Exception):
                    end()

    def _held(self) -> str:
        """The message that names the process that has the lock, which the server knows."""
        query = """
            SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'its own machine')
            FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (l.classid::bigint << 32) | l.objid::bigint = :key"""
        with self._engine.connect() as connection:
            row = connection.execute(sqlalchemy.text(query), {"key": self._key}).first()
        who, backend = "another program", ""
        if row is not None:
            name = str(row[1])
            process, _, machine = name.removeprefix(APPLICATION).strip().partition("@")
            who = f"process {process} on {machine}" if machine else name or who
            backend = f" (PostgreSQL backend {row[0]}, connected from {row[2]})"
        return (
            f"storage {self._where}: {who}{backend} has held the storage for {LOCK_SECONDS:.0f} s; "
            "end it if it hangs or is stopped, then start again"
        )


def _advisory_key(schema: str) -> int:
    """The key of a schema's lock, 63 bits (PostgreSQL's keys are signed). Each database has its own locks."""
    return int.from_bytes(hashlib.sha256(f"{APPLICATION} {schema}".encode()).digest()[:8], "big") >> 1
