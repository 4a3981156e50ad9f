"""When the storage fails: an error in one line, or patience while it cannot be reached for a while.

A database that restarts or a network that drops must not cost a trial that trains for hours. Reports stay in
memory until the storage answers again (`buffered`), the end of a trial waits for it, and only after
`PATIENCE_SECONDS` is the trial left to be taken up again by a resume. Errors that waiting does not mend (a
full disk, a wrong password) are raised at once.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from collections.abc import Callable
from enum import Enum
from typing import Literal, TypeVar

import optuna
import sqlalchemy.exc

from tuner.base.errors import WorkFailed

PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 2.0  # between tries to reach the storage
CONNECTION_STATES = ("08", "57P")  # SQLSTATE classes: connection lost; server shutting down or starting up

T = TypeVar("T")


class StorageFailed(WorkFailed):
    """The storage cannot be read or written; what is in it stays, and the study can be resumed."""


class StorageUnreachable(StorageFailed):
    """The storage does not answer now; it may later."""


class _Unreachable(Enum):
    UNREACHABLE = "unreachable"


UNREACHABLE = _Unreachable.UNREACHABLE
MaybeUnreachable = Literal[_Unreachable.UNREACHABLE]


class Patience:
    """Decides for one process how long a storage that cannot be reached is waited for.

    Args:
        where: the storage, as it may be shown.
        limit: seconds without an answer after which `StorageFailed` is raised.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        where: str,
        *,
        limit: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.where = where
        self.limit = limit
        self.stopping: Callable[[], bool] = lambda: False  # asked while waiting; True gives up at once
        self._clock = clock
        self._sleep = sleep
        self._unreachable_since: float | None = None
        self._try_at = 0.0
        self._back_at = clock()

    def back_at(self) -> float:
        """When the storage last came back (or was opened): silence before then proves nothing."""
        return self._clock() if self._unreachable_since is not None else self._back_at

    def attempt(self, work: Callable[[], T]) -> T | MaybeUnreachable:
        """Does `work` now, or nothing: `UNREACHABLE` when the storage does not answer.

        Raises:
            StorageFailed: it has not answered for `limit` seconds.
        """
        if self._unreachable_since is not None and self._clock() < self._try_at:
            return UNREACHABLE
        try:
            result = work()
        except Exception as error:
            if not is_unreachable(error):
                raise
            self._note_failure(error)
            return UNREACHABLE
        self._note_answer()
        return result

    def insist(self, work: Callable[[], T]) -> T:
        """Does `work`, waiting for the storage where it must. Not to be called under the storage's lock.

        Raises:
            StorageFailed: it has not answered for `limit` seconds, or the process is asked to stop.
        """
        while True:
            result = self.attempt(work)
            if result is not UNREACHABLE:
                return result
            if self.stopping():
                raise StorageFailed(
                    f"storage {self.where} cannot be reached, so nothing could be put back: "
                    "run the same command again to go on"
                )
            self._sleep(min(RETRY_SECONDS, self.limit / 4))

    def _note_failure(self, error: Exception) -> None:
        """Notes that the storage did not answer; raises StorageFailed where that has lasted too long."""
        now = self._clock()
        if self._unreachable_since is None:
            self._unreachable_since = now
        self._try_at = now + min(RETRY_SECONDS, self.limit / 4)
        if now - self._unreachable_since > self.limit:
            raise StorageFailed(
                f"storage {self.where} has not answered for {now - self._unreachable_since:.0f} s "
                f"({cause_of(error)}); its trial is taken up again when the study is resumed: "
                "run the same command again"
            ) from error

    def _note_answer(self) -> None:
        """Notes that the storage answers."""
        if self._unreachable_since is not None:
            self._unreachable_since = None
            self._back_at = self._clock()


def is_storage_error(error: BaseException) -> bool:
    """Whether the storage, not the objective, raised this."""
    grpc = sys.modules.get("grpc")  # where it is not loaded, nothing of it can have been raised
    return isinstance(
        error,
        optuna.exceptions.StorageInternalError
        | sqlalchemy.exc.SQLAlchemyError
        | sqlite3.Error
        | StorageFailed,
    ) or (grpc is not None and isinstance(error, grpc.RpcError))


def is_unreachable(error: BaseException) -> bool:
    """Whether the storage did not answer, so that the same call may succeed later."""
    while True:
        if isinstance(error, StorageUnreachable):
            return True
        if isinstance(error, sqlalchemy.exc.DBAPIError):
            return _is_lost_connection(error)
        grpc = sys.modules.get("grpc")
        if grpc is not None and isinstance(error, grpc.RpcError):
            return _code(error) in ("UNAVAILABLE", "CANCELLED")
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
    if state is None:  # libpq's own errors: no route, refused, timed out, closed unexpectedly
        return type(raised).__name__ in ("OperationalError", "ConnectionTimeout")
    return str(state).startswith(CONNECTION_STATES)


def cause_of(error: BaseException) -> str:
    """The innermost reason, in words: SQLAlchemy wraps the driver's error, Optuna wraps SQLAlchemy's."""
    while error.__cause__ is not None and not hasattr(error, "details"):
        error = error.__cause__
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
    """`text` with the passwords of URLs in it replaced, fit to be shown."""
    text = re.sub(r"(://[^:/@\s]*):[^\s]*@", r"\1:***@", text)
    return re.sub(r"([?&](?:password|sslpassword|token)=)[^&\s]*", r"\1***", text)


def _code(error: BaseException) -> str:
    code = getattr(error, "code", None)
    return code().name if callable(code) and code() is not None else ""
