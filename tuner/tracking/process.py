"""The process that runs the W&B client, and the pipe to it. Writing to the pipe never blocks."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.base.wandb_files import environment

MAX_WAITING = 20_000  # messages to keep while the worker does not read; with more, it counts as dead
PACKAGES = str(Path(__file__).resolve().parent.parent.parent)  # the worker imports this package from here

log = logging.getLogger(__name__)


class WorkerProcess:
    """The process that runs the W&B client. No method raises. Only `close` waits.

    Args:
        folder: the client writes all its files here.
        settings: the settings of `tuner.tracking.worker`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.broken = False
        self._waiting: deque[bytes] = deque()
        try:
            self._process: subprocess.Popen[bytes] | None = _start(
                folder, {**settings, "folder": str(folder)}
            )
        except OSError as error:
            self._process = None
            self._break(f"could not start ({error})")

    def send(self, message: Mapping[str, Any]) -> None:
        if self.broken:
            return
        self._waiting.append(json.dumps(message, default=str).encode() + b"\n")
        self._write()
        if len(self._waiting) > MAX_WAITING:
            self._break("stopped reading")

    def close(self, timeout: float) -> None:
        """Sends the waiting messages, closes the pipe and waits up to `timeout` seconds for runs to end."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        end = time.monotonic() + timeout
        while self._waiting and not self.broken and time.monotonic() < end:
            self._write()
            time.sleep(0.01)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            log.warning("W&B did not finish in %.0f s; the metrics are in the run folders", timeout)

    def _write(self) -> None:
        """Writes as many messages as the pipe accepts now."""
        assert self._process is not None and self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        try:
            while self._waiting:
                written = os.write(descriptor, self._waiting[0])
                if written < len(self._waiting[0]):
                    self._waiting[0] = self._waiting[0][written:]
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._break("ended")

    def _break(self, what: str) -> None:
        self.broken = True
        self._waiting.clear()
        log.warning(
            "the W&B process %s; the metrics are in the run folders, `tuner sync` rebuilds the runs", what
        )


def _start(folder: Path, settings: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Starts the worker in its own session, so that Ctrl-C in the terminal does not stop it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tracking.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tuner.tracking.worker", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment(folder) | {"PYTHONPATH": PACKAGES},
            start_new_session=True,
            bufsize=0,
        )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return process
