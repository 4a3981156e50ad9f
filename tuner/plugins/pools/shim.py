"""The first code that runs on a worker. Sent by value, so a worker without this package can say so in a line.

Everything else is imported inside, on the worker; `order` stays pickled until then.
"""

from __future__ import annotations

from typing import Any


def host_on_dask(order: bytes, index: int, key: str, topic: str) -> None:
    """The long-running task of one agent on a Dask worker."""
    import pickle

    from distributed import get_worker

    try:
        from tuner.plugins.pools import hosted

        unpacked = pickle.loads(order)
    except (ImportError, AttributeError) as error:
        for message in _lacking(error):
            get_worker().log_event(topic, {"key": key, "message": pickle.dumps(message)})
        return
    hosted.serve_dask(unpacked, index, key=key, topic=topic)


async def tell_on_dask(key: str, word: str) -> None:
    """Passes a word on to the agent of a task. A coroutine, as Dask waits for anything else to return."""
    from tuner.plugins.pools import hosted

    hosted.tell_dask(key, word)


class RayAgent:
    """The actor of one agent. `folder`: that the command was given in."""

    def __init__(self, order: bytes, index: int, threads: int, folder: str) -> None:
        import pickle

        _not_first(folder)
        self._said: list[dict[str, Any]] = []
        self._hosted = None
        try:
            from tuner.plugins.pools.hosted import Hosted

            self._hosted = Hosted(pickle.loads(order), index, threads=threads)
        except (ImportError, AttributeError) as error:
            self._said = _lacking(error)

    def poll(self, seconds: float) -> list[dict[str, Any]]:
        """What the agent has said."""
        if self._hosted is None:
            return self._said
        return self._hosted.poll(seconds)

    def tell(self, word: str) -> None:
        """Passes a word on."""
        if self._hosted is not None:
            self._hosted.tell(word)


def _not_first(folder: str) -> None:
    """Takes the user's folder off the path, where Ray puts it first: it may have a `tuner.py` of the user's.

    The agent's process puts it there again for the user's function. A checkout of this project stays.
    """
    import sys
    from pathlib import Path

    if not Path(folder, "tuner", "plugins", "pools", "shim.py").exists():
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(folder).resolve()]


def _lacking(error: Exception) -> list[dict[str, Any]]:
    import socket
    import sys

    reason = (
        f"worker on {socket.gethostname()}: {sys.executable} does not have this package, or has "
        f"another version of it ({error}); install it there: pip install optuna-sweeps"
    )
    return [{"event": "refused", "reason": reason}, {"event": "ended", "how": "never started"}]
