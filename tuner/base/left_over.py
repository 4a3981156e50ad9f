"""Finds and ends what a dead agent has left running: scripts, helpers, and what left its session and parent.

An agent is started with a mark in its environment, which all that it starts inherit. The mark is read where
the system shows the environment of a process: on Linux in /proc, elsewhere through psutil, if it is there.
Where neither is, nothing is found, and only what `keeper` ends is ended.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

VARIABLE = "TUNER_AGENT"
TERM_SECONDS = 3.0  # between SIGTERM and SIGKILL; a keeper ends its script within it
HOPELESS_SECONDS = 60.0  # what SIGKILL has not ended until then (it hangs in a driver) is not waited for


def new_mark() -> str:
    """The mark of an agent that is about to be started; it continues that of this process, if it has one."""
    return "/".join(filter(None, [os.environ.get(VARIABLE), uuid.uuid4().hex]))


class LeftOver:
    """The processes with a mark, beside this one.

    Args:
        mark: "": of an agent that had none; nothing is found.
    """

    def __init__(self, mark: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._mark = mark
        self._clock = clock
        self._since: float | None = None

    def gone(self) -> bool:
        """Asks what is left to end, kills it if it does not; True when nothing is left. Does not wait."""
        left = processes(self._mark) if self._mark else []
        if not left:
            return True
        now, first = self._clock(), self._since is None
        self._since = now if self._since is None else self._since
        if first or now - self._since > TERM_SECONDS:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM if first else signal.SIGKILL)
        return now - self._since > HOPELESS_SECONDS

    def end(self, seconds: float = 2 * TERM_SECONDS) -> bool:
        """Waits until nothing is left, `seconds` at most."""
        end = self._clock() + seconds
        while not self.gone():
            if self._clock() > end:
                return False
            time.sleep(0.02)
        return True


def processes(mark: str) -> list[int]:
    """The processes of this user whose environment has the mark, or one that continues it."""
    found = _in_proc if Path("/proc/self/environ").exists() else _by_psutil
    own = os.getpid()
    return [pid for pid, value in found() if pid != own and f"{value}/".startswith(f"{mark}/")]


def _in_proc() -> Iterator[tuple[int, str]]:
    name = f"{VARIABLE}=".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            for part in (entry / "environ").read_bytes().split(b"\0"):
                if part.startswith(name):
                    yield int(entry.name), os.fsdecode(part[len(name) :])
        except OSError:  # it has ended, or is another user's
            continue


def _by_psutil() -> Iterator[tuple[int, str]]:
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        return
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            yield process.pid, process.environ().get(VARIABLE, "")
