"""Reads what a loop wrote about its runs: a table, JSON lines, metrics in a git history, or W&B's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.plugins.referee.judge import Run

OWN = "referee.jsonl"  # runs that the referee made, and its rulings


@dataclass(frozen=True)
class History:
    """The runs of a loop, in the order in which they were made.

    Attributes:
        metric: the name of their value. maximize: whether larger values are better.
        source: where they were read, in words.
    """

    runs: tuple[Run, ...]
    metric: str
    maximize: bool
    source: str


def read(
    folder: Path, source: Path | None = None, *, metric: str | None = None, goal: str | None = None
) -> History:
    """The runs that were made in a folder, and those that the referee made there (`OWN`)."""
    raise NotImplementedError


def append(folder: Path, row: Mapping[str, Any]) -> None:
    """Adds a line to the referee's own file: `kind` is run (arm, value, seed, metric, goal) or ruling."""
    raise NotImplementedError
