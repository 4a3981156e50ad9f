"""Agents in a Ray cluster: one actor each.

Actors rather than joblib's Ray backend, which is a pool of actors behind `multiprocessing.Pool`'s interface:
a call in it reports nothing before it ends and cannot be asked to stop. An actor of our own can be asked what
its agent has said; its death is an error of the next question, and the supervisor, which counts how often
agents die, starts the next (`max_restarts=0`).
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner.base import extras
from tuner.base.errors import InputError, WorkFailed
from tuner.base.words import counted
from tuner.plugins.pools import shim
from tuner.plugins.pools.pool import PoolWorker, in_line
from tuner.run.agent.arrival import addressed
from tuner.run.agent.order import Order

LOCAL = "local"  # Ray's word for a cluster of its own on this machine, gone with this command
OBJECT_STORE = 80 * 2**20  # bytes; the least that Ray takes is 75 MiB, and nothing but words passes through
POLL_SECONDS = 2.0  # that an actor waits for its agent's next word
CPUS = 1


def check_address(address: str | None) -> None:
    """Ray starts a cluster of its own where none is named."""


def check_packages() -> Any:
    """Ray's package; raises InputError where it is not installed."""
    # before the import, which reads them: nothing is sent to Ray's makers, and warnings are not for our user
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return extras.need("ray", "--executor ray")


def open_cluster(address: str | None, say: Callable[[str], None], *, total: int | None) -> RayExecutor:
    """Connects to a Ray cluster, or starts one on this machine.

    Args:
        address: `HOST:6379` or `auto`; None: `$RAY_ADDRESS`, else a Ray of this machine's own.
        total: of no use here: agents that have no place yet wait in Ray for one.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
        WorkFailed: Ray of this machine's own does not start.
    """
    ray = check_packages()
    import cloudpickle
    from ray import cloudpickle as rays_own

    for pickler in (cloudpickle, rays_own):
        pickler.register_pickle_by_value(shim)
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray raises that class itself where its start takes too long
        line = in_line(error)
        if address == LOCAL:
            raise WorkFailed(f"Ray did not start on this machine: {line}") from None
        raise InputError(
            f"--address {address}: no Ray cluster answers ({line}); if it needs a token, set "
            "RAY_AUTH_MODE=token here and copy its ~/.ray/auth_token"
        ) from None
    executor = RayExecutor(ray)
    say(executor.describe("on this machine" if address == LOCAL else f"at {address}"))
    return executor


class RayWorker(PoolWorker):
    """The supervisor's side of an agent in an actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        super().__init__()
        self._ray = ray
        self._actor = actor
        self.answer = actor.poll.remote(POLL_SECONDS)
        self.over = False

    def close(self) -> None:
        if not self.over:
            self.over = True
            if self._how is None:
                self._actor.tell.remote("stop")
            else:
                self._ray.kill(self._actor)

    def _read(self) -> None:
        """Takes the actor's answer, if it has come, and polls it again."""
        if self._how is not None or not self._ray.wait([self.answer], timeout=0)[0]:
            return
        try:
            self.hear(self._ray.get(self.answer))
        except self._ray.exceptions.RayError as error:
            self._how = f"its Ray actor is gone: {str(error).strip().splitlines()[0]}"
            return
        if self._how is None:
            self.answer = self._actor.poll.remote(POLL_SECONDS)

    def _pass_on(self, word: str) -> None:
        self._actor.tell.remote(word)

    def _call_off(self) -> None:
        self._ray.kill(self._actor)


class RayExecutor:
    """A cluster's resources as places for agents. Those that have no place yet wait in Ray for one."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._resources: dict[str, float] = ray.cluster_resources()
        self._actor = ray.remote(shim.RayAgent)
        self._workers: list[RayWorker] = []

    def describe(self, where: str) -> str:
        """The cluster in a line."""
        nodes = sum(node["Alive"] for node in self._ray.nodes())
        gpus = f", {self._resources['GPU']:.0f} GPU" if self._resources.get("GPU") else ""
        return f"Ray {where}: {counted(nodes, 'node')}, {self._resources.get('CPU', 0):.0f} CPU{gpus}"

    def agents(self, total: int | None) -> int:
        """One a GPU where the cluster has any, else one a CPU, and no more than there are trials."""
        places = self._resources.get("GPU") or self._resources.get("CPU", 1)
        return max(1, min(int(places), total or 10**9))

    def full(self, running: int) -> str | None:
        return None

    def start(self, order: Order, index: int) -> RayWorker:
        gpus = 1 if self._resources.get("GPU") else 0
        options = self._actor.options(
            num_cpus=CPUS, num_gpus=gpus, max_concurrency=2, max_restarts=0, max_task_retries=0
        )
        worker = RayWorker(
            self._ray, options.remote(pickle.dumps(addressed(order)), index, CPUS, str(Path.cwd()))
        )
        self._workers.append(worker)
        return worker

    def wait(self, seconds: float) -> None:
        self._workers = [worker for worker in self._workers if not worker.over]
        if self._workers:
            self._ray.wait([worker.answer for worker in self._workers], num_returns=1, timeout=seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        self._ray.shutdown()
