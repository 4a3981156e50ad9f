"""Checks the machine and the installation. Each check says what it found. If it fails: also what to do."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from tuner.base import plugins
from tuner.run.executors.local import available_memory
from tuner.show.console import GREEN, VERMILLION, table
from tuner.storage.access import find_records
from tuner.storage.outage import hide_password
from tuner.tracking import mode as tracking_mode
from tuner.workloads.workload import SMALL_MEMORY

LEAST_FREE = 2**30  # bytes of disk space that a small study needs


@dataclass(frozen=True)
class Check:
    """The result of one check. `fine`: a study can run."""

    name: str
    fine: bool
    found: str


def examine(url: str, results: Path) -> list[Check]:
    """Runs all checks, in the order in which a study needs them."""
    looks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("python", _python),
        ("cores, memory", _machine),
        ("results", lambda: _results(results)),
        ("storage", lambda: _storage(url)),
        ("W&B", lambda: (True, tracking_mode.resolve("auto")[1])),
        *(check for checks in plugins.hooks("checks") for check in checks()),
    ]
    return [_check(name, look) for name, look in looks]


def _check(name: str, look: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *look())
    except Exception as error:  # any error is a finding
        return Check(name, False, " ".join(str(error).split()) or type(error).__name__)


def check_table(checks: list[Check]) -> Table:
    """The checks as a table for the terminal."""
    words = {True: Text("ok", GREEN), False: Text("no", VERMILLION)}
    shown = table(("", "", ""), [(words[c.fine], c.name, c.found) for c in checks], padding=(0, 2))
    shown.show_header = False
    return shown


def _python() -> tuple[bool, str]:
    return True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _machine() -> tuple[bool, str]:
    free = available_memory()
    room = max(0, free // SMALL_MEMORY)
    cores = os.cpu_count() or 1
    return room >= 1, f"{cores} cores, {free / 2**30:.1f} GiB free: room for {min(room, cores)} agents"


def _results(results: Path) -> tuple[bool, str]:
    folder = next(path for path in (results, *results.resolve().parents) if path.exists())
    with tempfile.NamedTemporaryFile(dir=folder):
        free = shutil.disk_usage(folder).free
    enough = free >= LEAST_FREE
    needs = "" if enough else "; a study needs 1 GiB"
    return enough, f"{results}: writable, {free / 2**30:.1f} GiB free{needs}"


def _storage(url: str) -> tuple[bool, str]:
    shown = hide_password(url)
    records = find_records(url)
    if records is None:
        return True, f"{shown}: does not exist yet; the first study creates it"
    began = time.perf_counter()
    with records.locked():
        names = [study.study_name for study in records.get_all_studies()]
    milliseconds = 1000 * (time.perf_counter() - began)
    studies = "study" if len(names) == 1 else "studies"
    return True, f"{shown}: {len(names)} {studies}, locked and read in {milliseconds:.0f} ms"
