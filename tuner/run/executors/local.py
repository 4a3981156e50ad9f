"""Agents as processes of this machine.

Plain processes (`tuner.run.executors.processes`) rather than a joblib (loky) pool: one killed worker breaks a
whole loky pool (TerminatedWorkerError), while here it costs its own trial alone, and each agent has a pipe of
its own through which it is asked to stop.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tuner.base import left_over
from tuner.base.left_over import LeftOver
from tuner.run.agent import agent
from tuner.run.agent.order import Order
from tuner.run.executors import gpus, processes
from tuner.run.executors.gpus import GpuLeases, Lease
from tuner.workloads.child_process import how_it_ended


@dataclass(frozen=True)
class LocalWorker:
    """An agent's process and our end of its pipe. `left_over`: what the agent may leave running."""

    process: BaseProcess
    connection: Connection
    on_close: Callable[[], None]
    left_over: LeftOver

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll():
                found.append(self.connection.recv())
        return found

    def ended(self) -> str | None:
        return None if self.process.is_alive() else how_it_ended(self.process.exitcode)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send("stop")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()

    def close(self) -> None:
        """Ends the link to the agent; what an agent that has ended leaves running is ended too."""
        self.connection.close()
        if not self.process.is_alive():
            self.left_over.end()
        self.on_close()


@dataclass(kw_only=True)
class LocalExecutor:
    """Starts agents here, as far as memory allows.

    Args:
        threads: of each agent.
        memory: bytes that an agent needs; a further one is not started where less is available.
        overrule: sets the threads also where the environment has a number of its own.
        gpus: what each agent sees of them (`tuner.run.executors.gpus.slots`).
        leases: by which agents of all studies on this machine share those GPUs; None: trials use none, or
            they cannot be told apart.
        cpus: cores that a trial takes; None: one, or all that agents leave to each other.
    """

    threads: int = 1
    memory: int = 0
    overrule: bool = False
    gpus: Sequence[str] = ()
    leases: GpuLeases | None = None
    cpus: int | None = None
    _lease: Lease | None = None  # for the agent that is started next
    _workers: list[LocalWorker] = field(default_factory=list)

    def agents(self, total: int | None) -> int:
        return suited(total, self.gpus, cpus=self.cpus)

    def full(self, running: int) -> str | None:
        free = available_memory()
        if running > 0 and free < self.memory:
            return f"{free // 2**20} MiB are free, it needs {self.memory // 2**20}"
        if self.leases is None:
            return None
        self._lease = self._lease or self.leases.take()
        if self._lease is not None:
            return None
        holders = " and ".join(self.leases.holders())
        return f"no GPU is free: {holders} (trials that use none: `resources: {{gpus: 0}}`)"

    def start(self, order: Order, index: int) -> LocalWorker:
        ours, theirs = multiprocessing.Pipe()
        lease, self._lease = self._lease, None
        shown = {}  # the variables that show an agent its own GPUs, where there are others
        if lease is not None and (len(set(self.gpus)) > 1 or "," in lease.gpus):
            shown = gpus.variables(lease.gpus)
        process, mark = processes.start(
            agent.main,
            (order, theirs),
            threads=self.threads,
            name=f"agent-{index}",
            variables=shown,
            overrule=self.overrule,
        )
        theirs.close()
        worker = LocalWorker(process, ours, lambda: self._give_back(lease), left_over.LeftOver(mark))
        self._workers.append(worker)
        return worker

    def wait(self, seconds: float) -> None:
        self._workers = [worker for worker in self._workers if not worker.connection.closed]
        links = [worker.connection for worker in self._workers]
        wait([*links, *(worker.process.sentinel for worker in self._workers)], timeout=seconds)

    def close(self) -> None:
        """Each agent went with its own worker; GPUs of one that was about to start are free again."""
        self._give_back(self._lease)
        self._lease = None

    def _give_back(self, lease: Lease | None) -> None:
        if self.leases is not None and lease is not None:
            self.leases.give_back(lease)


def suited(total: int | None, gpus: Sequence[str] = (), *, cpus: int | None = None) -> int:
    """Agents for a study of `total` trials on this machine: one for each of `gpus`, where its trials use
    them, and for each `cpus` cores (default: one); no more than there are trials."""
    cores = max(1, (os.cpu_count() or 1) // (cpus or 1))
    places = min(len(gpus), cores if cpus else len(gpus)) if gpus else cores
    return max(1, min(places, total or 10**9))


def share(agents: int) -> int:
    """Threads of each of `agents` processes on this machine: cores // agents."""
    return max(1, (os.cpu_count() or 1) // agents)


def available_memory() -> int:
    """Bytes that can be taken without swapping, where the system tells (Linux); else a terabyte."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 2**40
