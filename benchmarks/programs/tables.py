"""The form of the tables."""

from __future__ import annotations

from collections.abc import Iterator

from model.intervals import Interval

COLUMNS = {
    "exact_acc": "windows",
    "row_acc": "rows",
    "row_acc_near": "within a row",
    "program_error_rate": "program error",
    "line_recall": "lines found",
    "line_invented": "invented",
    "recording_operation_acc": "operation",
}


def header(title: str) -> Iterator[str]:
    """The head of a table of readings."""
    yield f"| {title} | {' | '.join(COLUMNS.values())} |"
    yield f"| --- |{' --: |' * len(COLUMNS)}"


def row(name: str, figures: dict[str, Interval]) -> str:
    """A line of it."""
    return f"| {name} | {' | '.join(str(figures[key]) for key in COLUMNS)} |"
