"""The clock of a recording: which row of its known program, run at the usual feed, each of its rows is.

A path through a template (`model.alignment`) becomes few stretches of constant pace: feeds are set, they do
not drift. Breaks are found by dynamic programming (segmented least squares). A pace that may be 100 %, that
of another stretch or a whole per cent is taken as such. The lines follow the clock of the controller, and the
sensors theirs, which is up to a quarter of a minute behind: the lag is known from the end of the program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from model.alignment import KNOT, PAD, Path

LAG = 16  # rows by which sensors are usually behind the lines (public recordings: speed against vibration)
LAGS, USUAL_LAG = (-10, 75), 15.0  # rows that are possible, and the usual deviation
PIECE = 20.0  # least gain in squared deviations for one more stretch, before they are pruned
DEVIATION = 0.5  # rows by which knots lie beside the true path
STRETCH = 12.0  # least gain in log-likelihood for one more stretch
SHARE = 0.02  # … as a share of all
BENT = 0.1  # least gain of several stretches over one, as a share
STEADY = 3.0  # rows by which a stretch may differ from one at the pace of the longest
FASTEST = 1.7  # pace that no machine runs at
SHORT = 40  # rows of a first or last stretch that say nothing of the pace
JUMP = 4.0  # rows by which two stretches may miss each other and still meet
FINER = 0.4  # of the cost of a piece, where the pace is unsteady
STEPS = (1.0, 0.5, 0.25, 0.5, 0.25)  # rows by which knots are moved
UNSTEADY = 0.025  # difference in length that an unsteady pace explains
SETTLED = 3.0  # loss in log-likelihood that a usual pace may cost
SHIFTS = np.arange(-6, 7) / 4  # rows by which a line is moved when its pace is settled
STOPPED = 0.4  # pace below which the machine stands
SAME_LENGTH = 1.6  # rows of difference in length that rounding explains
ONE_PACE = 0.02  # difference of paces that is none
ROUNDING = {0.0: 0.5, -0.25: 0.25, 0.25: 0.25}  # rows, of the lines at a steady pace
UNSTEADY_ROWS = {-0.5: 0.4, 0.3: 0.3, -1.3: 0.3}  # … at an unsteady one: the start of the path is not sure
EARLY = 0.25  # rows: between a log that has the line of the row before, and of the nearest


@dataclass(frozen=True)
class Stretch:
    """Rows `start` to `stop` of a recording, with one pace (1: the usual feed; 0: a hold)."""

    start: int
    stop: int
    pace: float


@dataclass(frozen=True, eq=False)
class Clock:
    """The time of a recording of `rows` rows.

    Attributes:
        row: (knots,) of the sensors; place: (knots,) rows of the program since the first one shown.
        lag: rows by which the sensors are behind the lines.
        length: rows of the program that the lines show; before, after: rows of it that are missing.
        stretches: the paces of the lines, in order.
        scale: rows of the program for one place: near 1, so that they make the whole length.
        steady: one pace, and holds.
    """

    rows: int
    row: np.ndarray
    place: np.ndarray
    lag: int
    length: int
    stretches: tuple[Stretch, ...]
    before: int = 0
    after: int = 0
    scale: float = 1.0
    steady: bool = True

    @classmethod
    def plain(cls, rows: int) -> Clock:
        """Every row is the next one of the program."""
        ends = np.array([0.0, float(max(1, rows))])
        return cls(rows, ends, ends.copy(), 0, rows, (Stretch(0, rows, 1.0),))

    @property
    def is_plain(self) -> bool:
        """Whether rows keep their numbers."""
        return bool(np.array_equal(self.row, self.place)) and self.length == self.rows

    def sensors_at(self, rows: np.ndarray) -> np.ndarray:
        """The place that the sensors show at (fractional) rows of the recording."""
        return _along(self.row, self.place, rows)

    def lines(self, later: float = 0.0) -> np.ndarray:
        """(rows,) int: the row of the program, of `length`, whose line holds in each row; `later` rows on."""
        here = np.arange(self.rows) + 0.5 - EARLY
        first = self.sensors_at(np.array([float(self.lag)]))
        at = (self.sensors_at(here + self.lag) - first) * self.scale + later
        return np.clip(np.floor(at), 0, max(0, self.length - 1)).astype(int)

    def recorded(self, place: float) -> int:
        """The row of the recording in which the sensors show a place."""
        return int(np.clip(np.interp(place, self.place, self.row), 0, max(0, self.rows - 1)))

    def unbent(self, signals: np.ndarray) -> np.ndarray:
        """(places, channels) the rows `signals`, resampled to the usual feed; holds are cut out."""
        if self.is_plain:
            return signals
        every = np.arange(0, max(2.0, float(self.sensors_at(np.array([self.rows - 1.0]))[0])))
        at = np.clip(np.interp(every, *_extended(self.place, self.row)), 0, len(signals) - 1)
        low = np.minimum(at.astype(int), max(0, len(signals) - 2))
        part = (at - low)[:, None].astype(np.float32)
        return np.asarray(signals[low] * (1 - part) + signals[low + 1] * part, dtype=np.float32)

    @property
    def doubts(self) -> dict[float, float]:
        """Rows by which the lines may be later → how likely: 0 where rows and holds are whole numbers."""
        return UNSTEADY_ROWS if not self.steady else {0.0: 1.0} if abs(self.pace - 1) < 1e-6 else ROUNDING

    @property
    def pace(self) -> float:
        """The pace without holds: 1.08 at 108 % of the usual feed."""
        moving = [s for s in self.stretches if s.pace >= STOPPED]
        rows = sum(s.stop - s.start for s in moving)
        return sum((s.stop - s.start) * s.pace for s in moving) / rows if rows else 1.0

    @property
    def holds(self) -> list[Stretch]:
        """Where the machine stood."""
        return [s for s in self.stretches if s.pace < STOPPED]


def clock_of(path: Path, rows: int, lengths: np.ndarray) -> Clock:
    """The clock of a recording of `rows` rows, from its path; `lengths`: of the known recordings."""
    lines = _explained(path, rows)
    row, place = lines.knots()
    paces = list(zip(row, place, strict=True))
    if not lines.steady:
        row, place = _followed(lines)
    end, start = path.template.end + LAG, PAD + LAG
    by_end, by_start = (float(np.interp(at, *_extended(place, row))) for at in (end, start))
    by_end -= rows
    usual = float(np.median(lengths))
    rounding = SAME_LENGTH if lines.steady else UNSTEADY * usual

    def span(lag: float) -> float:
        first, last = _along(row, place, np.array([lag + 0.5, rows + lag]))
        return float(last - first) + 0.5

    before = after = 0.0
    lag = by_end
    length = span(float(np.clip(by_end, 0, LAGS[1])))
    nearest = float(lengths[np.abs(lengths - length).argmin()])
    if length < lengths.min() - 2 * rounding:
        lag = min((by_end, by_start), key=lambda value: abs(value - LAG))
        if not LAGS[0] <= lag <= LAGS[1]:
            lag = LAG
        length = span(lag)
        if lag == by_end:
            before = usual - length
        elif lag == by_start:
            after = usual - length
        else:
            before = max(0.0, float(_along(row, place, np.array([lag]))[0]) - start)
            after = max(0.0, usual - length - before)
    else:
        lag = float(np.median([by_end, by_start, LAG]))
        length = span(float(np.clip(lag, 0, LAGS[1])))
        if abs(nearest - length) <= rounding:
            length = nearest
    lag = round(float(np.clip(lag, 0, LAGS[1])))
    if len(lines.pieces) == 1 and lines.pace == 1.0:
        length = float(rows)
    first = float(_along(row, place, np.array([0.0]))[0])
    whole = float(np.diff(_along(row, place, np.array([lag, rows + lag])))[0])
    return Clock(
        rows=rows,
        row=row,
        place=place - first,
        lag=lag,
        length=max(1, round(length)),
        stretches=_stretches(paces, lag, rows),
        before=round(before),
        after=round(after),
        scale=max(1, round(length)) / max(1.0, whole) if lines.steady else 1.0,
        steady=lines.steady,
    )


def _stretches(knots: list[tuple[float, float]], lag: int, rows: int) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    for (row, place), (row_after, place_after) in pairwise(knots):
        start, stop = (int(np.clip(round(r - lag), 0, rows)) for r in (row, row_after))
        if (row_after, place_after) == knots[-1]:
            stop = rows
        if stop > start:
            pace = (place_after - place) / max(1e-9, row_after - row)
            found.append(Stretch(found[-1].stop if found else 0, stop, round(float(pace), 4)))
    return tuple(found)


def _extended(place: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The knots with one far before and one far after them, at the paces of the ends."""
    far = 10000.0
    first = max(0.3, (place[1] - place[0]) / (row[1] - row[0]))
    last = max(0.3, (place[-1] - place[-2]) / (row[-1] - row[-2]))
    places = np.concatenate([[place[0] - far * first], place, [place[-1] + far * last]])
    rows = np.concatenate([[row[0] - far], row, [row[-1] + far]])
    return places + 1e-6 * np.arange(len(places)), rows


