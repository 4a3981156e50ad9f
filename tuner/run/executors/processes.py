"""Starts processes that run our code: agents, and the probe of `--dry-run`.

Forked from a server that has imported what an agent needs, so that they begin at once. The server has none of
the user's code, and no threads or connections that a fork would break. Only programs of ours have one
(`preload`), on Linux: a process has at most one such server of `multiprocessing`, and in a user's own process
it is the user's. There, and on other systems, processes are spawned and import everything themselves.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from tuner.base import left_over
from tuner.base.environment import in_environment

MODULES = ("tuner.run.agent.agent", "optuna.samplers._tpe.sampler", "sqlalchemy.dialects.sqlite")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
SAFE_PATH = "PYTHONSAFEPATH"  # Python does not put the current folder first on its path
_preloaded = False


def preload(*, now: bool = True) -> None:
    """Has processes forked from a server from now on.

    Args:
        now: starts it in the background, so that it imports while this process plans; else when it is needed.
    """
    global _preloaded
    _preloaded = sys.platform == "linux"
    if _preloaded and now:
        with _sigint_held():
            _ensure_server()


def start(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    *,
    threads: int,
    name: str,
    variables: Mapping[str, str] = MappingProxyType({}),
    overrule: bool = False,
) -> tuple[BaseProcess, str]:
    """Starts a process; returns it and the mark in its environment (`tuner.base.left_over`).

    Args:
        threads: of the process, for libraries that read them when they are loaded.
        variables: of its environment, beside those of this process.
        overrule: sets the threads also where the environment has a number of its own.
    """
    mark = left_over.new_mark()
    own = {**variables, left_over.VARIABLE: mark}
    own |= {each: str(threads) for each in _THREADS if overrule or each not in os.environ}
    with _sigint_held(), _clean_main():
        if _preloaded and _ensure_server():
            process: BaseProcess = multiprocessing.get_context("forkserver").Process(
                target=_forked, args=({**os.environ, **own}, target, arguments), name=name, daemon=False
            )
            process.start()
        else:
            process = multiprocessing.get_context("spawn").Process(
                target=target, args=arguments, name=name, daemon=False
            )
            with in_environment(own):
                process.start()
    return process, mark


def _ensure_server() -> bool:
    """Starts the server if there is none, with room for a mark in its environment, which its forks show.

    It finds this package where this process has it, and nothing in the current folder, which is the user's.
    False: there can be none, as the folder for temporary files is full or its path too long for a socket.
    """
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    room = "-" * len(left_over.new_mark())
    with in_environment({left_over.VARIABLE: room, "PYTHONPATH": path, SAFE_PATH: "1"}):
        forkserver.set_forkserver_preload(list(MODULES))
        try:
            forkserver.ensure_running()
        except OSError:
            return False
    return True


def _forked(environment: Mapping[str, str], target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """The begin of a forked process: what a spawned one would have of its own."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    os.environ.clear()
    os.environ.update(environment)
    _show_mark(environment[left_over.VARIABLE])
    np.random.seed()  # else all forks would draw the same numbers
    threads = environment["OPENBLAS_NUM_THREADS"]
    if threads.isdigit():  # NumPy's was loaded by the server
        threadpool_limits(int(threads), user_api="blas")
    target(*arguments)


def _show_mark(mark: str) -> None:
    """Writes the mark where the system shows the environment of this process and of what it forks.

    /proc/PID/environ is the memory that the server was started with; `os.environ` does not reach it.
    """
    numbers = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(numbers[47]), int(numbers[48])  # env_start and env_end, proc(5)
    name = f"\0{left_over.VARIABLE}=".encode()
    at = (b"\0" + ctypes.string_at(begin, end - begin)).find(name + b"-" * len(mark))
    if at >= 0:
        ctypes.memmove(begin + at + len(name) - 1, mark.encode(), len(mark))


@contextlib.contextmanager
def _sigint_held() -> Iterator[None]:
    """Ctrl-C waits meanwhile, and does not reach a process started here before it can ignore it itself."""
    with in_environment({SAFE_PATH: "1"}):  # it, too, imports nothing of the user's folder
        resource_tracker.ensure_running()  # starting it lifts the mask, so it must run before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _clean_main() -> Iterator[None]:
    """A process started meanwhile does not run the main program's file again.

    `multiprocessing` imports that file in each new process, under another name. A script that calls
    `tuner.study` without an `if __name__ == "__main__"` would start itself over and over.
    """
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before
