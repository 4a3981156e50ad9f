"""What `tuner.run.supervisor` needs of a place where agents run.

An agent speaks in dictionaries with an `event` (see `tuner.run.agent.agent`) and is told to stop, or killed.
The executor carries the words and finds out when an agent has died. What follows from that (replacing,
stopping, giving up) is the supervisor's, and the same for all executors.
"""

from __future__ import annotations

from typing import Any, Protocol

from tuner.run.agent.order import Order


class Worker(Protocol):
    """One agent that was started."""

    def messages(self) -> list[dict[str, Any]]:
        """What the agent has said since the last call, in order; never waits."""

    def ended(self) -> str | None:
        """How the agent ended, in words; None while it lives. What it said last may still have to be read."""

    def stop(self) -> None:
        """Tells it to finish its epoch, return its trial to the queue and leave."""

    def kill(self) -> None:
        """Ends it at once, with the programs that it may have started."""

    def close(self) -> None:
        """Ends the link; an agent that still lives finishes its epoch, returns its trial and leaves."""


class Executor(Protocol):
    """Starts agents."""

    def agents(self, total: int | None) -> int | None:
        """How many agents suit a study of `total` finished trials where nobody said how many.

        None: one in every place that there is or will be.
        """

    def full(self, running: int) -> str | None:
        """Why no further agent has a place beside `running` ones, in words or "" where that is no news.

        None: there is one.
        """

    def start(self, order: Order, index: int) -> Worker:
        """Starts agent `index` in a place that `full` has found."""

    def wait(self, seconds: float) -> None:
        """Waits until an agent has said something or ended, `seconds` at most."""

    def close(self) -> None:
        """Gives up the place; called once, after the last agent has left."""
