"""A script as a child process: a process group of its own, its output in a file, an end that is certain."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL
LEFT_OVER_SECONDS = 1.0  # the same for what a script that has ended leaves running
TAIL_LINES = 15
TAIL_BYTES = 4000
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
SECRET_LENGTH = 8  # shorter values would blank out ordinary words


class ChildProcess:
    """Runs one command. As a context manager: whatever happens inside, nothing of its group is left running.

    A prune ends it with SIGTERM, an interrupted agent with SIGINT, each followed by SIGKILL after a grace
    time. When the agent dies the kernel sends SIGTERM, where `setpriv` can ask for it (not SIGHUP: under
    `nohup` a script would ignore that).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        output: Path,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.command = [*_guard(), *command]
        self.folder = folder
        self.environment = dict(environment)
        self.output = output
        self.grace = grace

    def __enter__(self) -> ChildProcess:
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,  # a script that asks a question gets end-of-file, not a hang
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._ended = _end_of(self._process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process.poll() is None:
                self.stop(signal.SIGTERM if kind is None else signal.SIGINT)
            else:
                self._end_group(signal.SIGTERM, LEFT_OVER_SECONDS)
        finally:
            if self._ended is not None:
                os.close(self._ended)

    def wait(self, seconds: float) -> int | None:
        """The exit status, or None when the script still runs after `seconds`."""
        if self._ended is not None:
            select.select([self._ended], [], [], seconds)
            return self._process.poll()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the whole group: `how`, then after the grace time SIGKILL. Returns the exit status."""
        self._signal(how)
        try:
            self._process.wait(self.grace)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        status = self._process.wait()
        self._end_group(signal.SIGTERM, LEFT_OVER_SECONDS)
        return status

    def _end_group(self, how: signal.Signals, grace: float) -> None:
        """Ends what the script started and did not wait for."""
        end = time.monotonic() + grace
        alive = self._signal(how)
        while alive and time.monotonic() < end:
            time.sleep(0.01)
            alive = self._signal(None)
        if alive:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals | None) -> bool:
        """Sends a signal (None: only asks) to the group; False when nobody is left in it."""
        try:
            os.killpg(self._process.pid, number or 0)
        except ProcessLookupError:
            return False
        return True


def _end_of(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends, where there is one (Linux)."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _guard() -> list[str]:
    """A prefix that has the kernel end the child when its agent dies, where the system offers it."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def tail(path: Path) -> str:
    """The last lines of a script's output, without the overwritten states of progress bars."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4 * TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return "\n".join([line for line in lines if line][-TAIL_LINES:])[-TAIL_BYTES:]


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-status).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"killed by signal {-status}"


def remove_secrets(path: Path, environment: Mapping[str, str]) -> None:
    """Blanks out, in a text file, the values of variables that are named like secrets (…KEY, …TOKEN, …)."""
    secrets = [
        value.encode()
        for name, value in environment.items()
        if SECRET_NAME.search(name) and len(value) >= SECRET_LENGTH
    ]
    if not any(
        secret in chunk for chunk in _chunks(path, max(map(len, secrets), default=0)) for secret in secrets
    ):
        return
    content = path.read_bytes()
    for secret in sorted(secrets, key=len, reverse=True):
        content = content.replace(secret, b"***")
    path.write_bytes(content)


def _chunks(path: Path, overlap: int, size: int = 1 << 20) -> Iterator[bytes]:
    """A file in pieces that overlap, so that nothing is cut in two."""
    before = b""
    with path.open("rb") as file:
        while chunk := file.read(size):
            yield before + chunk
            before = chunk[-overlap:] if overlap else b""
