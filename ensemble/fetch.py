"""Fetches the run folders of other machines from the artefact store, with the command of the tuner."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tuner.base.run_folder import STORED

SHARED = ("TUNER_ARTIFACTS", "TUNER_STORAGE")  # set if several machines work on one study


def fetch_runs(results: Path, studies: Sequence[str] = ()) -> None:
    """Runs `tuner fetch` if the results folder or the environment names a store.

    A failure is reported on stderr and is not an error: the local runs may be enough.
    """
    if not (results / STORED).is_file() and not any(os.environ.get(name) for name in SHARED):
        return
    command = [sys.executable, "-m", "tuner", "fetch", *studies, "--results", str(results)]
    status = subprocess.run(command, check=False).returncode
    if status == 130:
        raise KeyboardInterrupt
