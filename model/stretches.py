"""Finds the clock of a recording: its path through a template, as few stretches of constant pace.

Feeds are set, they do not drift. Breaks are found by dynamic programming (segmented least squares). A pace
that may be 100 %, that of another stretch or a whole per cent is taken as such. Where the pace changes again
and again, it is a hidden state (`model.paces`). How far the sensors are behind the lines is known from the
end of the program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from model.alignment import KNOT, PAD, Path
from model.clock import LAG, STOPPED, Clock, Stretch, along, extended
from model.paces import smoothed

LAGS = (-10, 75)  # rows that are possible
NEAR = 3.0  # rows by which a lag may differ from those of known recordings
PIECE = 20.0  # least gain in squared deviations for one more stretch, before they are pruned
DEVIATION = 0.5  # rows by which knots lie beside the true path
STRETCH = 12.0  # least gain in log-likelihood for one more stretch
SHARE = 0.02  # … as a share of all
BENT = 0.1  # least gain of several stretches over one, as a share
STEADY = 3.0  # rows by which a stretch may differ from one at the pace of the longest
FASTEST = 1.7  # pace that no machine runs at
SHORT = 40  # rows of a first or last stretch that say nothing of the pace
JUMP = 4.0  # rows by which two stretches may miss each other and still meet
AGREED = 0.5  # trust in the template from which on knots count, where the pace is unsteady
UNSTEADY = 0.025  # difference in length that an unsteady pace explains
SETTLED = 8.0  # loss in log-likelihood that a usual pace may cost
USUAL = 20.0  # … and 100 % throughout
SHIFTS = np.arange(-6, 7) / 4  # rows by which a line is moved when its pace is settled
HELD_AT = np.arange(-12, 13)  # rows by which the place of a hold is moved
SAME_LENGTH = 1.6  # rows of difference in length that rounding explains
ONE_PACE = 0.02  # difference of paces that is none


def clock_of(path: Path, rows: int, lengths: np.ndarray, delays: np.ndarray) -> Clock:
    """The clock of a recording of `rows` rows, from its path.

    Args:
        lengths: of the known recordings of its operation; delays: of all known recordings.
    """
    lines = _explained(path, rows)
    row, place = lines.knots()
    paces = list(zip(row, place, strict=True))
    if not lines.steady:
        row, place = _followed(lines)
    end, start = path.template.end + LAG, PAD + LAG
    by_end, by_start = (float(np.interp(at, *extended(place, row))) for at in (end, start))
    by_end -= rows
    usual = float(np.median(lengths))
    rounding = SAME_LENGTH if lines.steady else UNSTEADY * usual

    def span(lag: float) -> float:
        first, last = along(row, place, np.array([lag + 0.5, rows + lag]))
        return float(last - first) + 0.5

    before = after = 0.0
    lag = by_end
    length = span(float(np.clip(by_end, 0, LAGS[1])))
    nearest = float(lengths[np.abs(lengths - length).argmin()])
    slack = rounding
    if length < lengths.min() - 2 * rounding:
        lag = max(
            (by_end, by_start), key=lambda value: (1 / (1 + ((value - LAG - delays) / NEAR) ** 2)).sum()
        )
        if not LAGS[0] <= lag <= LAGS[1]:
            lag = LAG
        length = span(lag)
        if lag == by_end:
            before = usual - length
        elif lag == by_start:
            after = usual - length
        else:
            before = max(0.0, float(along(row, place, np.array([lag]))[0]) - start)
            after = max(0.0, usual - length - before)
        slack = np.inf
    else:
        lag = float(np.median([by_end, by_start, LAG]))
        length = span(float(np.clip(lag, 0, LAGS[1])))
        if abs(nearest - length) <= rounding:
            length = nearest
    lag = round(float(np.clip(lag, 0, LAGS[1])))
    if lines.usual and lines.pace == 1.0:
        length, slack = float(round(span(lag))), slack if before or after else 0.0
    whole_percent = abs(100 * lines.pace - round(100 * lines.pace)) < 1e-6
    first = float(along(row, place, np.array([0.0]))[0])
    whole = float(np.diff(along(row, place, np.array([lag, rows + lag])))[0])
    return Clock(
        rows=rows,
        row=row,
        place=place - first,
        lag=lag,
        length=max(1, round(length)),
        stretches=_stretches(paces, lag, rows),
        before=round(before),
        after=round(after),
        scale=max(1, round(length)) / max(1.0, whole) if lines.steady and not whole_percent else 1.0,
        steady=lines.steady,
        slack=float(slack),
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


def _explained(path: Path, rows: int) -> _Lines:
    """The fewest stretches of constant pace that explain a path: one, if it explains nearly as much."""
    path = path.informed()
    weight = 1 / (path.spread**2 + DEVIATION**2)
    bent = _Lines(path, rows, weight, _segmented(path.row, path.place, weight)).pruned().trimmed()
    longest = max(bent.pieces, key=lambda piece: piece[1] - piece[0])
    straight = replace(bent, pieces=[longest]).settled()
    if len(bent.pieces) == 1 or bent.score - straight.score < BENT * abs(bent.score):
        return straight
    best = bent.at_one_pace(straight.pace) if bent.nearly_at(straight.pace) else bent.settled()
    return best.centred() if best.usual else best


def _followed(lines: _Lines) -> tuple[np.ndarray, np.ndarray]:
    """Rows and places of an unsteady pace, from the knots where the known recordings agree."""
    path = lines.path
    trust = path.template.trust[np.clip(np.round(path.place), 0, len(path.template.trust) - 1).astype(int)]
    keep = trust >= min(AGREED, float(np.median(trust)))
    row, place = smoothed(path.row[keep], path.place[keep], path.spread[keep] / trust[keep], lines.rows)
    return row, place + 1e-6 * np.arange(len(place))


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
    def usual(self) -> bool:
        """Whether all that moves has the pace of known recordings."""
        return all(slope == 1.0 for _, slope in self.lines if slope >= STOPPED)

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
            longest = [best.lines[order[0]][1]] if i != order[0] else []
            paces = [1.0, *longest, round(slope, 2)]
            if slope < STOPPED:
                paces = [0.0]
            for pace in (p for p in paces if abs(p - slope) * spans[i] < STEADY or p == 0.0):
                top = max((best.with_pace(i, pace, shift) for shift in SHIFTS), key=lambda one: one.score)
                if top.score >= best.score - (USUAL if pace == 1.0 and len(spans) == 1 else SETTLED):
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

    def centred(self) -> _Lines:
        """Each line through the middle of its knots (the likelihood is highest at whole rows); at the usual
        feed, holds last whole rows."""
        lines = []
        for (a, b), (_, slope) in zip(self.pieces, self.lines, strict=True):
            beside = self.path.place[a:b] - slope * self.path.row[a:b]
            order = np.argsort(beside)
            half = np.searchsorted(np.cumsum(self.weight[a:b][order]), self.weight[a:b].sum() / 2)
            lines.append((float(beside[order][half]), slope))
        first = next((at for at, slope in lines if slope == 1.0), 0.0)
        whole = [(first + round(at - first), slope) if slope == 1.0 else (at, slope) for at, slope in lines]
        path, pieces = self.path, list(self.pieces)
        for i in reversed(range(1, len(whole))):
            (_, stop), (start, _) = pieces[i - 1 : i + 1]
            between = self.path.row[[stop - 1, start]]
            here, there = (
                at + slope * row for (at, slope), row in zip(whole[i - 1 : i + 1], between, strict=True)
            )
            moving = min(whole[i - 1][1], whole[i][1]) >= STOPPED
            if moving and there - here < STOPPED * (between[1] - between[0]) - JUMP:  # it stood between them
                pieces.insert(i, (stop, stop))
                whole.insert(i, ((here + there) / 2, 0.0))
        best = replace(self, pieces=pieces, settled_lines=tuple(whole))
        for i in (i for i, (_, slope) in enumerate(whole) if slope < STOPPED):
            moved = [best.with_line(i, (whole[i][0] + by, 0.0)) for by in HELD_AT]
            best = max(moved, key=lambda one: path.score(*one.knots(), moving=True))
        return best

    def with_pace(self, i: int, pace: float, shift: float) -> _Lines:
        """Line `i` turned around its middle, and moved."""
        a, b = self.pieces[i]
        middle = (self.path.row[a] + self.path.row[b - 1]) / 2
        at, slope = self.lines[i]
        return self.with_line(i, (at + (slope - pace) * middle + shift, pace))

    def with_line(self, i: int, line: tuple[float, float]) -> _Lines:
        """Another (intercept, slope) of line `i`."""
        return replace(self, settled_lines=(*self.lines[:i], line, *self.lines[i + 1 :]))


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
        near = 2 * KNOT if min(one[1], other[1]) < STOPPED else KNOT
        if stop - near <= meet <= start + near:
            return [(meet, one[0] + one[1] * meet)]
    ends = [(at, line[0] + line[1] * at) for at, line in ((stop, one), (start, other))]
    middle = (stop + start) / 2
    here, there = (line[0] + line[1] * middle for line in (one, other))
    return [(middle, (here + there) / 2)] if abs(here - there) < JUMP else ends


def _segmented(row: np.ndarray, place: np.ndarray, weight: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of knots: each a line, at `PIECE` a piece (exact, by dynamic programming)."""
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
        cost = np.maximum(syy - sxy**2 / np.maximum(sxx, 1e-9), 0) + PIECE + best[start]
        at = int(cost.argmin())
        best[stop], before[stop] = cost[at], at
    pieces, stop = [], count
    while stop > 0:
        pieces.append((int(before[stop]), stop))
        stop = int(before[stop])
    return pieces[::-1]
