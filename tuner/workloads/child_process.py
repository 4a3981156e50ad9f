"""A script as a child process: its output in a file, an end that is certain."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tuner.base import left_over
from tuner.base.words import printable

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL
KEEPER_SECONDS = 10.0  # what the keeper may take after that
LOG_SECONDS = 2.0  # what the last lines of a log may take
KEEPER = Path(__file__).with_name("keeper.py")
TAIL_LINES = 15
TAIL_BYTES = 4000
_ERROR = re.compile(r"(?<!_)(error|exception)\b|could not|cannot|no such", re.IGNORECASE)


class ChildProcess:
    """Runs one command. As a context manager: whatever happens inside, nothing of it is left running.

    A prune ends it with SIGTERM, an interrupted agent with SIGINT, each followed by SIGKILL after a grace
    time. A process of its own sees to that (`keeper`), also when the agent is killed.

    Args:
        output: the file that gets what it prints, without secrets.
        passed: names of variables whose values are arguments of the command.
        scratch: a folder that is removed where the agent cannot.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        output: Path,
        scratch: Path,
        passed: Collection[str] = (),
        grace: float = GRACE_SECONDS,
    ) -> None:
        settings = {"output": str(output), "scratch": str(scratch), "passed": sorted(passed), "grace": grace}
        self.command = [sys.executable, "-I", "-S", str(KEEPER), json.dumps(settings), *command]
        self.folder = folder
        self.environment = dict(environment)
        self.grace = grace

    def __enter__(self) -> ChildProcess:
        self._process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
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
        finally:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            if self._ended is not None:
                os.close(self._ended)

    def wait(self, seconds: float) -> int | None:
        """The exit status, or None when the script still runs after `seconds`."""
        self._process.send_signal(signal.SIGCONT)  # its script may have stopped the keeper
        if self._ended is not None:
            select.select([self._ended], [], [], seconds)
            return self._process.poll()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends all of it: `how`, then after the grace time SIGKILL. Returns the exit status."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"%d\n" % how)
            self._process.stdin.flush()
        try:
            return self._process.wait(self.grace + KEEPER_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the kernel then kills the script
            return self._process.wait()


class Log:
    """Writes to a file what this process and its children print from now on, without secrets.

    A process of its own does so, which also ends what this one leaves running when it dies (`keeper`).
    """

    def __init__(self, path: Path) -> None:
        own = dict(os.environ)
        mark = own.pop(left_over.VARIABLE, "")  # it outlives this process, and ends by itself
        settings = {"output": str(path), "passed": [], "mark": mark, "agent": os.getpid()}
        command = [sys.executable, "-I", "-S", str(KEEPER), json.dumps(settings)]
        self._writer = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=own
        )
        assert self._writer.stdin is not None
        sys.stdout.flush()
        sys.stderr.flush()
        for printed in (1, 2):
            os.dup2(self._writer.stdin.fileno(), printed)
        self._writer.stdin.close()

    def close(self) -> None:
        """Waits until what this process printed is written."""
        sys.stdout.flush()
        sys.stderr.flush()
        nothing = os.open(os.devnull, os.O_WRONLY)
        for printed in (1, 2):
            os.dup2(nothing, printed)
        # it closes its end when all is written; longer, a child of this process still has the log open
        assert self._writer.stdout is not None
        select.select([self._writer.stdout], [], [], LOG_SECONDS)


def _end_of(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends, where there is one (Linux)."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def tail(path: Path) -> str:
    """The last lines of a script's output, without the overwritten states of progress bars."""
    if not path.exists():  # the disk was full
        return ""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4 * TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return printable("\n".join([line for line in lines if line][-TAIL_LINES:])[-TAIL_BYTES:])


def cause_in(lines: Sequence[str]) -> str:
    """The line that says why a script failed: of its exception, else one about an error, else the last."""
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    if frames:
        rest = [line for line in lines[frames[-1] :] if not line.startswith("  ")]
        if rest:
            message = itertools.takewhile(lambda line: not line.startswith("wandb:"), rest)
            return " ".join(list(message)[:3]) or rest[0]
    return next((line for line in reversed(lines) if _ERROR.search(line)), lines[-1])


def how_it_ended(status: int | None) -> str:
    """What an exit status says of a process, in words."""
    if status is None or status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-status).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"killed by signal {-status}"
