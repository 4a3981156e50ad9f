"""What happens when the storage fails: a wait while it cannot be reached, or an error in one line.

A trial that trains for hours must survive a database that restarts and a network that drops. Its reports stay
in memory until the storage answers again (`records`), and its end waits for the storage. After
`PATIENCE_SECONDS` the agent gives up; the trial runs again when the study is resumed. Errors for which
waiting does not help (a full disk, a wrong password) are raised at once.
"""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, TypeVar

import optuna
import sqlalchemy.exc

from tuner.base.errors import WorkFailed
from tuner.base.sqlite_url import sqlite_path
from tuner.base.words import short_duration

PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 2.0  # between tries to reach the storage
CONNECTION_STATES = ("08", "57P")  # SQLSTATE classes: connection lost; server shutting down or starting up

DAMAGE = ("database disk image is malformed", "file is not a database")  # SQLite's messages

T = TypeVar("T")


class StorageFailed(WorkFailed):
    """The storage cannot be read or written. Its contents are not lost, and the study can be resumed."""


class StorageUnreachable(StorageFailed):
    """The storage does not answer now; it may later."""


class _Unreachable(Enum):
    UNREACHABLE = "unreachable"


UNREACHABLE = _Unreachable.UNREACHABLE
MaybeUnreachable = Literal[_Unreachable.UNREACHABLE]


@dataclass
class Patience:
    """Waits for a storage that cannot be reached, and decides when to give up. One for each process.

    Attributes:
        where: the storage's URL without its password, for messages.
        limit: seconds without an answer after which `StorageFailed` is raised.
        clock: a monotonic clock, in seconds.
        stopping: called while waiting; True: give up now.
        say: told in a line that it waits.
    """

    where: str
    limit: float = PATIENCE_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    stopping: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda line: None
    _unreachable_since: float | None = None
    _cause: str = ""
    _try_at: float = 0.0
    _back_at: float = -math.inf

    def __post_init__(self) -> None:
        self._back_at = self.clock()

    def back_at(self) -> float:
        """When the storage last came back or was opened; no other agent could send a beat before then."""
        return self.clock() if self._unreachable_since is not None else self._back_at

    def once(self, work: Callable[[], T]) -> T:
        """Calls `work`; errors of the storage become `StorageFailed` or `StorageUnreachable`."""
        with storage_errors(self.where):
            return work()

    def attempt(self, work: Callable[[], T]) -> T | MaybeUnreachable:
        """Calls `work` once; returns `UNREACHABLE` if the storage does not answer.

        Raises:
            StorageFailed: it has not answered for `limit` seconds.
        """
        if self._unreachable_since is not None and self.clock() < self._try_at:
            return UNREACHABLE
        try:
            result = self.once(work)
        except StorageUnreachable as error:
            self._note_failure(error)
            return UNREACHABLE
        if self._unreachable_since is not None:
            self._unreachable_since, self._back_at = None, self.clock()
        return result

    def insist(self, work: Callable[[], T]) -> T:
        """Calls `work` until the storage answers. Must not be called while the storage's lock is held.

        Raises:
            StorageFailed: it has not answered for `limit` seconds, or the process is asked to stop.
        """
        waited = False
        while True:
            result = self.attempt(work)
            if result is not UNREACHABLE:
                if waited:
                    self.say("the storage answers again")
                return result
            if not waited:
                waited = True
                self.say(
                    f"the storage {self.where} does not answer ({self._cause}); "
                    f"waiting for it, for up to {short_duration(self.limit)}"
                )
            if self.stopping():
                raise StorageFailed(
                    f"storage {self.where} cannot be reached, so no trial could be returned to the queue: "
                    "run the same command again to continue"
                )
            self.sleep(min(RETRY_SECONDS, self.limit / 4))

    def _note_failure(self, error: Exception) -> None:
        """Notes that the storage did not answer; raises StorageFailed if that has lasted too long."""
        now, self._cause = self.clock(), cause_of(error)
        if self._unreachable_since is None:
            self._unreachable_since = now
        self._try_at = now + min(RETRY_SECONDS, self.limit / 4)
        if now - self._unreachable_since > self.limit:
            raise StorageFailed(
                f"storage {self.where} has not answered for {now - self._unreachable_since:.0f} s "
                f"({self._cause}); its trials continue when the study does: "
                "run the same command again"
            ) from error


