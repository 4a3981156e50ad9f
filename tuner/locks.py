"""One writer at a time: the lock under which agents of every process claim, give back and finish trials.

SQLite has a single writer and no `SELECT … FOR UPDATE`, so two agents that pop the same queued trial both
run it; a file lock around the few statements that matter rules that out. It also spares the agents SQLite's
own waiting, which sleeps up to 100 ms between tries. A server database would implement the same protocol
with an advisory lock.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from model.errors import InputError, WorkFailed


class StorageLock(Protocol):
    """Mutual exclusion between all processes that use one storage; a thread may enter it again."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileLock:
    """`flock` on a file beside the database; the kernel drops it when its holder dies, however it dies.

    Args:
        path: the lock file; made when missing, never removed.
        timeout: seconds to wait before giving up with the holder's process id.
    """

    def __init__(
        self, path: Path, *, timeout: float = 60.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.path = path
        self._timeout = timeout
        self._sleep = sleep
        self._thread = threading.RLock()
        self._depth = 0
        self._file = -1
        self._random = random.Random(os.getpid())

    def __enter__(self) -> None:
        self._thread.acquire()
        if self._depth == 0:
            try:
                self._acquire()
            except BaseException:
                self._thread.release()
                raise
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            os.close(self._file)  # closing drops the lock
        self._thread.release()

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
                self._sleep(pause * (0.5 + self._random.random()))
                pause = min(2 * pause, 0.01)
        with contextlib.suppress(OSError):  # a full disk must not keep anyone from giving a trial back
            os.pwrite(self._file, f"{os.getpid():<20}".encode(), 0)


def lock_for(url: str) -> StorageLock:
    """The lock that belongs to a storage URL.

    Raises:
        InputError: the URL names a database that has no lock here.
    """
    path = sqlite_path(url)
    if path is None:
        kind = url.split(":", 1)[0]
        raise InputError(f"--storage: expected sqlite:///FILE, got a '{kind}' URL, which is not supported")
    return FileLock(path.with_name(path.name + ".lock"))


def sqlite_path(url: str) -> Path | None:
    """The database file of a `sqlite:///FILE` URL; None for any other URL."""
    prefix = "sqlite:///"
    return Path(url[len(prefix) :]) if url.startswith(prefix) and len(url) > len(prefix) else None
