"""An agent on a worker's machine, whose supervisor runs on another one.

A Dask worker or a Ray actor does not run trials itself: it starts an agent as this machine's own executor
does and passes words on. A trial that crashes or runs out of memory thus takes neither worker nor actor with
it, an epoch of any length can be ended at once, and an agent whose worker is gone finds its pipe closed,
finishes the epoch and returns its trial to the queue.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from tuner.run.agent.order import Order
from tuner.run.executors.local import LocalExecutor

ENDED = "ended"  # event of the last message, with `how`


class Hosted:
    """One agent. Used by two threads: one that polls, one that tells.

    Args:
        threads: of the agent.
    """

    def __init__(self, order: Order, index: int, *, threads: int) -> None:
        # Dask makes its workers daemons, whom multiprocessing denies children
        multiprocessing.current_process().daemon = False
        self._executor = LocalExecutor(threads=threads, overrule=True)
        self._worker = self._executor.start(order, index)
        self.over = False

    def poll(self, seconds: float) -> list[dict[str, Any]]:
        """What the agent has said, waiting `seconds` for it at most; after its end `ENDED` with `how`."""
        if self.over:
            return []
        self._executor.wait(seconds)
        how = self._worker.ended()
        messages = self._worker.messages()
        if how is not None:
            self.over = True
            self._worker.close()
            messages.append({"event": ENDED, "how": how})
        return messages

    def tell(self, word: str) -> None:
        """`stop` or `kill`."""
        if not self.over:
            self._worker.kill() if word == "kill" else self._worker.stop()
