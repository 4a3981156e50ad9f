"""A whole program, merged from the logs of all its recordings by line number.

A log has a line only if the machine was on it when the controller reported, so one log of a fast program
holds a third of its lines. Different logs hold different ones. A line that a log skips may set a motion mode
or a feed, so both are taken from what the controller reported on the lines after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model.controller_log import UNKNOWN
from model.library import Library

AGREE = 0.98  # least share of common numbers with the same line, in two logs of one program
COMMON = 0.2  # least share of the numbers of a log that the others have, too
SAME_FEED = 0.02  # relative difference that rounding explains
INCH = 25.4

_WORD = re.compile(r"([A-Z])(-?[\d.]+)")
_MOTIONS = {"G0": 0, "G1": 1, "G2": 2, "G3": 3}


@dataclass(frozen=True)
class ProgramLine:
    """One line of a program; motion: 0 – 3 for G0 – G3, or UNKNOWN; feed: mm/min, or NaN."""

    number: int
    line: str
    motion: int
    feed: float


@dataclass(frozen=True)
class MergedProgram:
    """A program; `setup`: modal words that hold at its start; `recordings`: whose logs it is merged from."""

    setup: str
    lines: tuple[ProgramLine, ...]
    recordings: tuple[str, ...]

    def texts(self) -> list[str]:
        """Each line, with the motion and feed words that skipped lines have set: a viewer can draw it."""
        return list(_complete(self.lines, metric="G21" in self.setup.split()))


def merged(library: Library, of: int, *, leave_out: Sequence[int] = ()) -> MergedProgram:
    """The program of the known recording `of`, with the lines of all known logs that agree with it."""
    found = _numbers(library, of)
    used = [of]
    rest = {k: _numbers(library, k) for k in range(len(library.known)) if k != of and k not in leave_out}
    while fitting := [k for k, other in rest.items() if agrees(library, found, other)]:
        for k in fitting:  # one log alone has few numbers in common with another: compare with all so far
            used.append(k)
            found = {**rest.pop(k), **found}
    lines = tuple(
        ProgramLine(
            number=number,
            line=library.lines[library.place_line[found[number]]],
            motion=int(library.motion[found[number]]),
            feed=float(library.feed[found[number]]),
        )
        for number in sorted(found)
    )
    names = tuple(library.known[k].name for k in sorted(used))
    return MergedProgram(library.known[of].setup, lines, names)


def agrees(library: Library, program: dict[int, int], log: dict[int, int]) -> bool:
    """Whether a log is of the program of others (number → place)."""
    shared = program.keys() & log.keys()
    if not shared or len(shared) < COMMON * len(log):
        return False
    same = sum(library.place_line[program[n]] == library.place_line[log[n]] for n in shared)
    return bool(same >= AGREE * len(shared))


def _numbers(library: Library, k: int) -> dict[int, int]:
    """Number → place of the rows of a known recording, those without a number left out."""
    places = np.unique(library.places(k))
    return {int(library.number[p]): int(p) for p in places if library.number[p] != UNKNOWN}


def _complete(lines: Sequence[ProgramLine], *, metric: bool) -> Iterator[str]:
    motion: int | None = None
    feed: float | None = None
    for line in lines:
        words = line.line.split()
        stated = [_MOTIONS[word] for word in words if word in _MOTIONS]
        values = {match[1]: float(match[2]) for word in words if (match := _WORD.fullmatch(word))}
        moves = bool(values.keys() & set("XYZ"))
        if stated:
            motion = stated[-1]
        elif moves and line.motion != UNKNOWN and line.motion != motion:
            motion = line.motion
            words = [f"G{motion}", *words]
        if "F" in values:
            feed = values["F"]
        elif moves and motion in (1, 2, 3) and np.isfinite(line.feed) and line.feed > 0:
            now = line.feed if metric else line.feed / INCH
            if feed is None or abs(now - feed) > SAME_FEED * feed:
                feed = round(now, 1)
                words = [*words, f"F{feed:g}"]
        yield " ".join(words)
