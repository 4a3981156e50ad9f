"""`tuner run train.py`: runs a script that makes its own W&B sweeps, and answers its calls here."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.base.errors import InputError
from tuner.base.wandb_files import environment, wandb_folder
from tuner.run.script_sweeps import Program
from tuner.workloads.script_environment import HOOK

LOOK_SECONDS = 0.2  # between looks whether the script has ended


def drive(program: Program, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]], results: Path) -> int:
    """Runs the script to its end and returns its exit status.

    Args:
        answer: called with each request of the script, one at a time.

    Raises:
        InputError: there is no such script.
        KeyboardInterrupt: after Ctrl-C, once the script has ended.
    """
    if not program.module and not (program.folder / program.name).is_file():
        raise InputError(f"{program.name}: no such script in {program.folder}")
    with TemporaryDirectory() as scratch, socket.socket(socket.AF_UNIX) as server:
        path = f"{scratch}/sweeps"  # a path of 108 bytes at most: the results folder's may be too long
        server.bind(path)
        server.listen()
        sys.stdout.flush()
        with subprocess.Popen(
            [sys.executable, *program.words],
            cwd=program.folder,
            env=_environment(program, results, path),
        ) as child:
            try:
                return _serve(server, child, answer)
            except KeyboardInterrupt:  # the terminal has told the script, too
                with contextlib.suppress(KeyboardInterrupt):
                    child.wait()
                raise
            finally:
                if child.poll() is None:
                    child.terminate()


def _serve(
    server: socket.socket,
    child: subprocess.Popen[bytes],
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> int:
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while child.poll() is None:
            if not selector.select(LOOK_SECONDS):
                continue
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                line = lines.readline()
                found = answer(json.loads(line)) if line else {}
                with contextlib.suppress(OSError):  # the script has gone meanwhile
                    connection.sendall(json.dumps(found).encode() + b"\n")
    return child.returncode


def _environment(program: Program, results: Path, path: str) -> dict[str, str]:
    """That of a trial's script, so that its W&B is offline; what it logs itself belongs to no trial."""
    folder = wandb_folder(results, program.stem)
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "WANDB_MODE": "offline",
        "WANDB_CONSOLE": "off",
        "TUNER_EVENTS": os.devnull,
        "TUNER_SWEEPS": path,
        "PYTHONPATH": os.pathsep.join([str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return environment(folder) | own
