"""Starts a study's agents, replaces the ones that die, and ends them in order.

One loop serves agents wherever they run: an `Executor` starts them on this machine, on Dask workers or as
Ray actors, and hands back a `Worker` for each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.base.endings import TrialTooLong
from tuner.run.agent.order import Order
from tuner.run.events import AgentState, Event
from tuner.run.executors.protocol import Executor
from tuner.storage.study import Stop

POLL_SECONDS = 0.2
END_SECONDS = 15.0  # that an agent has, beside the grace time, to end its script and say so
LOOK_SECONDS = 1.0  # between looks whether somebody stops the study in another terminal
MAX_DEATHS = 5  # of agents for each agent there may be, with no trial ended between: the next would die, too


class Supervisor:
    """Runs at most `agents` agents of one order until they leave.

    Args:
        agents: how many at most; None: as many as there are places.
        on_event: told what happens; called from `run`.
        on_tick: called a few times a second, to redraw.
        timeout: seconds after which the agents are asked to stop; None never.
        give_up: told the number of a trial that has failed, and why: its agent is about to be ended, as it
            has not ended the trial itself.
        stop_asked: called about once a second; what somebody asked for in another terminal.
    """

    def __init__(
        self,
        order: Order,
        executor: Executor,
        *,
        agents: int | None,
        on_event: Callable[[Event], None] = lambda event: None,
        on_tick: Callable[[], None] = lambda: None,
        timeout: float | None = None,
        give_up: Callable[[int, str], None] = lambda number, reason: None,
        stop_asked: Callable[[], Stop | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._order, self._executor, self._clock = order, executor, clock
        self._wanted = sys.maxsize if agents is None else agents
        self._on_event, self._on_tick = on_event, on_tick
        self._give_up, self._stop_asked = give_up, stop_asked
        self._look_at = clock()
        self._deadline = None if timeout is None else clock() + timeout
        self._deaths = 0  # since a trial ended
        self._interrupts = 0
        self._told_to_wait = False
        self._refused: set[int] = set()  # agents that cannot work where they are: not started again
        self._asked = 0  # 1: the agents were asked to stop, 2: they were ended
        self._asked_at = 0.0
        self.agents: list[AgentState] = []
        self.killed: list[dict[str, Any]] = []  # owners of leases: agents that were stopped at once
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
                # a third Ctrl-C leaves those agents that cannot be ended
                while (self.agents and self._interrupts < 3) or not self.reason:
                    self._turn()
        finally:  # an error of our own must not leave agents behind: an agent without a link leaves
            for state in self.agents:
                state.worker.close()
        return self.reason

    # -- one turn of the loop

    def _turn(self) -> None:
        self._executor.wait(POLL_SECONDS)
        for state in list(self.agents):
            how = state.worker.ended()  # asked first: after the end there is nothing new to be said
            for message in state.worker.messages():
                self._take(state, message)
            if how is not None:
                self._bury(state, how)
        if self._deadline is not None and self._clock() > self._deadline:
            self._deadline = None
            self.timed_out = True
            self._stop("time is up")
        self._look_for_stop()
        if self._interrupts and self._asked == 0:
            self._stop("stopped by you")
        if self._asked == 1 and (self._interrupts > 1 or self._clock() > self._asked_at + self._patience):
            self._kill()
        self._end_overdue()
        if not self.reason:
            self._fill()
        self._on_tick()

    def _take(self, state: AgentState, message: dict[str, Any]) -> None:
        kind = message.pop("event")
        match kind:
            case "ready" | "idle":
                state.doing, state.number, state.epoch = kind, None, None
                state.owner = message.get("owner", state.owner)
            case "start":
                state.doing, state.number, state.epoch, state.value = "running", message["number"], None, None
                state.since = self._clock()
            case "epoch":
                state.epoch = message["epoch"]
                if message["value"] is not None:  # else that of the epoch that was last evaluated
                    state.value = message["value"]
            case "end":
                state.doing, state.number, state.epoch = "ready", None, None
                self._deaths = 0
            case "leave":
                state.doing = "left"
                if not self.reason:
                    self.reason, self.fine = message["reason"], message["fine"]
                if not message["fine"]:
                    self._stop(message["reason"])
            case "refused":
                state.doing, state.refusal = "refused", message["reason"]
                return
        self._on_event(Event(kind, state.index, message))

    def _bury(self, state: AgentState, how: str) -> None:
        """Removes an agent that has ended; one that did not say goodbye has died."""
        self.agents.remove(state)
        state.worker.close()
        if self._asked == 2 and state.owner is not None:
            self.killed.append(state.owner)
        if state.doing == "refused":  # its place does not serve: the others work on without it
            self._refused.add(state.index)
            if self.agents:
                self._on_event(Event("refused", state.index, {"reason": state.refusal}))
            elif not self.reason:
                self.reason, self.fine = state.refusal, False
        if state.doing in ("left", "refused", "overdue") or self._asked == 2:
            return
        self._deaths += 1
        self._on_event(Event("died", state.index, {"number": state.number, "how": how}))
        most = MAX_DEATHS * max(1, min(self._wanted, len(self.agents) + 1))
        if self._deaths >= most and not self.reason:
            log = f"; see {self._log(state.index)}" if self._order.log else ""
            self.fine = False
            self._stop(f"agents keep dying ({how}){log}")

    def _fill(self) -> None:
        """Starts agents up to the wanted number, as far as there is a place for them."""
        taken = {state.index for state in self.agents} | self._refused
        for index in range(self._wanted):
            if len(self.agents) >= self._wanted:
                return
            if index in taken:
                continue
            why = self._executor.full(len(self.agents))
            if why is not None:
                if why and not self._told_to_wait:
                    self._told_to_wait = True
                    self._on_event(Event("waits", index, {"why": why}))
                return
            worker = self._executor.start(replace(self._order, log=self._log(index)), index)
            self.agents.append(AgentState(index, worker))

    def _log(self, index: int) -> Path | None:
        log = self._order.log
        return log and log.with_name(f"{log.name}-{os.getpid()}-{index}.log")

    # -- stopping

    def _interrupt(self) -> None:
        self._interrupts += 1

    def _look_for_stop(self) -> None:
        """Does what `tuner stop` asked for, in whichever terminal."""
        if self._asked == 2 or self._clock() < self._look_at:
            return
        self._look_at = self._clock() + LOOK_SECONDS
        asked = self._stop_asked()
        if asked is None:
            return
        self._stop(str(asked))
        if asked.now:
            self._kill()

    def _stop(self, reason: str) -> None:
        """Asks every agent to finish its epoch, return its trial and leave; after a time ends it."""
        if self._asked:
            return
        self._asked, self._asked_at = 1, self._clock()
        self.reason = self.reason or reason
        content = {"reason": reason, "fine": self.fine, "interrupted": self.interrupted}
        self._on_event(Event("stopping", -1, {**content, "grace": self._order.work.study_file.grace}))
        for state in self.agents:
            state.worker.stop()

    @property
    def _patience(self) -> float:
        """Seconds for an agent that is to end its trial; most do so at the next report."""
        return self._order.work.study_file.grace + END_SECONDS

    def _end_overdue(self) -> None:
        """Ends each agent whose trial is past its limit and neither reports nor can be ended by the agent."""
        limit = self._order.work.study_file.trial_timeout
        if limit is None:
            return
        for state in self.agents:
            overdue = self._clock() > state.since + limit + self._patience
            if overdue and state.doing == "running" and state.number is not None:
                state.doing = "overdue"
                reason = str(TrialTooLong(limit))
                self._give_up(state.number, reason)  # first: an agent that has died has its trial retried
                state.worker.kill()
                content = {"number": state.number, "outcome": "failed", "value": None, "message": reason}
                self._on_event(Event("end", state.index, content))

    def _kill(self) -> None:
        """Ends every agent at once, with the programs it may have started."""
        self._asked = 2
        for state in self.agents:
            state.worker.kill()


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
