"""Starts one script and ends it with everything that it started, whichever process dies first.

A process between the agent and the script: `python -I -S keeper.py SETTINGS COMMAND…`. Its standard input is
a pipe from the agent. A line there is the number of a signal: the script is told to end. The end of the pipe
means that the agent is gone: the script is ended at once, as its trial may soon be running elsewhere.

Orphans of the script become children of this process (on Linux, a "subreaper"), so it also finds those that
began a session of their own. The script's output comes through a pipe and is written without secrets.

It ends as the script did: with its exit status, or by the same signal. Without a command it writes what
comes through its standard input, the log of an agent that runs functions, and ends what a dead agent leaves
running. Only the standard library, and little of it: it starts in 20 ms, once a trial.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

SUBREAPER, DEATH_SIGNAL = 36, 1  # of prctl
LEFT_OVER_SECONDS = 1.0  # between SIGTERM and SIGKILL for what a script leaves running
GONE_SECONDS = 1.0  # the same for a script whose agent is gone
CHUNK = 1 << 16
OUTPUT_LIMIT = 256 << 20  # bytes; after that only lines of metrics and the last lines are kept
LONGEST_LINE = 1 << 20  # bytes; the rest of a longer one is left out
LAST_BYTES = 1 << 14
LOOK_SECONDS = 0.2  # between looks whether an agent is still there
UNWRITTEN_LIMIT = 4 << 20  # bytes that wait in memory for a full disk to have room again


class Output:
    """The script's output on its way into `output.log`.

    The script goes on while the disk is full. What cannot be written waits, and is written before what comes
    later, so that no line of metrics is lost or torn.
    """

    def __init__(self, path: Path, mask: Any) -> None:
        self._path, self._mask = path, mask
        self._file = -1
        self._unwritten = b""
        self._rest = b""  # a line that is not whole yet
        self._length = 0  # of what was written of it
        self._room = OUTPUT_LIMIT
        self._last = b""  # of what had no room
        self._put(b"")

    def take(self, data: bytes) -> None:
        data = self._rest + data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        whole, self._rest = data[:end], data[end:]
        if len(self._rest) > CHUNK:  # a secret may begin in what came last
            rest = self._mask.data(self._rest)
            end = len(rest) - self._mask.longest
            whole, self._rest = whole + rest[:end], rest[end:]
        self._write(self._shortened(self._mask.data(whole)))

    def close(self) -> None:
        self._write(self._shortened(self._mask.data(self._rest)))
        self._put(self._last)

    def _shortened(self, data: bytes) -> bytes:
        """`data` without what its lines have beyond `LONGEST_LINE`."""
        kept = []
        for part in data.splitlines(keepends=True):
            end = part[len(part.rstrip(b"\r\n")) :]
            room, self._length = LONGEST_LINE - self._length, self._length + len(part)
            if self._length > LONGEST_LINE + len(end):
                part = part[:room] + b" [the line is cut here]" + end if room >= 0 else end
            if end:
                self._length = 0
            kept.append(part)
        return b"".join(kept)

    def _write(self, data: bytes) -> None:
        if len(data) <= self._room:
            self._room -= len(data)
            return self._put(data)
        if self._room >= 0:
            self._put(b"[the output is cut here: more than %d MiB]\n" % (OUTPUT_LIMIT >> 20))
            self._room = -1
        self._put(b"".join(line for line in data.splitlines(keepends=True) if line.startswith(b"{")))
        self._last = (self._last + data)[-LAST_BYTES:]

    def _put(self, data: bytes) -> None:
        if len(self._unwritten) + len(data) <= UNWRITTEN_LIMIT:
            self._unwritten += data
        with contextlib.suppress(OSError):  # a full disk; the script must not block
            if self._file < 0:
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]


class Keeper:
    """One script and all that comes of it."""

    def __init__(self, command: list[str], output: Output, grace: float) -> None:
        self._output, self._grace = output, grace
        self._finds_orphans = _prctl(SUBREAPER, 1)
        self._wake, woken = os.pipe()
        for end in (self._wake, woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in (signal.SIGCHLD, *before):
            signal.signal(number, lambda *_: None)
        self._printed, write = os.pipe()
        self.script = os.fork()
        if self.script == 0:
            _become(command, write, before)
        with contextlib.suppress(OSError):  # it has done so itself, or is gone
            os.setpgid(self.script, self.script)
        os.close(write)
        os.set_blocking(self._printed, False)
        self.status: int | None = None  # as `waitpid` gives it
        self.agent_gone = False
        self._deadline: float | None = None  # of what is left
        self._cleared = False

    def run(self) -> int:
        """Until nothing is left; returns the script's status."""
        sources = [0, self._wake, self._printed]
        while True:
            wait = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            ready = select.select(sources, [], [], wait)[0]
            if self._printed in ready and not self._read():
                sources.remove(self._printed)
            if self._wake in ready:
                os.read(self._wake, CHUNK)
            if 0 in ready and not self._listen():
                sources.remove(0)
            if self._collect():
                break
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._kill()
                break
        while self._read():
            pass
        self._output.close()
        assert self.status is not None
        return self.status

    def _read(self) -> bool:
        """Passes on what the script printed; False when there is nothing (now, or ever)."""
        try:
            data = os.read(self._printed, CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._output.take(data)
        return bool(data)

    def _listen(self) -> bool:
        """What the agent says; False when it is gone."""
        said = os.read(0, CHUNK)
        if said:
            self._stop(int(said.split()[-1]), self._grace)
            return True
        self.agent_gone = True
        self._stop(signal.SIGTERM, GONE_SECONDS)
        return False

    def _stop(self, number: int, grace: float) -> None:
        self._signal_group(number)
        deadline = time.monotonic() + grace
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)

    def _collect(self) -> bool:
        """Takes leave of processes that ended; True when none is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self.script:
                    self.status = status
        except ChildProcessError:
            if self._finds_orphans or not self._signal_group(0):
                return True
        if self.status is not None and not self._cleared:  # it left something running
            self._cleared = True
            self._stop(signal.SIGTERM, LEFT_OVER_SECONDS)
            for pid in descendants():
                _signal(pid, signal.SIGTERM)
        return False

    def _kill(self) -> None:
        """SIGKILL for all, again until none is left: what is killed may have started another just before."""
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            self._signal_group(signal.SIGKILL)
            for pid in descendants():
                _signal(pid, signal.SIGKILL)
            if self._collect():
                return
            time.sleep(0.01)
            self._read()
        if self.status is None:
            self.status = signal.SIGKILL

    def _signal_group(self, number: int) -> bool:
        try:
            os.killpg(self.script, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def descendants() -> list[int]:
    """The processes that come from this one, orphans among them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):  # nothing where there is no /proc
        with contextlib.suppress(OSError):
            state, parent, *_ = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if state != b"Z":
                parents[int(entry.name)] = int(parent)
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def _become(command: list[str], output: int, signals: dict[signal.Signals, Any]) -> None:
    """Turns the forked child into the script."""
    try:
        os.setpgid(0, 0)
        _prctl(DEATH_SIGNAL, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number, before in signals.items():
            signal.signal(number, before)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # who asks a question gets end-of-file, not a hang
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _prctl(option: int, value: int) -> bool:
    """Whether the kernel has it (Linux)."""
    try:
        import ctypes

        return ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0
    except (ImportError, OSError, AttributeError):
        return False


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _beside(path: str) -> Any:
    """A module of this project, loaded by its file: the project cannot be imported here."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parent / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _copy(output: Output, mark: str, agent: int) -> None:
    """Writes what an agent prints, and ends what it leaves running when it is gone.

    The agent may be gone before this process has begun. Its standard output is closed when everything is
    written: the agent waits for that.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left_over = _beside("../base/left_over.py").LeftOver(mark)
    sources = [0]
    while True:
        if select.select(sources, [], [], LOOK_SECONDS)[0]:
            data = os.read(0, CHUNK)
            if data:
                output.take(data)
                continue
            sources.clear()
            output.close()
            os.close(1)
        if os.getppid() != agent and left_over.gone():
            break
    if sources:
        output.close()


def _end_as(status: int) -> None:
    """Ends this process as the script ended."""
    number = status & 0x7F
    if number:
        with contextlib.suppress(ImportError):
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if not number else 128 + number)


def main(settings: dict[str, Any], command: list[str]) -> None:
    mask = _beside("masking.py").Mask(os.environ, settings["passed"])
    output = Output(Path(settings["output"]), mask)
    if not command:
        return _copy(output, settings["mark"], settings["agent"])
    keeper = Keeper(command, output, settings["grace"])
    status = keeper.run()
    if keeper.agent_gone:
        shutil.rmtree(settings["scratch"], ignore_errors=True)
    _end_as(status)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
