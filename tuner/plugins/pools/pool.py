"""What Dask and Ray have in common: an agent that is hosted by a worker and speaks through the cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from tuner.plugins.pools.hosted import ENDED


class PoolWorker(ABC):
    """The supervisor's side of an agent in a cluster (`tuner.run.executors.protocol.Worker`)."""

    def __init__(self) -> None:
        self._begun = False  # its host has said something; until then it waits for a place in the cluster
        self._how: str | None = None
        self._said: list[dict[str, Any]] = []

    def messages(self) -> list[dict[str, Any]]:
        self._read()
        said, self._said = self._said, []
        return said

    def ended(self) -> str | None:
        self._read()
        return self._how

    def stop(self) -> None:
        self._tell("stop")

    def kill(self) -> None:
        self._tell("kill")

    def hear(self, messages: Iterable[dict[str, Any]]) -> None:
        """Takes what the agent's host has sent."""
        self._begun = True
        for message in messages:
            if message["event"] == ENDED:
                self._how = message["how"]
            else:
                self._said.append(message)

    def _tell(self, word: str) -> None:
        if self._begun:
            self._pass_on(word)
        else:
            self._call_off()
            self._how = "never started"
            self._said.append({"event": "leave", "reason": "asked to stop", "fine": True})

    @abstractmethod
    def _read(self) -> None:
        """Hears what has come since, and notices that the host is gone."""

    @abstractmethod
    def _pass_on(self, word: str) -> None:
        """Sends the agent's host a word: `stop` or `kill`."""

    @abstractmethod
    def _call_off(self) -> None:
        """Ends an agent that has no place yet."""


def in_line(error: object) -> str:
    """An error's text in one line of 200 characters at most."""
    return " ".join(str(error).split())[:200]
