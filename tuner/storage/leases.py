"""Which process runs a trial, and how other processes notice that it is gone.

A lease names its owner (host, machine, boot, process, start of the process) and has a beat, a number that the
owner raises every few seconds. An owner on this machine is gone when its process has ended, and with it all
that it started. Any other owner, and a process that is stopped, is gone when an observer has seen no new beat
for a whole term. The observer measures the term with its own monotonic clock, because wall clocks jump and
differ between hosts. Time in which the storage could not be reached does not count.

Two machines may have the same host name, and processes in different containers do not see each other. So a
process is only looked for if its boot and its process namespace are those of this process.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tuner.base.left_over import LeftOver

TERM_SECONDS = 60.0  # an owner without a new beat for this long is taken for dead
BEATS_PER_TERM = 5

_beats = itertools.count()


@dataclass(frozen=True)
class Owner:
    """A process. `started` tells it from a later one with the same id; `space` is its PID namespace.

    `mark` is in the environment of all that it started, where it is an agent (`left_over`).
    """

    host: str
    boot: str
    pid: int
    started: str
    machine: str = ""
    space: str = ""
    mark: str = ""

    @classmethod
    def this_process(cls, *, mark: str = "") -> Owner:
        pid, started = os.getpid(), process_start(os.getpid()) or ""
        return cls(socket.gethostname(), boot_id(), pid, started, machine_id(), process_space(), mark)

    def lease(self, beat: int | None = None) -> dict[str, Any]:
        """What is stored with the trial; without `beat` it has one that no lease of this process had before.

        So a trial that its owner pauses and resumes has another lease than before: an observer that last
        looked at the first one does not take the second for as old.
        """
        return {**asdict(self), "beat": next(_beats) if beat is None else beat}


@cache
def boot_id() -> str:
    """Identifies this boot of this machine (on Linux); "" if the system has no such id."""
    return _told(Path("/proc/sys/kernel/random/boot_id").read_text)


@cache
def machine_id() -> str:
    """Identifies this machine, also after a reboot; "" if the system has no such id."""
    return _told(Path("/etc/machine-id").read_text)


@cache
def process_space() -> str:
    """The PID namespace of this process (each container has its own); "" if the system has none."""
    return _told(Path("/proc/self/ns/pid").readlink)


def _told(read: Callable[[], str | Path]) -> str:
    try:
        return str(read()).strip()
    except OSError:
        return ""


def agent_of(lease: Mapping[str, Any] | None) -> str:
    """The process that holds a lease, as `host pid`; "" where that is not known."""
    return f"{lease['host']} {lease['pid']}" if lease and {"host", "pid"} <= lease.keys() else ""


def is_here(lease: Mapping[str, Any]) -> bool:
    """Whether this process could see the owner of the lease, if the owner is alive."""
    return (
        lease.get("host") == socket.gethostname()
        and lease.get("boot") == boot_id()
        and lease.get("space", process_space()) == process_space()
    )


def _restarted(lease: Mapping[str, Any]) -> bool:
    """Whether this machine, and not another with its name, was rebooted after the lease was written."""
    return (
        lease.get("host") == socket.gethostname()
        and lease.get("machine", machine_id()) == machine_id()
        and lease.get("boot") != boot_id()
    )


def process_start(pid: int) -> str | None:
    """When the process started, in ticks of the kernel; "" if the system does not say; None: no such process.

    A zombie (it has ended, but its parent has not waited for it) counts as no process.
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


@dataclass
class Observer:
    """Remembers when each lease last changed, and says which owners are gone.

    Attributes:
        term: seconds without a new beat after which an owner is taken for dead.
        clock: a monotonic clock, in seconds.
        since: when the storage last came back, by that clock; no term starts earlier.
    """

    term: float = TERM_SECONDS
    clock: Callable[[], float] = time.monotonic
    since: Callable[[], float] = lambda: -math.inf
    _seen: dict[int, tuple[Mapping[str, Any], float]] = field(default_factory=dict)
    _left_over: dict[str, LeftOver] = field(default_factory=dict)  # by mark

    def gone(self, trial_id: int, lease: Mapping[str, Any]) -> str | None:
        """Why the owner of `trial_id` is gone, in words; None if it may be alive."""
        if _restarted(lease):
            return "the machine was restarted"
        if is_here(lease):
            started = process_start(int(lease["pid"]))
            if started is None or started != lease.get("started"):
                return f"process {lease['pid']} has died" if self._took_all_along(lease) else None
        last = self._seen.get(trial_id)
        now = self.clock()
        if last is None or last[0] != lease:
            self._seen[trial_id] = (dict(lease), now)
            return None
        if now - max(last[1], self.since()) > self.term:
            return f"process {lease['pid']} on {lease['host']} sent no sign of life for {self.term:.0f} s"
        return None

    def _took_all_along(self, lease: Mapping[str, Any]) -> bool:
        """Whether nothing is left of what a dead owner started; until then its trial is still being run."""
        mark = str(lease.get("mark") or "")
        left_over = self._left_over.setdefault(mark, LeftOver(mark, clock=self.clock))
        return left_over.gone()


class Heartbeat:
    """A thread that raises the beat of the trial that this process runs.

    Args:
        renew: writes a lease for a trial; returns False if the trial was given to another agent.
        term: the term of the observers.
    """

    def __init__(
        self, owner: Owner, renew: Callable[[int, Mapping[str, Any]], bool], *, term: float = TERM_SECONDS
    ) -> None:
        self._owner = owner
        self._renew = renew
        self._pause = term / BEATS_PER_TERM
        self._trial_id: int | None = None
        self._wake = threading.Condition()
        self.lost = False
        self.error: Exception | None = None
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def watch(self, trial_id: int | None) -> None:
        """Beats for `trial_id` from now on; None: stops."""
        with self._wake:
            self._trial_id, self.lost, self.error = trial_id, False, None
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
                lease = self._owner.lease()
            try:
                alive = self._renew(watched, lease)
            except Exception as error:
                # A full disk or a locked database: the next report fails as well, and says so.
                self.error = error
                continue
            with self._wake:
                if self._trial_id == watched and not alive:
                    self.lost, self._trial_id = True, None