def is_storage_error(error: BaseException) -> bool:
    """Whether the storage raised the error, not the objective."""
    grpc = sys.modules.get("grpc")  # if it is not loaded, it cannot have raised the error
    return isinstance(
        error,
        optuna.exceptions.StorageInternalError
        | sqlalchemy.exc.SQLAlchemyError
        | sqlite3.Error
        | StorageFailed,
    ) or (grpc is not None and isinstance(error, grpc.RpcError))


def is_damage(error: BaseException) -> bool:
    """Whether an SQLite file cannot be read as one."""
    while error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    return isinstance(original, sqlite3.DatabaseError) and str(original) in DAMAGE


def is_unreachable(error: BaseException) -> bool:
    """Whether the storage did not answer: the same call may succeed later."""
    while True:
        # PendingRollbackError: the connection was lost earlier in the same transaction
        if isinstance(error, StorageUnreachable | sqlalchemy.exc.PendingRollbackError):
            return True
        if isinstance(error, sqlalchemy.exc.DBAPIError):
            return _is_lost_connection(error)
        grpc = sys.modules.get("grpc")
        if grpc is not None and isinstance(error, grpc.RpcError):
            code = getattr(error, "code", lambda: None)()
            return code is not None and code.name in ("UNAVAILABLE", "CANCELLED")
        if error.__cause__ is None:
            return False
        error = error.__cause__


def _is_lost_connection(error: sqlalchemy.exc.DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    raised = error.orig
    if not type(raised).__module__.startswith("psycopg"):
        return False
    state = getattr(raised, "sqlstate", None)
    if state is None:  # errors of libpq: no route, refused, timed out, closed unexpectedly
        return type(raised).__name__ in ("OperationalError", "ConnectionTimeout")
    return str(state).startswith(CONNECTION_STATES)


def cause_of(error: BaseException) -> str:
    """The first cause of an error, in words: Optuna wraps SQLAlchemy's errors, SQLAlchemy the driver's."""
    while error.__cause__ is not None and not hasattr(error, "details"):
        error = error.__cause__
    if isinstance(error, sqlalchemy.exc.PendingRollbackError):
        return "the connection was lost"
    original = getattr(error, "orig", None) or error
    details = getattr(original, "details", None)
    told = (details() if callable(details) else "") or str(original)
    lines = str(told).strip().splitlines()
    text = hide_password(lines[0]) if lines else type(original).__name__
    advice = {
        "database or disk is full": "the disk is full (free some space)",
        "disk I/O error": "the disk cannot be written (full, or gone?)",
        "attempt to write a readonly database": "it is read-only",
        "unable to open database file": "it cannot be opened or written (folder missing or read-only?)",
        "file is not a database": "that file is not an SQLite database",
        "database is locked": "another program has kept it locked for 60 s",
    }
    return advice.get(text, text)


def hide_password(text: str) -> str:
    """`text` with `***` for the passwords in URLs."""
    text = re.sub(r"(://[^:/@\s]*):[^\s]*@", r"\1:***@", text)
    return re.sub(r"([?&](?:password|sslpassword|token)=)[^&\s]*", r"\1***", text)


@contextlib.contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turns the errors of SQLAlchemy, Optuna and the drivers into `StorageFailed`, with one line; those of a
    storage that may answer later into `StorageUnreachable`.
    """
    try:
        yield
    except Exception as error:
        if not is_storage_error(error) or type(error) is StorageFailed:
            raise
        kind = StorageUnreachable if is_unreachable(error) else StorageFailed
        raise kind(f"storage {hide_password(where)}: {cause_of(error)}; {_advice(where, error)}") from error


def _advice(where: str, error: Exception) -> str:
    """What to do about an error, and what is known of the finished trials."""
    if is_damage(error):
        return (
            "the file is damaged: tuner doctor --repair keeps a copy of it, saves what can be read "
            "and takes the other finished trials from their run folders"
        )
    path = sqlite_path(where)
    again = "run the same command again to continue"
    if path is not None and path.exists() and is_sound(path):
        return f"nothing finished is lost (the file was checked), {again}"
    return again


def is_sound(path: Path) -> bool:
    """Whether SQLite can read every page of the file. Changes nothing."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        ) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)])
    except sqlite3.Error:
        return False
