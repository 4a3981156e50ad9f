"""Writes a decoded program as a G-code file that a viewer or controller opens.

The lines are those of the merged program, up to the line that the recording ended on: also those that no log
of the controller caught. Modal words, feeds and the setup are completed (`model.merged_program`). A line
that was decoded with a probability below `UNSURE` carries it as a comment.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import IO

import numpy as np

from inference.whole import WholeRecording
from model.controller_log import UNKNOWN

UNSURE = 0.8


def write_programs(recordings: list[WholeRecording], out: IO[str]) -> None:
    """One program after the other; each begins with comments that say what it is."""
    for one in recordings:
        for line in program_lines(one):
            out.write(f"{line}\n")


def program_lines(one: WholeRecording) -> Iterator[str]:
    """The lines of the file of one recording."""
    if one.program is None or not one.program.lines:
        yield from _lines_only(one)
        return
    sure = confidence(one)
    last = last_number(one)
    yield f"({_plain(one.name)}: program of {_plain(one.operation or '')})"
    yield f"({one.sure}; lines below {UNSURE:.2f} carry their probability)"
    yield f"(merged from the logs of {len(one.program.recordings)} known recordings)"
    if one.program.setup:
        yield one.program.setup
    for line, text in zip(one.program.lines, one.program.texts(), strict=True):
        if line.number > last:
            return
        p = sure[line.number]
        yield text if p >= UNSURE else f"{text} ({p:.2f})"


def confidence(one: WholeRecording) -> dict[int, float]:
    """Number of each line of the program → probability of the rows in which the machine passed it.

    A row with line number n, before a row with a larger number m, covers the lines n … m − 1. A line that
    rows cover several times has the largest of their probabilities; one that none covers, that of its
    neighbours.
    """
    assert one.program is not None, "only a known program has numbers"
    numbers = np.array([line.number for line in one.program.lines])
    found = np.full(len(numbers), np.nan)
    probability = np.nan_to_num(one.probability)
    for k, n in enumerate(one.number):
        if n == UNKNOWN:
            continue
        after = one.number[k + 1] if k + 1 < len(one.number) else n
        first = np.searchsorted(numbers, n)
        stop = max(first + 1, np.searchsorted(numbers, after)) if after - n < len(numbers) / 2 else first + 1
        found[first:stop] = np.fmax(found[first:stop], probability[k])
    known = np.flatnonzero(np.isfinite(found))
    filled = np.interp(np.arange(len(found)), known, found[known]) if len(known) else np.zeros(len(found))
    return dict(zip(numbers.tolist(), filled.tolist(), strict=True))


def last_number(one: WholeRecording) -> int:
    """The number of the line that the recording ended on."""
    live = np.flatnonzero((one.number != UNKNOWN) & np.isfinite(one.probability))
    return int(one.number[live[-1]]) if len(live) else UNKNOWN


def _lines_only(one: WholeRecording) -> Iterator[str]:
    why = "no known program fits" if one.operation is None else "the known programs have no line numbers"
    yield f"({_plain(one.name)}: {why}; these are the lines of its rows, not a whole program)"
    for before, run in pairwise([None, *one.runs]):
        assert run is not None
        if run.line and (before is None or before.line != run.line):
            p = run.probability
            yield run.line if p is None or p >= UNSURE else f"{run.line} ({p:.2f})"


def _plain(text: str) -> str:
    return text.replace("(", "[").replace(")", "]")
