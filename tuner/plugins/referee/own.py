"""The referee's own file in the folder of a loop: the runs that it made, and its rulings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from tuner.base.files import MOST_TABLE, check_file, writing
from tuner.plugins.referee.arms import Ruling
from tuner.plugins.referee.repository import held

OWN = "referee.jsonl"


def lock(folder: Path) -> AbstractContextManager[bool]:
    """Held while a process looks what the referee's own file has, and adds to it."""
    return held(folder / OWN)


def append(folder: Path, row: Mapping[str, Any]) -> None:
    """Adds a line to the referee's own file: `kind` is run (arm, value, seed, metric, goal) or ruling."""
    with writing(folder / OWN), (folder / OWN).open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        cut_off = file.read() not in (b"", b"\n")  # a process was killed while it wrote
        file.write(b"\n" * cut_off + json.dumps(row).encode() + b"\n")


def rows(folder: Path) -> list[Mapping[str, Any]]:
    """The rows of the referee's own file, oldest first; none where there is no file.

    Lines that were cut off are left out: the run of one is in the storage, and is added again.
    """
    path = folder / OWN
    if not path.is_file():
        return []
    check_file(path, MOST_TABLE)
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [row for row in found if isinstance(row, dict)]


def note_ruling(folder: Path, ruling: Ruling, metric: str) -> None:
    """Adds a ruling to the referee's own file, unless it says there what it said last of the arm."""
    told = {"kind": "ruling", "metric": metric, **ruling.to_dict()}
    with lock(folder):
        same = [r for r in rows(folder) if r.get("kind") == "ruling" and r.get("arm") == ruling.arm]
        last = same[-1] if same else {}
        if any(last.get(name) != told[name] for name in ("word", "runs", "against", "metric")):
            append(folder, {"made": f"{datetime.now():%Y-%m-%d %H:%M:%S}", **told})
