"""The worker's side of an agent on a Dask cluster: the body of its task, and the words that reach it."""

from __future__ import annotations

import pickle
from typing import Any

from tuner.run.agent.order import Order
from tuner.run.executors.hosted import Hosted

POLL_SECONDS = 0.2

_here: dict[str, Hosted] = {}


def serve(order: Order, index: int, *, key: str, topic: str) -> None:
    """Hosts an agent until it ends; the body of a task.

    It also ends when nobody wants the task any more (the client is gone) or the worker is asked to close.
    """
    from distributed import Status, get_worker

    worker = get_worker()

    def send(message: dict[str, Any]) -> None:
        worker.log_event(topic, {"key": key, "message": pickle.dumps(message)})

    hosted = _here[key] = Hosted(order, index, threads=worker.state.nthreads)
    send({"event": "hosted"})
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
        del _here[key]


def tell(key: str, word: str) -> None:
    """Passes a word to the agent of a task, if it is still here."""
    hosted = _here.get(key)
    if hosted is not None:
        hosted.tell(word)
