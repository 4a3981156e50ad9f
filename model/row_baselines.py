"""Baselines that read whole recordings row by row, from known recordings and without a network.

Two of them are told what a decoder must find out: the row clock is told the operation, and the oracle program
is told the truth. The oracle is the known recording, at the shift, that agrees most with the true log: no
decoder that copies one known log can be better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.intervals import Interval
from model.library import Library
from model.matching import Matches, match_at_any_feed
from model.recordings import Recordings
from model.row_metrics import RowScore, summary
from model.row_vote import read_rows

SHIFTS = range(-30, 31)  # rows tried by the oracle


@dataclass(frozen=True, eq=False)
class Problem:
    """One recording to read: its matches, the line ids of its live rows (into the library) and its operation.

    `truth` has -1 where the library does not know a line.
    """

    matches: Matches
    truth: np.ndarray
    operation: str

    @property
    def library(self) -> Library:
        """The known recordings."""
        return self.matches.library

    def log(self, k: int, shift: int = 0) -> np.ndarray:
        """(rows,) line ids of the known recording `k`, moved by `shift` rows."""
        lines = self.library.place_line[self.library.places(k)]
        return np.asarray(lines[np.clip(np.arange(len(self.truth)) + shift, 0, len(lines) - 1)])

    @property
    def told(self) -> np.ndarray:
        """Known recordings of the true operation; all, if it is unknown."""
        same = self.matches.which[self.library.operations[self.matches.which] == self.operation]
        return same if len(same) else self.matches.which


Answer = tuple[np.ndarray, str]  # (rows,) line ids, operation


def nearest(problem: Problem) -> Answer:
    """The lines of the known recording with the highest correlation, at the same rows."""
    k = int(problem.matches.which[problem.matches.correlation.argmax()])
    return problem.log(k), problem.library.known[k].operation


def row_clock(problem: Problem) -> Answer:
    """The most frequent line at the same row, in the known recordings of the true operation."""
    logs = np.stack([problem.log(k) for k in problem.told])
    return np.array([Counter(column.tolist()).most_common(1)[0][0] for column in logs.T]), problem.operation


def oracle(problem: Problem) -> Answer:
    """The known recording and shift that agree most with the truth."""
    tried = ((k, shift) for k in problem.told for shift in SHIFTS)
    k, shift = max(tried, key=lambda at: int((problem.log(*at) == problem.truth).sum()))
    return problem.log(k, shift), problem.operation


def library_vote(problem: Problem) -> Answer:
    """All known recordings of the operation vote (`model.row_vote`)."""
    reading = read_rows(problem.matches)
    return reading.line[:, 0], problem.matches.operation


ROW_BASELINES: dict[str, tuple[Callable[[Problem], Answer], bool]] = {  # name → function, whether it is told
    "nearest known recording, same rows": (nearest, False),
    "row clock of the true operation": (row_clock, True),
    "vote of known recordings": (library_vote, False),
    "oracle program: best known recording and shift": (oracle, True),
}


@dataclass(frozen=True)
class RowBaseline:
    """The figures of one baseline; `leak`: it is told what a decoder must find out."""

    name: str
    figures: dict[str, Interval]
    leak: bool


def row_baselines(data: Recordings, *, known: Sequence[int], which: Sequence[int]) -> Iterator[RowBaseline]:
    """Reads the recordings `which` with the recordings `known`, which must not be among them."""
    library = Library.of(data, known)
    problems = [problem_of(library, data, i) for i in which]
    for name, (answer, leak) in ROW_BASELINES.items():
        scores = [
            scored(answer(problem), problem, data, i) for i, problem in zip(which, problems, strict=True)
        ]
        yield RowBaseline(name, summary(scores), leak)


def problem_of(library: Library, data: Recordings, recording: int, leave_out: Sequence[int] = ()) -> Problem:
    """The recording at index `recording` of `data`, to be read with the library."""
    ids = {line: i for i, line in enumerate(library.lines)}
    lines = np.asarray(data.line_ids[data.recordings[recording].live])
    return Problem(
        matches=match_at_any_feed(library, data, recording, leave_out=leave_out),
        truth=np.array([ids.get(data.lines[line], -1) for line in lines]),
        operation=data.recordings[recording].operation,
    )


def scored(answer: Answer, problem: Problem, data: Recordings, recording: int) -> RowScore:
    """The score over all rows of the recording; after its frozen end, the answer starts again."""
    found, operation = answer
    meta = data.recordings[recording]
    lines = [problem.library.lines[i] for i in found[np.arange(meta.rows) % len(found)]]
    truth = [data.lines[i] for i in data.line_ids[meta.start : meta.start + meta.rows]]
    return RowScore.of(meta.name, lines, truth, operation_right=operation == problem.operation)
