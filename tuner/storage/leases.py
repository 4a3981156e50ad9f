"""Who runs a trial, and how others notice that he is gone.

A lease names its owner (host, machine, boot, process, start of the process) and carries a beat that the
owner raises every few seconds. No clock is compared between processes: an owner on this machine is gone when
its process is; any other owner, or one that is alive but stopped, is gone when an observer has seen no new
beat for a whole term of the observer's own monotonic clock. Wall clocks may jump and hosts may disagree on
the time; a storage that nobody could reach for a while has proved nothing about anybody.

A host's name alone says little: two machines may share one, and containers of one machine have processes
that do not see each other. So a process is looked for only where its boot and its process namespace are ours.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

TERM_SECONDS = 60.0  # without a new beat for this long, an owner is given up for dead
BEATS_PER_TERM = 5


@dataclass(frozen=True)
class Owner:
    """A process: `started` tells it from a later one with the same id, `space` from another container's."""

    host: str
    boot: str
    pid: int
    started: str
    machine: str = ""
    space: str = ""

    @classmethod
    def this_process(cls) -> Owner:
        pid = os.getpid()
        return cls(
            socket.gethostname(), boot_id(), pid, process_start(pid) or "", machine_id(), process_space()
        )

    def lease(self, beat: int) -> dict[str, Any]:
        """What is stored with the trial."""
        return {**asdict(self), "beat": beat}


@cache
def boot_id() -> str:
    """Identifies this boot of this machine, where the system tells (Linux); an empty string elsewhere."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@cache
def machine_id() -> str:
    """Identifies this machine over its boots, where the system tells; an empty string elsewhere."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


@cache
def process_space() -> str:
    """The namespace that process ids here belong to (containers have their own); "" where none is told."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def is_here(lease: Mapping[str, Any]) -> bool:
    """Whether the lease's owner, if it lives, is among the processes that this one sees."""
    return (
        lease.get("host") == socket.gethostname()
        and lease.get("boot") == boot_id()
        and lease.get("space", process_space()) == process_space()
    )


def _restarted(lease: Mapping[str, Any]) -> bool:
    """Whether this very machine, and not another of its name, has been started anew since."""
    return (
        lease.get("host") == socket.gethostname()
        and lease.get("machine", machine_id()) == machine_id()
        and lease.get("boot") != boot_id()
    )


def process_start(pid: int) -> str | None:
    """When the process started, as the kernel counts; "" where that is not told; None: no such process.

    A zombie, which has died but was not waited for, counts as no process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


class Observer:
    """Remembers when each lease last changed, and tells which owners are gone.

    Args:
        term: seconds without a beat after which an owner that seems alive is given up.
        clock: a monotonic clock, in seconds.
        since: when, by that clock, the storage was last found to answer again; beats were due from then on.
    """

    def __init__(
        self,
        *,
        term: float = TERM_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        since: Callable[[], float] = lambda: -math.inf,
    ) -> None:
        self._term = term
        self._clock = clock
        self._since = since
        self._seen: dict[int, tuple[Mapping[str, Any], float]] = {}

    def gone(self, trial_id: int, lease: Mapping[str, Any]) -> str | None:
        """Why the owner of `trial_id` is gone, in words; None while he may be alive."""
        if _restarted(lease):
            return "the machine was restarted"
        if is_here(lease):
            started = process_start(int(lease["pid"]))
            if started is None or started != lease.get("started"):
                return f"process {lease['pid']} has died"
        last = self._seen.get(trial_id)
        now = self._clock()
        if last is None or last[0] != lease:
            self._seen[trial_id] = (dict(lease), now)
            return None
        if now - max(last[1], self._since()) > self._term:
            return f"process {lease['pid']} on {lease['host']} gave no sign for {self._term:.0f} s"
        return None


class Heartbeat:
    """Raises the beat of the trial that this process runs, from a thread, while training computes.

    Args:
        renew: writes a lease for a trial; False when the trial was given away.
        term: the term that observers grant.
    """

    def __init__(
        self, owner: Owner, renew: Callable[[int, Mapping[str, Any]], bool], *, term: float = TERM_SECONDS
    ) -> None:
        self._owner = owner
        self._renew = renew
        self._pause = term / BEATS_PER_TERM
        self._trial_id: int | None = None
        self._beat = 0
        self._wake = threading.Condition()
        self.lost = False
        self.error: Exception | None = None
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def watch(self, trial_id: int | None) -> None:
        """Beats for `trial_id` from now on; None: for no trial."""
        with self._wake:
            self._trial_id, self._beat, self.lost, self.error = trial_id, 0, False, None
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._trial_id is None:
                    self._wake.wait()
                watched = self._trial_id
                self._wake.wait(self._pause)
                if watched is None or self._trial_id != watched:
                    continue
                self._beat += 1
                lease = self._owner.lease(self._beat)
            try:
                alive = self._renew(watched, lease)
            except Exception as error:
                # A full disk or a locked database: the next report meets it too and says so.
                self.error = error
                continue
            with self._wake:
                if self._trial_id == watched and not alive:
                    self.lost, self._trial_id = True, None
