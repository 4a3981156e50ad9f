"""Starts a study's agents, replaces the ones that die, and ends them in order.

Agents are plain spawned processes rather than a joblib (loky) pool: one killed worker breaks a whole loky
pool (TerminatedWorkerError), while here it costs its own trial alone, and each agent has a pipe of its own
through which it is asked to stop. Spawned, not forked: neither torch's threads nor database connections
survive a fork.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from tuner import agent

POLL_SECONDS = 0.2
QUICK_DEATH_SECONDS = 10.0  # an agent that dies this soon after its start, five times in a row, will again
MAX_QUICK_DEATHS = 5

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


@dataclass
class AgentState:
    """What the supervisor knows of one agent, for the view."""

    index: int
    process: SpawnProcess
    connection: Connection
    started: float
    doing: str = "starting"  # starting, ready, idle, running, left, died
    number: int | None = None
    epoch: int | None = None
    value: float | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened, for the view: kind is that of the agent's message, `died`, or `stopping`."""

    kind: str
    agent: int
    content: dict[str, Any]


class Supervisor:
    """Runs `agents` agents of one order until they leave.

    Args:
        agents: how many.
        on_event: told what happens; called from `run`.
        on_tick: called a few times a second, to redraw.
        timeout: seconds after which the agents are asked to stop; None never.
        memory: bytes that an agent needs; a further one is not started where less is available.
    """

    def __init__(
        self,
        order: agent.Order,
        *,
        agents: int,
        on_event: Callable[[Event], None] = lambda event: None,
        on_tick: Callable[[], None] = lambda: None,
        timeout: float | None = None,
        memory: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._order = order
        self._wanted = agents
        self._on_event = on_event
        self._on_tick = on_tick
        self._memory = memory
        self._clock = clock
        self._deadline = None if timeout is None else clock() + timeout
        self._quick_deaths = 0
        self._interrupts = 0
        self._short_of_memory = False
        self._asked = 0
        self.agents: list[AgentState] = []
        self.killed: list[int] = []  # process ids of agents that were stopped at once
        self.reason = ""
        self.fine = True
        self.timed_out = False

    @property
    def interrupted(self) -> bool:
        """Whether the user asked to stop."""
        return self._interrupts > 0

    def run(self) -> str:
        """Runs until the last agent has left; returns why, in words."""
        try:
            with _signals(self._interrupt):
                self._fill()
                while self.agents:
                    self._turn()
        finally:  # an error of our own must not leave agents behind: a closed pipe makes them leave
            for state in self.agents:
                state.connection.close()
        return self.reason

    # -- one turn of the loop

    def _turn(self) -> None:
        links = {state.connection: state for state in self.agents}
        sentinels = {state.process.sentinel: state for state in self.agents}
        for ready in wait([*links, *sentinels], timeout=POLL_SECONDS):
            state = links.get(ready) if isinstance(ready, Connection) else None
            if state is not None:
                self._read(state)
        for state in [s for s in self.agents if not s.process.is_alive()]:
            self._read(state)
            self._bury(state)
        if self._deadline is not None and self._clock() > self._deadline:
            self._deadline = None
            self.timed_out = True
            self._stop("time is up")
        if self._interrupts and self._asked == 0:
            self._stop("stopped by you")
        if self._interrupts > 1 and self._asked == 1:
            self._kill()
        if not self.reason:
            self._fill()
        self._on_tick()

    def _read(self, state: AgentState) -> None:
        """Takes what an agent has said."""
        try:
            while state.connection.poll():
                self._take(state, state.connection.recv())
        except (EOFError, OSError):
            pass

    def _take(self, state: AgentState, message: dict[str, Any]) -> None:
        kind = message.pop("event")
        match kind:
            case "ready" | "idle":
                state.doing, state.number, state.epoch = kind, None, None
            case "start":
                state.doing, state.number, state.epoch, state.value = "running", message["number"], None, None
            case "epoch":
                state.epoch, state.value = message["epoch"], message["value"]
            case "end":
                state.doing, state.number, state.epoch = "ready", None, None
                self._quick_deaths = 0
            case "leave":
                state.doing = "left"
                if not self.reason:
                    self.reason, self.fine = message["reason"], message["fine"]
                if not message["fine"]:
                    self._stop(message["reason"])
        self._on_event(Event(kind, state.index, message))

    def _bury(self, state: AgentState) -> None:
        """Removes an agent whose process has ended; one that did not say goodbye has died."""
        self.agents.remove(state)
        state.process.join()
        state.connection.close()
        if state.doing == "left" or self._interrupts > 1:
            return
        if self._clock() - state.started < QUICK_DEATH_SECONDS:
            self._quick_deaths += 1
        how = _how_it_ended(state.process.exitcode)
        self._on_event(Event("died", state.index, {"number": state.number, "how": how}))
        if self._quick_deaths >= MAX_QUICK_DEATHS and not self.reason:
            log = f"; see {self._log(state.index)}" if self._order.log else ""
            self.fine = False
            self._stop(f"agents keep dying ({how}){log}")

    def _fill(self) -> None:
        """Starts agents up to the wanted number, as far as memory allows."""
        taken = {state.index for state in self.agents}
        for index in range(self._wanted):
            if index in taken:
                continue
            if self.agents and not self._fits(index):
                return
            self.agents.append(self._start(index))

    def _fits(self, index: int) -> bool:
        """Whether memory is left for one more agent; says so once when it is not."""
        free = available_memory()
        if free >= self._memory:
            return True
        if not self._short_of_memory:
            self._short_of_memory = True
            megabytes = {"free": free // 2**20, "needed": self._memory // 2**20}
            self._on_event(Event("memory", index, megabytes))
        return False

    def _start(self, index: int) -> AgentState:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        order = replace(self._order, log=self._log(index) if self._order.log else None)
        process = context.Process(
            target=agent.main, args=(order, theirs), name=f"agent-{index}", daemon=False
        )
        with threads_in_environment(self._wanted), _sigint_held():
            process.start()
        theirs.close()
        return AgentState(index, process, ours, self._clock())

    def _log(self, index: int) -> Path:
        assert self._order.log is not None
        return self._order.log.with_name(f"{self._order.log.name}-{os.getpid()}-{index}.log")

    # -- stopping

    def _interrupt(self) -> None:
        self._interrupts += 1

    def _stop(self, reason: str) -> None:
        """Asks every agent to finish its epoch, put its trial back and leave."""
        if self._asked:
            return
        self._asked = 1
        self.reason = self.reason or reason
        self._on_event(Event("stopping", -1, {"reason": reason}))
        for state in self.agents:
            with contextlib.suppress(OSError):
                state.connection.send("stop")

    def _kill(self) -> None:
        """Ends every agent at once, with the programs it may have started."""
        self._asked = 2
        for state in self.agents:
            self.killed.append(state.process.pid or 0)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(state.process.pid or 0, signal.SIGKILL)
            state.process.kill()


@contextlib.contextmanager
def _signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call `interrupt` instead of raising somewhere (the main thread alone gets them)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, lambda *_: interrupt())
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _sigint_held() -> Iterator[None]:
    """Ctrl-C waits meanwhile, and does not reach a process started here before it can ignore it itself."""
    resource_tracker.ensure_running()  # starting it lifts the mask, so it must run before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def threads_in_environment(agents: int) -> Iterator[None]:
    """A process's share of the cores, cores // agents, in the variables that libraries read when loaded."""
    threads = max(1, (os.cpu_count() or 1) // agents)
    before = {name: os.environ.get(name) for name in _THREADS}
    try:
        for name in _THREADS:
            os.environ.setdefault(name, str(threads))
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {name}{hint}"
    return f"exit status {code}"


def available_memory() -> int:
    """Bytes that can be taken without swapping, where the system tells (Linux); else a terabyte."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 2**40
