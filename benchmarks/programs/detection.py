"""Table: how surely a recording that is not of the expected program is found out.

Real recordings: (a) of another program, (b) of a program that the library never saw, (d) of a damaged part,
which the program of a good one cuts. Simulated ones: (c) of the expected program with some lines changed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import figures
import numpy as np
from programs.reading import programs

from inference.check import Checker, Strangeness
from inference.whole import Reader
from model.library import Library
from model.library_fit import build, fitted
from model.matching import Matches, match_each_other
from model.recording_files import RecordingFile, from_table
from model.recordings import Recordings

ALARMS = (0.01, 0.05)
OPERATIONS = ("face", "pocket", "adaptive")
KNOWN, NEW = 24, 20  # simulated recordings of each operation
CHANGES = {
    "one line removed": lambda lines, at: lines[:at] + lines[at + 1 :],
    "four lines removed": lambda lines, at: lines[:at] + lines[at + 4 :],
    "two lines swapped": lambda lines, at: [
        *lines[:at], lines[at + 3], *lines[at + 1 : at + 3], lines[at], *lines[at + 4 :]
    ],
    "feed 10 % higher": lambda lines, at: [_times(line, "F", 1.1) for line in lines],
    "cut 0.5 mm deeper": lambda lines, at: [line.replace("Z0.025", "Z0.005") for line in lines],
}  # fmt: skip
EVERYWHERE = ("feed 10 % higher", "cut 0.5 mm deeper")


def detection_tables(data: Recordings, lines: figures.Lines) -> None:
    """All tables of the section."""
    library = build(data)
    matches = match_each_other(library)
    strange = Strangeness.of(library)
    right = strange.own
    lines.head(
        "not the expected program", "recordings", "AUROC", "found at 1 % alarms", "at 5 %", "rows late"
    )
    same = programs(library)
    other, unseen = [], []
    for k, found in enumerate(matches):
        own = same[library.known[k].operation]
        rest = sorted(set(library.operations) - own)
        scores = [score(strange, found, operation) for operation in rest]
        other += scores
        unseen.append(min(scores))
    usual = right[np.isfinite(right)]
    add(lines, "(a) another program", usual, np.array(other), len(matches))
    add(lines, "(b) a program that no known recording is of, any known one expected", usual, np.array(unseen))
    for good in ("adaptive150025", "face150025", "pocket150025"):
        damaged = f"damage{good.removesuffix('150025')}"
        if not {good, damaged} <= set(library.operations):
            continue
        here = np.flatnonzero(library.operations == damaged)
        scores = [score(strange, matches[k], good) for k in here]
        mine = right[library.operations == good]
        add(lines, f"(d) {damaged}, {good} expected", mine[np.isfinite(mine)], np.array(scores))
    simulated(lines)


def score(strange: Strangeness, found: Matches, operation: str) -> float:
    """The strangeness of a known recording for an operation."""
    return strange.score(operation, found.of_operation(operation).fit)


@dataclass(frozen=True)
class Changed:
    """A simulated recording: strangeness, and rows from the change to the row that was named."""

    score: float
    delay: int | None


def simulated(lines: figures.Lines) -> None:
    """(c) Lines removed, swapped, another feed or depth."""
    right: list[float] = []
    changed: dict[str, list[Changed]] = {name: [] for name in CHANGES}
    for which, operation in enumerate(OPERATIONS):
        program = _program(operation)
        known = [_recording(f"{operation}_{i:03d}", program, [1, which, i]) for i in range(KNOWN)]
        new = [("", 0, _recording(f"{operation}_9{i:02d}", program, [2, which, i])) for i in range(NEW)]
        for name, change in CHANGES.items():
            for i in range(NEW):
                third = len(program) // 3
                at = int(np.random.default_rng([3, which, i]).integers(third, 2 * len(program) // 3))
                changed_program = _recording(f"{operation}_8{i:02d}", change(program, at), [2, which, i])
                new.append((name, at, changed_program))
        data = Recordings.from_memory([*known, *(file for _, _, file in new)])
        checker = Checker(Reader(fitted(Library.of(data, range(KNOWN)))))
        for i, (name, at, file) in enumerate(new, start=KNOWN):
            value = score(checker.strangeness, checker.reader.matches(data, i)[0], operation)
            if not name:
                right.append(value)
                continue
            found = checker.check(data, i, [operation], operation).deviation
            begins = 0 if name in EVERYWHERE else _first_row(file, at)
            changed[name].append(Changed(value, None if found is None else found.row - begins))
    for name, found in changed.items():
        delays = [one.delay for one in found if one.delay is not None]
        add(lines, f"(c) simulated: {name}", np.array(right), np.array([one.score for one in found]),
                   delays=[] if name in EVERYWHERE else delays)  # fmt: skip


def add(
    lines: figures.Lines,
    name: str,
    right: np.ndarray,
    wrong: np.ndarray,
    count: int = 0,
    *,
    delays: Sequence[int] = (),
) -> None:
    """AUROC, and the share of wrong recordings above the quantiles of the right ones."""
    above = (wrong[:, None] > right[None]) + 0.5 * (wrong[:, None] == right[None])
    rates = [float((wrong > np.quantile(right, 1 - alarm)).mean()) for alarm in ALARMS]
    late = f"{np.median(delays):.0f} ({np.quantile(delays, 0.9):.0f})" if len(delays) else "–"
    found = (f"{100 * rate:.0f} %" for rate in rates)
    lines.row(name, count or len(wrong), f"{above.mean():.3f}", *found, late)


def _program(operation: str) -> list[str]:
    from model.simulator.programs import CUTS, program

    return program(CUTS[operation])


def _recording(name: str, lines: Sequence[str], seed: Sequence[int]) -> RecordingFile:
    from model.simulator.recorder import draw_day, record
    from model.simulator.sensors import BOARDS, machine

    rng = np.random.default_rng(seed)
    day = replace(draw_day(BOARDS, datetime(2026, 1, 5, 9), rng), after=0)
    boards = machine(BOARDS, np.random.default_rng([0, 0]))
    return from_table(record(lines, boards, day, rng), name=name, source=name, where=name)


def _first_row(file: RecordingFile, at: int) -> int:
    """The first row on the changed line or after it, after those that wait for the spindle."""
    number = file.log["number"]
    begins = int(number.argmin())
    after = np.flatnonzero(number[begins:] > at)
    return begins + int(after[0]) if len(after) else len(number) - 1


def _times(line: str, letter: str, factor: float) -> str:
    return re.sub(rf"{letter}([\d.]+)", lambda found: f"{letter}{float(found[1]) * factor:.1f}", line)
