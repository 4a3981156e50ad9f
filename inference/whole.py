"""Reads whole recordings: the program that the machine ran, row by row.

The known recordings of the library answer (`model.row_vote`). Where none of them fits, the program is
unknown, and the windows of the networks answer alone, each with the line that most of its rows have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.feed import feed_words, row_seconds
from inference.layout import check_channels, recordings_of
from inference.pipeline import DecodedWindow, Decoder
from model.clock import Clock
from model.controller_log import UNKNOWN, begins
from model.library import Library
from model.matching import Matches, Query, match, match_at_any_feed
from model.merged_program import MergedProgram, merged
from model.recordings import NO_LINE, Recordings
from model.row_vote import Reading, read_rows
from tuner.base.errors import InputError
from tuner.base.words import counted

SAME = 0.9  # correlation with a known recording that is the same one, as a share of that with itself
FEWEST_ROWS = 64  # by which a program is recognised; with fewer, what part of it is right is not said
ALTERNATIVES = 3
LEAST_LIKELY = 0.05  # probability of an alternative


@dataclass(frozen=True)
class LineRun:
    """Successive rows with one line.

    Attributes:
        start: first row, from 0; rows: number of rows; seconds: since the first row, of the first row and of
            the row after the last; None if the recording has no times.
        line: the line; number: its number in the program, None if unknown.
        probability: that a row is right, mean over the rows; None where no sensor says anything.
        alternatives: other lines with their probability, most likely first; what is less likely than
            `LEAST_LIKELY` is none.
        truth: the true line of most of these rows, if known.
        ahead: the program has not begun: while the machine waits, the controller reports a line that it has
            read ahead.
    """

    recording: str
    start: int
    rows: int
    seconds: tuple[float, float] | None
    line: str
    number: int | None
    probability: float | None
    alternatives: tuple[tuple[str, float], ...]
    truth: str | None = None
    ahead: bool = False


@dataclass(frozen=True, eq=False)
class WholeRecording:
    """One recording that was read as a whole.

    Attributes:
        operation: None if no known program fits; delay: rows by which its sensors lag behind those of `like`,
            the known recording with most votes; fit: its fit; worse: share of the known recordings that fit
            each other worse.
        between: shares of right rows between which this recording is, nine times in ten; None: unknown,
            because there are too few known recordings, or none was read at a pace that changes.
        runs: the lines, row by row; lines: `(rows,)`; probability: `(rows,)`, NaN where no sensor says
            anything.
        number: `(rows,)` line numbers in the program, or UNKNOWN.
        clock: its feed, holds, and what is missing; feed: the same in words.
        program: the merged program, None if unknown or without line numbers.
        right: rows with the right line; known: rows whose true line is known.
        notes: what a reader should know.
    """

    name: str
    operation: str | None
    like: str
    delay: int
    fit: float
    worse: float
    between: tuple[float, float] | None
    runs: tuple[LineRun, ...]
    lines: tuple[str, ...]
    probability: np.ndarray
    number: np.ndarray
    clock: Clock
    feed: str
    program: MergedProgram | None
    right: int = 0
    known: int = 0
    notes: tuple[str, ...] = ()

    @property
    def sure(self) -> str:
        """How many rows should be right, in words."""
        if self.between is None:
            return "uncertain"
        low, high = (round(100 * share) for share in self.between)
        return f"{low} to {high} % of rows should be right"

    @property
    def expected(self) -> float:
        """The share of rows that should be right, by their probabilities."""
        return float(np.nan_to_num(self.probability).mean())


class Reader:
    """Reads whole recordings with a library; a decoder answers where no known program fits.

    Args:
        leave_out_itself: read a recording that is in the library with the others only (to evaluate).
    """

    def __init__(
        self, library: Library, decoder: Decoder | None = None, *, leave_out_itself: bool = False
    ) -> None:
        self.library = library
        self.decoder = decoder
        self.leave_out_itself = leave_out_itself

    @classmethod
    def of(cls, decoder: Decoder, *, leave_out_itself: bool = False) -> Reader:
        """A reader with the library of a bundle.

        Raises:
            InputError: the bundle has none.
        """
        if decoder.library is None:
            raise InputError(
                f"{decoder.name or 'this decoder'}: has no library of known programs, so it decodes window "
                "by window; `tuner ensemble library NAME --data DIR` stores one in a bundle"
            )
        return cls(decoder.library, decoder, leave_out_itself=leave_out_itself)

    def read(
        self, source: Any, *, alternatives: int = ALTERNATIVES, allow_missing: bool = True
    ) -> list[WholeRecording]:
        """Reads recordings: a path, several, a data frame of one recording, or `Recordings`.

        Raises:
            InputError: not a recording, or channels that do not match.
        """
        data = recordings_of(source, channels=self.library.channels)
        notes = check_channels(data, self.library.channels, allow_missing=allow_missing)
        about = {note.partition(":")[0]: note for note in notes}
        found = []
        for i, recording in enumerate(data.recordings):
            own = (about[recording.name],) if recording.name in about else ()
            found.append(self.read_one(data, i, alternatives=alternatives, notes=own))
        return found

    def matches(self, data: Recordings, recording: int) -> tuple[Matches, str | None]:
        """The matches of a recording, and the name of the known recording that it is itself, if any.

        Raises:
            InputError: its sensors never change.
        """
        meta = data.recordings[recording]
        signals = np.asarray(data.signals[meta.live])[:, data.present[recording]]
        if not (signals[1:] != signals[:-1]).any():
            raise InputError(
                f"{meta.name}: no sensor changes in its {counted(meta.rows, 'row')}: nothing to read"
            )
        plain = match(self.library, Query.of(data, recording))  # a known one has its own clock
        same = plain.correlation > SAME * plain.query.energy
        itself = self.library.known[int(plain.which[same.argmax()])].name if same.any() else None
        if itself is not None and (same.all() or not self.leave_out_itself):
            return plain, itself
        left_out = plain.which[same].tolist()
        return match_at_any_feed(self.library, data, recording, leave_out=left_out), itself

    def read_one(
        self,
        data: Recordings,
        recording: int,
        *,
        alternatives: int = ALTERNATIVES,
        notes: Sequence[str] = (),
    ) -> WholeRecording:
        """Reads the recording at index `recording` of `data`, which has the channels of the library."""
        meta = data.recordings[recording]
        matches, itself = self.matches(data, recording)
        said = list(notes)
        if itself is not None and not self.leave_out_itself:
            matches = matches.taken(matches.which == self.library.named(itself))
            said.append(f"{meta.name}: is the known recording {itself}; its lines are printed")
        if meta.frozen_rows:
            said.append(
                f"{meta.name}: no sensor changes in its last {meta.frozen_rows} rows; their lines are a "
                "guess, that the program starts again"
            )
        worse = self.library.worse_than(matches.fit)
        if not self.library.knows(matches.fit):
            return self._unknown(data, recording, matches, worse, said)
        live = meta.live.stop - meta.live.start
        reading = read_rows(matches)
        order = np.arange(meta.rows) % live
        probability = np.where(np.arange(meta.rows) < live, reading.probability[order], np.nan)
        clock, heaviest = matches.query.clock, int(reading.weight.argmax())
        k = int(reading.matches.which[heaviest])
        lines = tuple(reading.lines(meta.rows))
        sure = clock.steady and live >= FEWEST_ROWS
        number = self.library.number[reading.place[order]]
        names = self.library.lines
        others = [_alternatives(reading, row, names, alternatives) for row in order]
        return WholeRecording(
            name=meta.name,
            operation=matches.operation,
            like=self.library.known[k].name,
            delay=int(reading.matches.delay[heaviest]) + clock.before,
            fit=matches.fit,
            worse=worse,
            between=self.library.between(float(reading.probability.mean())) if sure else None,
            runs=runs_of(data, recording, lines, probability, number, others),
            lines=lines,
            probability=probability,
            number=number,
            clock=clock,
            feed=feed_words(clock, lines, row_seconds(data, recording)),
            program=merged(self.library, k) if self.library.numbered else None,
            **rows_right(data, recording, lines),
            notes=tuple(said),
        )

    def _unknown(
        self, data: Recordings, recording: int, matches: Matches, worse: float, notes: list[str]
    ) -> WholeRecording:
        meta = data.recordings[recording]
        fits = f"{meta.name}: no known program fits (fit {matches.fit:.2f})"
        if self.decoder is None:
            lines, probability = ("",) * meta.rows, np.full(meta.rows, np.nan)
            others: list[tuple[tuple[str, float], ...]] = [()] * meta.rows
            notes.append(f"{fits}; without networks there is no answer")
        else:
            windows = self.decoder.decode_data(data, [recording], alternatives=ALTERNATIVES)
            lines, probability, others = rows_of_windows(windows, meta.rows, self.decoder)
            notes.append(f"{fits}: each window is decoded alone, by the networks")
        number = np.full(meta.rows, UNKNOWN)
        return WholeRecording(
            name=meta.name,
            operation=None,
            like=self.library.known[matches.best].name,
            delay=0,
            fit=matches.fit,
            worse=worse,
            between=None,
            runs=runs_of(data, recording, lines, probability, number, others),
            lines=lines,
            probability=probability,
            number=number,
            clock=Clock.plain(meta.rows),
            feed="",
            program=None,
            **rows_right(data, recording, lines),
            notes=tuple(notes),
        )


def rows_of_windows(
    windows: Sequence[DecodedWindow], rows: int, decoder: Decoder
) -> tuple[tuple[str, ...], np.ndarray, list[tuple[tuple[str, float], ...]]]:
    """Each row with the line, probability and alternatives of the window whose middle is nearest."""
    middle = np.array([window.start for window in windows]) + decoder.predictor.config.window / 2
    nearest = np.abs(np.arange(rows)[:, None] - middle[None]).argmin(axis=1)
    return (
        tuple(windows[w].line for w in nearest),
        np.array([windows[w].probability for w in nearest]),
        [windows[w].alternatives for w in nearest],
    )


def rows_right(data: Recordings, recording: int, lines: Sequence[str]) -> dict[str, int]:
    """How many rows have the `right` line, and of how many the true line is `known`."""
    meta = data.recordings[recording]
    true = np.asarray(data.line_ids[meta.start : meta.start + meta.rows])
    known = np.flatnonzero(true != NO_LINE).tolist()
    return {"right": sum(lines[k] == data.lines[true[k]] for k in known), "known": len(known)}


def runs_of(
    data: Recordings,
    recording: int,
    lines: Sequence[str],
    probability: np.ndarray,
    number: np.ndarray,
    others: Sequence[tuple[tuple[str, float], ...]],
) -> tuple[LineRun, ...]:
    """Successive rows with the same line, joined."""
    meta = data.recordings[recording]
    here = slice(meta.start, meta.start + meta.rows)
    seconds, ids = np.asarray(data.log["seconds"][here], dtype=np.float64), np.asarray(data.line_ids[here])
    first = begins(number)
    edges = [k for k in range(1, len(lines)) if lines[k] != lines[k - 1] or k == first]
    step = float(np.nanmedian(np.diff(seconds))) if np.isfinite(seconds).sum() > 1 else float("nan")
    after = np.append(seconds, seconds[-1] + step)
    found = []
    for start, stop in zip([0, *edges], [*edges, len(lines)], strict=True):
        sure = probability[start:stop]
        times = (round(float(after[start]), 3), round(float(after[stop]), 3))
        true = np.bincount(ids[start:stop] + 1).argmax() - 1
        found.append(
            LineRun(
                recording=meta.name,
                start=start,
                rows=stop - start,
                seconds=times if np.isfinite(times).all() else None,
                line=lines[start],
                number=None if number[start] == UNKNOWN else int(number[start]),
                probability=float(np.nanmean(sure)) if np.isfinite(sure).any() else None,
                alternatives=others[start + int(np.nan_to_num(sure, nan=1.0).argmin())],
                truth=None if true == NO_LINE else data.lines[true],
                ahead=start < first,
            )
        )
    return tuple(found)


def _alternatives(
    reading: Reading, row: int, names: Sequence[str], most: int
) -> tuple[tuple[str, float], ...]:
    pairs = zip(reading.line[row, 1:], reading.others[row], strict=True)
    return tuple((names[line], float(likely)) for line, likely in pairs if likely >= LEAST_LIKELY)[:most]
