"""A view that cannot end a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from tuner.run.events import AgentState, Event, StudyRun, View
from tuner.storage.outage import StorageFailed, is_unreachable


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
        self._show(lambda: self._view.begin(run))
        self._at_once = run.study.records.at_once

    def event(self, event: Event) -> None:
        self._show(lambda: self._view.event(event))

    def tick(self, agents: Sequence[AgentState]) -> None:
        self._show(lambda: self._view.tick(agents))

    def end(self) -> None:
        self._show(self._view.end)

    def _show(self, call: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            with self._at_once():
                call()
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
