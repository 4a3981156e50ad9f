"""Agents on the workers of a Dask cluster: one long-running task a worker.

Tasks are submitted natively rather than through joblib's Dask backend. That one is made for many short calls:
it has no word for a task that is still running, so neither epochs nor a request to stop would get through;
it may put two calls on one worker; and when a worker dies, Dask runs the call again wherever it likes, up to
three times, before the error reaches anybody. Here a task is pinned to its worker, what its agent says comes
as events of the scheduler, what it is told goes straight to its worker, and a worker that is gone is seen at
the scheduler, whereupon the supervisor starts an agent on another, or on one that has joined since.
"""

from __future__ import annotations

import pickle
import queue
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tuner.base import extras
from tuner.base.errors import InputError, WorkFailed
from tuner.base.words import counted
from tuner.plugins.pools import shim
from tuner.plugins.pools.hosted import HOSTED
from tuner.plugins.pools.pool import PoolWorker, in_line
from tuner.run.agent.arrival import addressed
from tuner.run.agent.order import Order

if TYPE_CHECKING:
    import distributed

CONNECT_SECONDS = 10.0
LOOK_SECONDS = 1.0  # between looks at which workers there are


def check_address(address: str | None) -> None:
    """Raises InputError where no scheduler is named."""
    if address is None:
        raise InputError(
            "--executor dask: --address is missing: a scheduler's tcp://HOST:8786 or its scheduler file "
            "(on this machine alone, --executor local does the same)"
        )


def check_packages() -> Any:
    """Dask's package; raises InputError where it is not installed."""
    return extras.need("dask", "--executor dask")


def open_cluster(address: str, say: Callable[[str], None], *, total: int | None) -> DaskExecutor:
    """Connects to a scheduler.

    Args:
        address: `tcp://HOST:PORT`, or the path of a scheduler file (`dask scheduler --scheduler-file`).
        total: trials of the study: there are never more agents.

    Raises:
        InputError: Dask is not installed, or no scheduler answers.
    """
    distributed = check_packages()
    import cloudpickle  # comes with Dask

    cloudpickle.register_pickle_by_value(shim)
    where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    try:
        client = distributed.Client(**where, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--address {address}: no Dask scheduler answers there ({in_line(error)})") from None
    executor = DaskExecutor(client, address, total=total)
    say(executor.describe())
    return executor


class DaskWorker(PoolWorker):
    """The supervisor's side of an agent on a worker."""

    def __init__(self, executor: DaskExecutor, key: str, address: str) -> None:
        super().__init__()
        self.key = key
        self.address = address
        self.future: distributed.Future | None = None
        self._executor = executor

    def close(self) -> None:
        if self.future is not None and not self.future.done():
            self.future.cancel()
        self._executor.forget(self)

    def _read(self) -> None:
        self._executor.hear()
        if self._how is None and self.future is not None:
            if not self._executor.has(self.address):
                self._how = f"Dask worker {self.address} is gone"
            elif self.future.status in ("error", "cancelled", "lost"):
                error = self.future.exception() if self.future.status == "error" else self.future.status
                self._how = f"its task on Dask worker {self.address} ended: {in_line(error)}"

    def _pass_on(self, word: str) -> None:
        self._executor.tell(self, word)

    def _call_off(self) -> None:
        self.close()


class DaskExecutor:
    """A cluster's workers as places for agents."""

    def __init__(self, client: distributed.Client, address: str, *, total: int | None) -> None:
        self._client = client
        self._address = address
        self._total = total
        self._topic = f"agents-{uuid.uuid4().hex[:12]}"
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._running: dict[str, DaskWorker] = {}
        self._unsuited: set[str] = set()  # addresses of workers whose agents refused
        self._workers: dict[str, dict[str, Any]] = {}
        self._looked = -1e9
        client.subscribe_topic(self._topic, lambda event: self._inbox.put(event[1]))
        self._look()

    def describe(self) -> str:
        """The cluster in a line."""
        threads = sum(worker["nthreads"] for worker in self._workers.values())
        return f"Dask at {self._address}: {counted(len(self._workers), 'worker')} with {threads} threads"

    def agents(self, total: int | None) -> int | None:
        """One on every worker, those that join later included."""
        return None

    def full(self, running: int) -> str | None:
        if self._total is not None and running >= self._total:
            return ""
        self._look()
        if self._free():
            return None
        return "" if running else f"no worker of the Dask cluster at {self._address} is free"

    def start(self, order: Order, index: int) -> DaskWorker:
        address = self._free()[0]
        key = f"agent-{index}-{uuid.uuid4().hex[:12]}"
        worker = DaskWorker(self, key, address)
        self._running[key] = worker
        worker.future = self._client.submit(
            shim.host_on_dask,
            pickle.dumps(addressed(order)),
            index,
            key,
            self._topic,
            key=key,
            workers=[address],
            allow_other_workers=False,
            resources=_resources(self._workers[address]["resources"]),
            retries=0,
            pure=False,
        )
        return worker

    def wait(self, seconds: float) -> None:
        """Waits for events; raises WorkFailed when the scheduler is gone."""
        try:
            first = self._inbox.get(timeout=seconds)
        except queue.Empty:
            pass
        else:
            self._give(first)
        self._look()

    def close(self) -> None:
        self._client.close(timeout=5)

    # -- for its workers

    def hear(self) -> None:
        """Gives the events that have come to the agents that they are from."""
        while not self._inbox.empty():
            self._give(self._inbox.get())

    def has(self, address: str) -> bool:
        """Whether the cluster still has a worker."""
        return address in self._workers

    def tell(self, worker: DaskWorker, word: str) -> None:
        """Passes a word to an agent, past the queue of tasks."""
        self._client.run(
            shim.tell_on_dask, worker.key, word, workers=[worker.address], wait=False, on_error="ignore"
        )

    def forget(self, worker: DaskWorker) -> None:
        self._running.pop(worker.key, None)

    def _give(self, event: dict[str, Any]) -> None:
        worker = self._running.get(event["key"])
        if worker is not None:
            message = pickle.loads(event["message"])
            if message["event"] == "refused":
                self._unsuited.add(worker.address)
            worker.hear([message] if message["event"] != HOSTED else [])

    def _free(self) -> list[str]:
        taken = {worker.address for worker in self._running.values()}
        return [
            address
            for address, found in self._workers.items()
            if address not in taken | self._unsuited and found["status"] == "running"
        ]

    def _look(self) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        try:
            scheduler = self._client.scheduler
            if self._client.status != "running" or scheduler is None:
                raise OSError("the connection was lost")
            # not `scheduler_info`, whose cache another thread empties of workers every two seconds
            self._workers = dict(self._client.sync(scheduler.identity)["workers"])
        except (OSError, RuntimeError, TimeoutError) as error:
            raise WorkFailed(
                f"the Dask scheduler at {self._address} is gone ({in_line(error)}); agents finish their "
                "epoch and return their trials to the queue; run the same command to continue"
            ) from None
        self._looked = time.monotonic()


def _resources(declared: dict[str, float]) -> dict[str, float]:
    """What an agent takes of what its worker declares: all cores and one GPU."""
    taken = {"cores": declared.get("cores", 0), "GPU": min(1, declared.get("GPU", 0))}
    return {name: amount for name, amount in taken.items() if amount}
