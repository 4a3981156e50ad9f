"""What the run of a study tells its viewers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from tuner.run.executors.protocol import Worker
from tuner.storage.outage import StorageFailed, is_unreachable
from tuner.storage.study import OpenStudy


@dataclass
class AgentState:
    """What the supervisor knows of one agent."""

    index: int
    worker: Worker
    doing: str = "starting"  # starting, ready, idle, running, left, refused, overdue
    owner: dict[str, Any] | None = None  # of its trials' leases, once it has said so
    refusal: str = ""  # why it cannot work where it is
    number: int | None = None
    since: float = 0.0  # when its trial began, by the supervisor's clock
    epoch: int | None = None
    value: float | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened: kind is that of the agent's message, or `died`, `waits` (there is no place for
    it yet) or `stopping`."""

    kind: str
    agent: int
    content: dict[str, Any]


@dataclass(frozen=True)
class StudyRun:
    """What a view shows.

    Attributes:
        agents: how many there are; None: one on every worker.
        epochs: of a whole trial; None: only the trial knows.
    """

    study: OpenStudy
    agents: int | None
    epochs: int | None = None


class View(Protocol):
    """Shows a study; `begin` and `end` enclose its run."""

    def say(self, line: str) -> None:
        """A line about the study, at any time."""

    def begin(self, run: StudyRun) -> None:
        """The agents are about to start."""

    def event(self, event: Event) -> None:
        """Something happened."""

    def tick(self, agents: Sequence[AgentState]) -> None:
        """Called a few times a second."""

    def end(self) -> None:
        """The last agent has left."""


class ShieldedView:
    """Passes everything on to a view until that fails; then says so once, and shows the study no more.

    Once the study has begun, its view does not wait for the storage. Errors of the storage are raised, and so
    is an OSError: the terminal or pipe on which the study is watched is gone.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._failed = False
        self._at_once: Callable[[], AbstractContextManager[None]] = nullcontext

    def say(self, line: str) -> None:
        self._view.say(line)

    def begin(self, run: StudyRun) -> None:
        self._show(self._view.begin, run)
        self._at_once = run.study.records.at_once

    def event(self, event: Event) -> None:
        self._show(self._view.event, event)

    def tick(self, agents: Sequence[AgentState]) -> None:
        self._show(self._view.tick, agents)

    def end(self) -> None:
        self._show(self._view.end)

    def _show(self, call: Callable[..., None], *told: Any) -> None:
        if self._failed:
            return
        try:
            with self._at_once():
                call(*told)
        except Exception as error:
            if isinstance(error, (OSError, StorageFailed)) or is_unreachable(error):
                raise
            self._failed = True
            with suppress(Exception):
                self._view.end()  # gives the terminal back
            self._view.say(
                f"the study is not shown any more ({type(error).__name__}: {error}), but it goes on; "
                "look at it with: tuner status"
            )
