"""Agents as processes of this machine.

Plain spawned processes rather than a joblib (loky) pool: one killed worker breaks a whole loky pool
(TerminatedWorkerError), while here it costs its own trial alone, and each agent has a pipe of its own through
which it is asked to stop. Spawned, not forked: neither torch's threads nor database connections survive a
fork.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from tuner.base import left_over
from tuner.base.environment import in_environment
from tuner.base.left_over import LeftOver
from tuner.run.agent import agent
from tuner.run.agent.order import Order
from tuner.run.executors import gpus as gpu
from tuner.run.executors.gpu_leases import GpuLeases, Lease

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


class LocalWorker:
    """An agent's process and our end of its pipe."""

    def __init__(
        self,
        process: SpawnProcess,
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
        return None if self.process.is_alive() else _how_it_ended(self.process.exitcode)

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
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=agent.main, args=(order, theirs), name=f"agent-{index}", daemon=False
        )
        threads = threads_in_environment(self._threads, overrule=self._overrule)
        lease, self._lease = self._lease, None
        mark = left_over.new_mark()
        variables = {**self._visible(lease), left_over.VARIABLE: mark}
        with threads, _sigint_held(), in_environment(variables), clean_main():
            process.start()
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


@contextlib.contextmanager
def _sigint_held() -> Iterator[None]:
    """Ctrl-C waits meanwhile, and does not reach a process started here before it can ignore it itself."""
    resource_tracker.ensure_running()  # starting it lifts the mask, so it must run before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def clean_main() -> Iterator[None]:
    """A process started meanwhile does not run the main program's file again.

    `spawn` imports that file in each new process, under another name. A script that calls `tuner.study`
    without an `if __name__ == "__main__"` would start itself over and over.
    """
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def threads_in_environment(
    threads: int, *, overrule: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Threads of a process, in the variables that libraries read when loaded; set ones may stay."""
    return in_environment({n: str(threads) for n in _THREADS if overrule or n not in os.environ})


def suited(total: int | None, gpus: Sequence[str] = (), *, cpus: int | None = None) -> int:
    """Agents for a study of `total` trials on this machine: one for each of `gpus`, where its trials use
    them, and for each `cpus` cores (default: one); no more than there are trials."""
    cores = max(1, (os.cpu_count() or 1) // (cpus or 1))
    places = min(len(gpus), cores if cpus else len(gpus)) if gpus else cores
    return max(1, min(places, total or 10**9))


def share(agents: int) -> int:
    """Threads of each of `agents` processes on this machine: cores // agents."""
    return max(1, (os.cpu_count() or 1) // agents)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {name}{hint}"
    return f"exit status {code}"


def available_memory() -> int:
    """Bytes that can be taken without swapping, where the system tells (Linux); else a terabyte."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 2**40
