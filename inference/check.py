"""Checks whether a recording is of an expected program: same, different, or unknown.

The strangeness of a recording for a program is how far its fit lies below the median fit of the known
recordings of that program. The same figure of each known recording, compared with the others, gives the
false-alarm rate: the conformal p-value is the share of recordings that are at least as strange (Vovk et al.
2005; Laxhammar and Falkman 2011). It is taken within the operation if that has enough recordings for the
rate, else over all. The agreement of rows (`model.deviation`) does not decide, it tells where a recording
deviates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inference.feed import feed_values, feed_words, lasting, row_seconds
from inference.whole import FEWEST_ROWS, Reader
from model.clock import Clock
from model.deviation import agreement
from model.library import Library
from model.matching import Matches, Query, match
from model.recordings import Recordings
from model.row_vote import read_rows
from tuner.base.errors import InputError
from tuner.base.words import counted

SAME, DIFFERENT, UNKNOWN = "same", "different", "unknown"
USUAL_ALARM = 0.05
PREFIX = 0.4  # of the rows that align a recording with the start of a known one, to find where it deviates


@dataclass(frozen=True, eq=False)
class Strangeness:
    """How strange recordings are for the operations of a library.

    Attributes:
        own: (known,) strangeness of each known recording for its operation, NaN if it is the only one.
    """

    library: Library = field(repr=False)
    own: np.ndarray

    @classmethod
    def of(cls, library: Library) -> Strangeness:
        """From the leave-one-out fits of a fitted library.

        Raises:
            InputError: no operation has two recordings.
        """
        own = np.full(len(library.known), np.nan)
        for k, fit in enumerate(library.fits):
            others = _others(library, library.known[k].operation, k)
            if len(others):
                own[k] = 1 - fit / _usual_fit(library, others)
        if not np.isfinite(own).any():
            raise InputError(
                "the library has no operation with two recordings: so it is not known what is usual"
            )
        return cls(library, own)

    def score(self, operation: str, fit: float) -> float:
        """The strangeness of a recording for an operation; infinite for one with too few recordings."""
        others = _others(self.library, operation)
        return 1 - fit / _usual_fit(self.library, others) if len(others) else float("inf")

    def p_value(self, operation: str, score: float, *, alarm: float) -> float:
        """The share of known recordings (and this one) that are at least as strange."""
        known = self.own[np.isfinite(self.own)]
        mine = self.own[(self.library.operations == operation) & np.isfinite(self.own)]
        enough = len(mine) + 1 >= 1 / alarm
        compared = mine if enough else known
        return (1 + int((compared >= score).sum())) / (1 + len(compared))


def _others(library: Library, operation: str, k: int = -1) -> np.ndarray:
    """The known recordings of an operation that have a fit, without `k`."""
    here = np.flatnonzero((library.operations == operation) & np.isfinite(library.fits))
    return here[here != k]


def _usual_fit(library: Library, recordings: np.ndarray) -> float:
    return max(float(np.median(library.fits[recordings])), 1e-6)


@dataclass(frozen=True, eq=False)
class Deviation:
    """Where a recording deviates; `rows`: how many; `line`: the line that was expected in the first of
    them."""

    row: int
    rows: int
    seconds: float | None
    line: str
    found: str | None = None  # the line that was run instead, if known


@dataclass(frozen=True, eq=False)
class Checked:
    """The answer for one recording.

    Attributes:
        verdict: SAME, DIFFERENT or UNKNOWN.
        expected: in words; operation: that it is of, None if unknown.
        p: the p-value for the expected program (SAME if above `alarm`).
        deviation: None if it is the same, or if no row can be named.
        agreement: with the expected program at the usual feed, NaN where unknown; usual: its lowest usual
            value.
        clock, feed: how it ran, in words too; known: how many recordings of its program are known.
    """

    name: str
    verdict: str
    expected: str
    operation: str | None
    p: float
    alarm: float
    fit: float
    deviation: Deviation | None
    agreement: np.ndarray
    usual: float
    clock: Clock
    feed: str
    known: int
    row_seconds: float | None
    notes: tuple[str, ...] = ()


class Checker:
    """Checks recordings with the library of a reader.

    Args:
        alarm: rate of false alarms; None: `USUAL_ALARM`, or the lowest that the known recordings allow.
    """

    def __init__(self, reader: Reader, *, alarm: float | None = None) -> None:
        if alarm is not None and not 0 < alarm < 1:
            raise InputError(f"--alarm: expected a share between 0 and 1, got {alarm:g}")
        self.reader = reader
        self.library = reader.library
        self.strangeness = Strangeness.of(self.library)
        known = int(np.isfinite(self.strangeness.own).sum())
        self.alarm = max(USUAL_ALARM, 1 / (known + 1)) if alarm is None else alarm
        if known + 1 < 1 / self.alarm:
            raise InputError(
                f"--alarm {alarm:g}: needs {int(np.ceil(1 / self.alarm)) - 1} known recordings of operations "
                f"with several, the library has {known}"
            )

    def like(self, name: str) -> str:
        """The operation of the known recording `name`.

        Raises:
            InputError: the library does not have it.
        """
        k = self.library.named(name)
        if k is None:
            raise InputError(
                f"--like {name}: not a known recording; the library has {self.library.known[0].name} … "
                f"{self.library.known[-1].name}"
            )
        return self.library.known[k].operation

    def check(self, data: Recordings, recording: int, operations: Sequence[str], expected: str) -> Checked:
        """Whether a recording is of one of the `operations`; all of them, if there are none.

        Raises:
            InputError: it has too few rows to say, or its sensors never change.
        """
        matches, _ = self.reader.matches(data, recording)
        meta = data.recordings[recording]
        if (rows := meta.live.stop - meta.live.start) < FEWEST_ROWS:
            raise InputError(
                f"{meta.name}: too short to recognise a program by: {counted(rows, 'row')}"
                f"{' before its sensors stop' if meta.frozen_rows else ''}, at least "
                f"{FEWEST_ROWS} are needed"
            )
        query = matches.query
        wanted = tuple(operations) or tuple(sorted(set(self.library.operations[matches.which])))
        p, operation, fit, curve = self._best(query, matches, wanted)
        verdict: str = SAME
        is_of: str | None = operation
        if p <= self.alarm:
            rest = [o for o in sorted(set(self.library.operations[matches.which])) if o not in wanted]
            best = self._best(query, matches, rest) if rest else None
            known = best is not None and best[0] > self.alarm
            verdict = DIFFERENT if known or self.library.knows(fit) else UNKNOWN
            is_of = best[1] if known and best is not None else None
        usual = self._usual(operation)
        found = None
        if verdict != SAME:
            other = matches.of_operation(is_of) if is_of not in (None, operation) else None
            found = self._deviation(data, recording, matches.of_operation(operation), usual, other)
        ran = matches.of_operation(is_of if is_of is not None else operation)
        lines = read_rows(ran).lines()
        return Checked(
            name=data.recordings[recording].name,
            verdict=verdict,
            expected=expected,
            operation=is_of,
            p=p,
            alarm=self.alarm,
            fit=fit,
            deviation=found,
            agreement=curve,
            usual=usual,
            clock=query.clock,
            feed=feed_words(query.clock, lines, row_seconds(data, recording)),
            known=len(ran.which),
            row_seconds=row_seconds(data, recording),
        )

    def _best(
        self, query: Query, matches: Matches, operations: Sequence[str]
    ) -> tuple[float, str, float, np.ndarray]:
        """The highest p-value of the operations, with its operation, fit and agreement."""
        found: list[tuple[float, float, str, np.ndarray]] = []
        for operation in operations:
            own = matches.of_operation(operation)
            if len(own.which):
                score = self.strangeness.score(operation, own.fit)
                p = self.strangeness.p_value(operation, score, alarm=self.alarm)
                found.append((p, own.fit, operation, agreement(query, own)))
        if not found:
            raise InputError(f"no known recording of {', '.join(operations)}")
        p, fit, operation, curve = max(found, key=lambda one: one[:2])
        return p, operation, fit, curve

    def _usual(self, operation: str) -> float:
        """The agreement below which rows of an operation are unusual."""
        every = np.isfinite(self.library.lows)
        mine = every & (self.library.operations == operation)
        lows = self.library.lows[mine if mine.sum() >= FEWEST_OF_AN_OPERATION else every]
        level = float(np.median(self.library.fits[mine])) if mine.any() else 0.0
        return float(np.quantile(lows, self.alarm)) * level

    def _deviation(
        self, data: Recordings, recording: int, matches: Matches, usual: float, other: Matches | None
    ) -> Deviation | None:
        """The first rows that are unusual, when the starts are aligned; other: of the program that it is."""
        query, rows = matches.query, len(matches.query.shape)
        start = query.first(max(FEWEST_ROWS, int(PREFIX * rows)))
        left_out = np.setdiff1d(np.arange(len(self.library.known)), matches.which)
        aligned = match(self.library, start, leave_out=left_out.tolist())
        curve = agreement(query, aligned)
        low = np.flatnonzero(curve < usual)
        if not len(low):
            return None
        first = int(low[0])
        usual_again = np.flatnonzero(~(curve[first:] < usual))
        until = int(usual_again[0]) if len(usual_again) else rows - first
        row, stop = (query.clock.recorded(place) for place in (first, first + until))
        seconds = float(data.log["seconds"][data.recordings[recording].start + row])
        return Deviation(
            row=row,
            rows=max(1, stop - row),
            seconds=seconds if np.isfinite(seconds) else None,
            line=read_rows(matches).lines()[row],
            found=None if other is None else read_rows(other).lines()[row],
        )


FEWEST_OF_AN_OPERATION = 5


def to_json(one: Checked) -> dict[str, Any]:
    """Plain values."""
    found = one.deviation
    return {
        "recording": one.name,
        "verdict": one.verdict,
        "expected": one.expected,
        "operation": one.operation,
        "p": one.p,
        "alarm": one.alarm,
        "fit": one.fit,
        "deviation": None if found is None else vars(found),
        **feed_values(one.clock),
    }


def sentence(one: Checked) -> str:
    """The answer in one line."""
    found, rate = one.deviation, f"p = {one.p:.3f}, alarm below {one.alarm:g}"
    program = f"{one.operation} ({one.known} known recordings), {one.feed}"
    if one.verdict == SAME:
        return f"{one.name}: Matches program {program} (expected {one.expected}; {rate})"
    is_of = f"it is of program {program}" if one.operation else "no known program fits"
    asked = f"{one.verdict}: expected {one.expected}, {is_of}; {rate}"
    if found is None:
        return f"{one.name}: Differs, but no single row can be named ({asked})"
    when = "" if found.seconds is None else f" ({found.seconds:.1f} s)"
    instead = "" if found.found is None else f", saw {found.found}"
    lasts = lasting(found.rows, one.row_seconds)
    differs = f"Differs from row {found.row}{when}: expected {found.line}{instead} for {lasts}"
    return f"{one.name}: {differs} ({asked})"


def short_title(one: Checked) -> str:
    """The answer without its reasons."""
    return sentence(one).partition(" (expected")[0].partition(f" ({one.verdict}")[0]
