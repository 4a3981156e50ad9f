"""An executor whose agents run in this process, one after another: no process to start."""

from __future__ import annotations

import time
from typing import Any

from tuner.base.errors import InputError, WorkFailed
from tuner.run.agent.agent import Agent
from tuner.run.agent.order import Order


class InThisProcess:
    """Runs an agent when it is started, to its end: no process to start, nothing to import again."""

    def agents(self, total: int | None) -> int:
        return 1

    def full(self, running: int) -> str | None:
        return None

    def start(self, order: Order, index: int) -> Ended:
        return Ended(order)

    def wait(self, seconds: float) -> None:
        """All that will be said has been."""

    def close(self) -> None:
        """Nothing is open."""


class Ended:
    """The agent's worker, and its end of the pipe."""

    log = None

    def __init__(self, order: Order) -> None:
        self._said: list[dict[str, Any]] = []
        try:
            done = Agent(order, self).run()  # type: ignore[arg-type]
            self.send(event="leave", reason=done.reason, fine=done.fine)
        except (WorkFailed, InputError, OSError) as error:
            self.send(event="leave", reason=str(error), fine=False)

    def send(self, **message: Any) -> None:
        self._said.append(message)

    def stopping(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def messages(self) -> list[dict[str, Any]]:
        said, self._said = self._said, []
        return said

    def ended(self) -> str:
        return "exit status 0"

    def stop(self) -> None:
        """It has left."""

    kill = close = stop
