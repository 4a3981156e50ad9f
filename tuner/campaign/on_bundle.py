"""Studies of a decoder (`on: bundle`): they train nothing and belong to `inference`, which runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from rich.console import Console

from tuner.base.errors import WorkFailed
from tuner.run.launch import Request


def tune(request: Request, console: Console, *, bundle: str | None = None) -> None:
    """Runs a bundle study of `request` through `python -m inference tune` (no bundle named: the newest)."""
    arguments = ["inference", "tune", "--study", request.study_file.name]
    if bundle is not None:
        arguments += ["--bundle", bundle]
    if request.trials is not None:
        arguments += ["--trials", str(request.trials)]
    if request.data is not None:
        arguments += ["--data", str(request.data)]
    if request.seed:
        arguments += ["--seed", str(request.seed)]
    if request.fresh:
        arguments.append("--fresh")
    run_module(arguments, request, console)


def run_module(arguments: Sequence[str], request: Request, console: Console) -> None:
    """Runs another room's command, shown as it runs, in the same results folder.

    Raises:
        KeyboardInterrupt: the user stopped it.
        WorkFailed: it failed; its own error stands above.
    """
    shown = f"python -m {' '.join(arguments)}"
    console.print(f"$ {shown}", style="dim", markup=False, soft_wrap=True)
    command = [sys.executable, "-m", *arguments, "--results", str(request.results)]
    status = subprocess.run(command, check=False).returncode
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise WorkFailed(f"this did not succeed: {shown}")
