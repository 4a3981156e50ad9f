"""An agent on a worker's machine, whose supervisor runs on another one.

A Dask worker or a Ray actor does not run trials itself: it starts an agent as this machine's own executor
does and passes words on. A trial that crashes or runs out of memory thus takes neither worker nor actor with
it, an epoch of any length can be ended at once, and an agent whose worker is gone finds its pipe closed,
finishes the epoch and returns its trial to the queue.
"""

from __future__ import annotations

import multiprocessing
import pickle
from typing import Any

from tuner.run.agent.order import Order
from tuner.run.executors.local import LocalExecutor

ENDED = "ended"  # event of the last message, with `how`
HOSTED = "hosted"  # of the first one from a Dask worker
POLL_SECONDS = 0.2  # between looks of a Dask task at whether it is still wanted

_on_dask: dict[str, Hosted] = {}  # by key of the task


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


def serve_dask(order: Order, index: int, *, key: str, topic: str) -> None:
    """Hosts an agent until it ends; the body of a Dask task.

    It also ends when nobody wants the task any more (the client is gone) or the worker is asked to close.
    """
    from distributed import Status, get_worker

    worker = get_worker()

    def send(message: dict[str, Any]) -> None:
        worker.log_event(topic, {"key": key, "message": pickle.dumps(message)})

    hosted = _on_dask[key] = Hosted(order, index, threads=worker.state.nthreads)
    send({"event": HOSTED})
    left = False
    try:
        while not hosted.over:
            for message in hosted.poll(POLL_SECONDS):
                send(message)
            task = worker.state.tasks.get(key)
            called_off = task is None or task.state == "cancelled" or worker.status != Status.running
            if called_off and not left:
                left = True
                hosted.tell("stop")
    finally:
        del _on_dask[key]


def tell_dask(key: str, word: str) -> None:
    """Passes a word to the agent of a Dask task, if it is still here."""
    hosted = _on_dask.get(key)
    if hosted is not None:
        hosted.tell(word)