def _along(row: np.ndarray, place: np.ndarray, at: np.ndarray) -> np.ndarray:
    places, rows = _extended(place, row)
    return np.interp(at, rows, places)


def _explained(path: Path, rows: int) -> _Lines:
    """The fewest stretches of constant pace that explain a path: one, if it explains nearly as much."""
    path = path.informed()
    weight = 1 / (path.spread**2 + DEVIATION**2)
    bent = _Lines(path, rows, weight, _segmented(path.row, path.place, weight)).pruned().trimmed()
    longest = max(bent.pieces, key=lambda piece: piece[1] - piece[0])
    straight = replace(bent, pieces=[longest]).settled()
    if len(bent.pieces) == 1 or bent.score - straight.score < BENT * abs(bent.score):
        return straight
    return bent.at_one_pace(straight.pace) if bent.nearly_at(straight.pace) else bent.settled()


def _followed(lines: _Lines) -> tuple[np.ndarray, np.ndarray]:
    """Knots where an unsteady pace changes: of more stretches, each knot moved to where it explains most."""
    finer = replace(lines, pieces=_segmented(lines.path.row, lines.path.place, lines.weight, FINER * PIECE))
    row, place = replace(finer, settled_lines=()).trimmed().knots()
    best = lines.path.score(row, place)
    for step in STEPS:
        for i in range(len(row)):
            for moved, by in ((row, 4 * step), (row, -4 * step), (place, step), (place, -step)):
                before = moved[i]
                moved[i] += by
                score = lines.path.score(row, place)
                inside = 0 < i < len(row) - 1 or moved is place
                if inside and score > best and _possible(row, place):
                    best = score
                else:
                    moved[i] = before
    return row, place


