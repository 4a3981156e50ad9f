"""Processes that a benchmark starts, finds and kills."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import figures

MARK = "TUNER_BENCH"  # variable of all processes of a bench: who has it at the end is an orphan


def environment(**own: str) -> dict[str, str]:
    """The environment of a process that runs the tuner of this repository, on one thread."""
    path = os.pathsep.join(map(str, (figures.ROOT, figures.ROOT / "benchmarks")))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **own}


def start(
    command: list[Any], folder: Path, env: Mapping[str, str], *, log: str = "output.log"
) -> subprocess.Popen[bytes]:
    """Starts a command in a session of its own; its output is added to a file of its folder."""
    with (folder / log).open("ab") as output:
        return subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True
        )


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def words(pid: int) -> bytes:
    """The command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_agent(pid: int) -> bool:
    return any(word in words(pid) for word in (b"spawn_main", b"forkserver"))


def runs(pid: int, file: str) -> bool:
    """Whether a process is a Python that runs `file`."""
    given = words(pid).split(b"\0")
    return b"-I" not in given and any(word.endswith(file.encode()) for word in given[:4])


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def agents(supervisor: int) -> list[int]:
    """A supervisor's agents: its server's children, or its own where it has none."""
    own = [child for child in children(supervisor) if is_agent(child)]
    servers = [child for child in own if b"forkserver" in words(child)]
    return [agent for server in servers for agent in children(server)] if servers else own


def descendants(pid: int) -> list[int]:
    """The processes that come from another."""
    found = children(pid)
    return found + [far for child in found for far in descendants(child)]


def parent(pid: int) -> int | None:
    """The process that started another: a Dask worker or Ray actor, of an agent there."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def marked(mark: str, *more: bytes) -> list[int]:
    """Processes with this MARK, and more variables, in their environment."""
    wanted, found = [f"{MARK}={mark}\0".encode(), *more], []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            variables = path.read_bytes() + b"\0"
            if all(variable in variables for variable in wanted):
                found.append(int(path.parent.name))
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and all that come from it, whatever state they are in."""
    for pid in [*descendants(process.pid), process.pid]:
        send(pid, signal.SIGKILL)
    process.wait()


def wait_for(what: Callable[[], Any], *, seconds: float = 600) -> Any:
    """Waits until `what` is true, and gives what it was then, which may be false when time is up."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
