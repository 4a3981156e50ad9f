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
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tuner.base import left_over
from tuner.base.left_over import LeftOver
from tuner.run.agent import agent
from tuner.run.agent.order import Order
from tuner.run.executors import gpus as gpu
from tuner.run.executors import processes
from tuner.run.executors.gpus import GpuLeases, Lease
from tuner.workloads.child_process import how_it_ended


class LocalWorker:
    """An agent's process and our end of its pipe."""

    def __init__(
        self,
        process: BaseProcess,
        connection: Connection,
        on_close: Callable[[], None] = lambda: None,
        left_over: LeftOver | None = None,
    ) -> None:
        self.process = process
        self.connection = connection
        self._on_close = on_close
        self._left_over = left_over

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
        if self._left_over is not None and not self.process.is_alive():
            self._left_over.end()
        self._on_close()


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

    def __init__(
        self,
        *,
        threads: int = 1,
        memory: int = 0,
        overrule: bool = False,
        gpus: Sequence[str] = (),
        leases: GpuLeases | None = None,
        cpus: int | None = None,
    ) -> None:
        self._overrule = overrule
        self._threads = threads
        self._memory = memory
        self._gpus = gpus
        self._leases = leases
        self._lease: Lease | None = None  # for the agent that is started next
        self._cpus = cpus
        self._workers: list[LocalWorker] = []

    def agents(self, total: int | None) -> int:
        return suited(total, self._gpus, cpus=self._cpus)

    def full(self, running: int) -> str | None:
        free = available_memory()
        if running > 0 and free < self._memory:
            return f"{free // 2**20} MiB are free, it needs {self._memory // 2**20}"
        if self._leases is None:
            return None
        self._lease = self._lease or self._leases.take()
        if self._lease is not None:
            return None
        holders = " and ".join(self._leases.holders())
        return f"no GPU is free: {holders} (trials that use none: `resources: {{gpus: 0}}`)"

    def start(self, order: Order, index: int) -> LocalWorker:
        ours, theirs = multiprocessing.Pipe()
        lease, self._lease = self._lease, None
        process, mark = processes.start(
            agent.main,
            (order, theirs),
            threads=self._threads,
            name=f"agent-{index}",
            variables=self._visible(lease),
            overrule=self._overrule,
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
        if self._leases is not None and lease is not None:
            self._leases.give_back(lease)

    def _visible(self, lease: Lease | None) -> dict[str, str]:
        """The variables that show an agent its own GPUs, where there are others."""
        if lease is None or (len(set(self._gpus)) == 1 and "," not in lease.gpus):
            return {}
        return gpu.variables(lease.gpus)


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