def _possible(row: np.ndarray, place: np.ndarray) -> bool:
    """Whether no machine would have to run backwards, or faster than `FASTEST`."""
    rows, places = np.diff(row), np.diff(place)
    return bool((rows > 0).all() and (places >= 0).all() and (places <= FASTEST * rows + 1e-6).all())


@dataclass(frozen=True, eq=False)
class _Lines:
    """Stretches of a path: ranges of its knots, each with a line (intercept, slope)."""

    path: Path
    rows: int
    weight: np.ndarray
    pieces: list[tuple[int, int]]
    settled_lines: tuple[tuple[float, float], ...] = ()

    @cached_property
    def lines(self) -> list[tuple[float, float]]:
        """(intercept, slope) by weighted least squares, if not settled."""
        if self.settled_lines:
            return list(self.settled_lines)
        row, place = self.path.row, self.path.place
        fits = [np.polyfit(row[a:b], place[a:b], 1, w=np.sqrt(self.weight[a:b])) for a, b in self.pieces]
        return [(float(intercept), max(0.0, float(slope))) for slope, intercept in fits]

    def knots(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and places where the lines meet."""
        row, lines = self.path.row, self.lines
        found = [(0.0, lines[0][0])]
        for i, ((_, b), (c, _)) in enumerate(pairwise(self.pieces)):
            found += _joined(lines[i], lines[i + 1], float(row[b - 1]), float(row[c]))
        found.append((float(self.rows), lines[-1][0] + lines[-1][1] * self.rows))
        knots = np.array(found)
        knots = knots[np.concatenate([[True], np.diff(np.maximum.accumulate(knots[:, 0])) > 1e-6])]
        return knots[:, 0], np.maximum.accumulate(knots[:, 1])

    @cached_property
    def score(self) -> float:
        """The log-likelihood."""
        return self.path.score(*self.knots())

    def idle(self, end: int) -> bool:
        """Whether the first (0) or last (-1) stretch is a wait, or too short to say anything."""
        a, b = self.pieces[end]
        return self.lines[end][1] < STOPPED or self.path.row[b - 1] - self.path.row[a] < SHORT

    @property
    def possible(self) -> bool:
        """Whether a machine can run so."""
        return _possible(*self.knots())

    @property
    def pace(self) -> float:
        """Of the longest stretch."""
        return self.lines[int(np.argmax([b - a for a, b in self.pieces]))][1]

    @property
    def steady(self) -> bool:
        """Whether the machine ran at one pace or stood."""
        row, place = self.knots()
        paces = np.diff(place) / np.diff(row)
        return bool(((paces < STOPPED) | (np.abs(paces - self.pace) < ONE_PACE)).all())

    def pruned(self) -> _Lines:
        """Without the stretches that explain too little, or that no machine could follow."""
        best = self
        while len(best.pieces) > 1:
            fewer = [replace(best, pieces=pieces) for pieces in _fewer(best.pieces)]
            top = max(fewer, key=lambda one: one.score)
            if best.possible and top.score < best.score - max(STRETCH, SHARE * abs(best.score)):
                break
            best = top
        return best

    def trimmed(self) -> _Lines:
        """Without a wait at an end, and what is too short there to say anything."""
        best = self
        while len(best.pieces) > 1 and (idle := [i for i in (0, -1) if best.idle(i)]):
            best = replace(best, pieces=[p for p in best.pieces if p != best.pieces[idle[0]]])
        return best

    def settled(self) -> _Lines:
        """With paces that an operator sets where they explain as much: 100 %, that of the longest stretch, a
        whole per cent."""
        best = replace(self, settled_lines=tuple(self.lines))
        spans = [self.path.row[b - 1] - self.path.row[a] for a, b in self.pieces]
        order = np.argsort([-span for span in spans], kind="stable")
        for i in order.tolist():
            slope = best.lines[i][1]
            paces = [1.0, best.lines[order[0]][1], round(slope, 2)]
            if slope < STOPPED:
                paces = [0.0]
            for pace in (p for p in paces if abs(p - slope) * spans[i] < STEADY or p == 0.0):
                top = max((best.with_pace(i, pace, shift) for shift in SHIFTS), key=lambda one: one.score)
                if top.score >= best.score - SETTLED:
                    best = top
                    break
        return best

    def nearly_at(self, pace: float) -> bool:
        """Whether each stretch stands, or differs by less than `STEADY` rows from one at this pace."""
        spans = [self.path.row[b - 1] - self.path.row[a] for a, b in self.pieces]
        return all(
            slope < STOPPED or abs(slope - pace) * span < STEADY
            for (_, slope), span in zip(self.lines, spans, strict=True)
        )

    def at_one_pace(self, pace: float) -> _Lines:
        """All stretches at one pace, or standing."""
        best = replace(self, settled_lines=tuple(self.lines))
        for i, (_, slope) in enumerate(self.lines):
            own = 0.0 if slope < STOPPED else pace
            best = max((best.with_pace(i, own, shift) for shift in SHIFTS), key=lambda one: one.score)
        return best

    def with_pace(self, i: int, pace: float, shift: float) -> _Lines:
        """Line `i` turned around its middle, and moved."""
        a, b = self.pieces[i]
        middle = (self.path.row[a] + self.path.row[b - 1]) / 2
        lines = list(self.lines)
        lines[i] = (lines[i][0] + lines[i][1] * middle + shift - pace * middle, pace)
        return replace(self, settled_lines=tuple(lines))


def _fewer(pieces: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """One piece less: left out, or joined with the next one."""
    out = [pieces[:i] + pieces[i + 1 :] for i in range(len(pieces))]
    return out + [
        [*pieces[:i], (pieces[i][0], pieces[i + 1][1]), *pieces[i + 2 :]] for i in range(len(pieces) - 1)
    ]


def _joined(
    one: tuple[float, float], other: tuple[float, float], stop: float, start: float
) -> list[tuple[float, float]]:
    """Where two lines meet, if between the knots `stop` and `start` or near; else the ends of both."""
    if abs(one[1] - other[1]) > 0.02:
        meet = (other[0] - one[0]) / (one[1] - other[1])
        if stop - KNOT <= meet <= start + KNOT:
            return [(meet, one[0] + one[1] * meet)]
    ends = [(at, line[0] + line[1] * at) for at, line in ((stop, one), (start, other))]
    middle = (stop + start) / 2
    here, there = (line[0] + line[1] * middle for line in (one, other))
    return [(middle, (here + there) / 2)] if abs(here - there) < JUMP else ends


def _segmented(
    row: np.ndarray, place: np.ndarray, weight: np.ndarray, cost_of_one: float = PIECE
) -> list[tuple[int, int]]:
    """Ranges of knots: each a line, at `cost_of_one` a piece (exact, by dynamic programming)."""
    count = len(row)
    sums = [
        np.concatenate([[0.0], np.cumsum(weight * x)])
        for x in (np.ones(count), row, place, row * row, row * place, place * place)
    ]
    best, before = np.full(count + 1, np.inf), np.zeros(count + 1, dtype=int)
    best[0] = 0.0
    for stop in range(2, count + 1):
        start = np.arange(0, stop - 1)
        w, x, y, xx, xy, yy = (total[stop] - total[start] for total in sums)
        sxx, sxy, syy = xx - x * x / w, xy - x * y / w, yy - y * y / w
        cost = np.maximum(syy - sxy**2 / np.maximum(sxx, 1e-9), 0) + cost_of_one + best[start]
        at = int(cost.argmin())
        best[stop], before[stop] = cost[at], at
    pieces, stop = [], count
    while stop > 0:
        pieces.append((int(before[stop]), stop))
        stop = int(before[stop])
    return pieces[::-1]
