"""Scores of a program that was read row by row: rows that are right, and the sequence of lines.

`row_acc`: rows with the right line. `row_acc_near`: with the right line of this row or a neighbour.
`program_error_rate`: edit distance between the sequences of lines (equal neighbours merged), over the true
number. `line_recall`: true lines that are found, in order. `line_invented`: decoded lines that are not true.
`recording_operation_acc`: recordings whose operation is right. `exact_acc`: windows whose label (their most
frequent line) is right, when labels are taken from the decoded rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.config import Config
from model.intervals import Interval, share
from model.windows import labels_of, window_starts


@dataclass(frozen=True)
class RowScore:
    """Counts of one recording; see the docstring of this file."""

    recording: str
    rows: int
    right: int
    near: int
    changes: int  # true lines, equal neighbours merged
    decoded: int  # decoded lines, equal neighbours merged
    edits: int
    found: int
    operation_right: bool
    windows: int
    windows_right: int

    @classmethod
    def of(
        cls,
        recording: str,
        decoded: Sequence[str],
        truth: Sequence[str],
        *,
        operation_right: bool,
        window: int = Config.window,
        stride: int = Config.stride,
    ) -> RowScore:
        """The score of the decoded lines of a recording, with the windows of a network."""
        codes = {line: code for code, line in enumerate(dict.fromkeys([*decoded, *truth]))}
        said, true = (np.array([codes[x] for x in lines], dtype=np.int64) for lines in (decoded, truth))
        right = said == true
        near = right.copy()
        near[1:] |= said[1:] == true[:-1]
        near[:-1] |= said[:-1] == true[1:]
        ours, theirs = merged_neighbours(said), merged_neighbours(true)
        starts = window_starts(len(true), window=window, stride=stride)
        labels = labels_of(said, window=window)[starts] == labels_of(true, window=window)[starts]
        return cls(
            recording=recording,
            rows=len(true),
            right=int(right.sum()),
            near=int(near.sum()),
            changes=len(theirs),
            decoded=len(ours),
            edits=edit_distance(ours, theirs),
            found=common_length(ours, theirs),
            operation_right=operation_right,
            windows=len(starts),
            windows_right=int(labels.sum()),
        )


def summary(scores: Sequence[RowScore], *, seed: int = 0) -> dict[str, Interval]:
    """The metrics over recordings, each with its interval."""

    def counted(name: str) -> np.ndarray:
        return np.array([getattr(score, name) for score in scores], dtype=np.float64)

    parts: Mapping[str, tuple[np.ndarray, np.ndarray]] = {
        "row_acc": (counted("right"), counted("rows")),
        "row_acc_near": (counted("near"), counted("rows")),
        "program_error_rate": (counted("edits"), counted("changes")),
        "line_recall": (counted("found"), counted("changes")),
        "line_invented": (counted("decoded") - counted("found"), counted("decoded")),
        "exact_acc": (counted("windows_right"), counted("windows")),
        "recording_operation_acc": (counted("operation_right"), np.ones(len(scores))),
    }
    return {name: share(part, of, seed=seed) for name, (part, of) in parts.items()}


def merged_neighbours(values: np.ndarray) -> np.ndarray:
    """The sequence with equal neighbours merged."""
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def edit_distance(a: np.ndarray, b: np.ndarray) -> int:
    """Insertions, deletions and replacements from `a` to `b` (Levenshtein)."""
    place = np.arange(len(b) + 1)
    row = place.copy()
    for i, value in enumerate(a.tolist(), start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (b != value))
        row = np.minimum.accumulate(np.concatenate([[i], best]) - place) + place
    return int(row[-1])


def common_length(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common subsequence."""
    row = np.zeros(len(b) + 1, dtype=np.int64)
    for value in a.tolist():
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], row[:-1] + (b == value)))
    return int(row[-1])
