"""The clock of a recording: which row of its known program, run at the usual feed, each of its rows is.

The lines follow the clock of the controller, and the sensors theirs, which is up to a quarter of a minute
behind. `model.stretches` finds the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

LAG = 16  # rows by which sensors are usually behind the lines (public recordings: speed against vibration)
STOPPED = 0.4  # pace below which the machine stands
LONG, HELD = 24, 0.01  # rows of a hold that an operator makes; variance of the pace that it counts as
WHOLE = {0.25: 1.0}  # rows by which lines may be later: rows and holds are whole numbers
ROUNDING = {0.1: 0.6, 0.5: 0.4}  # … at another pace: the line of the last row, or of the nearest
UNSTEADY_ROWS = {0.1: 0.4, 0.5: 0.3, -0.4: 0.3}  # … at an unsteady one: the start of the path is not sure


@dataclass(frozen=True)
class Stretch:
    """Rows `start` to `stop` of a recording, with one pace (1: the usual feed; 0: a hold); still: the sensors
    stood."""

    start: int
    stop: int
    pace: float
    still: bool = False


@dataclass(frozen=True, eq=False)
class Clock:
    """The time of a recording of `rows` rows.

    Attributes:
        row: (knots,) of the sensors; place: (knots,) rows of the program since the first one shown.
        lag: rows by which the sensors are behind the lines.
        length: rows of the program that the lines show; before, after: rows of it that are missing.
        slack: rows by which the whole program may be longer or shorter than these say.
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
    slack: float = 0.0

    @classmethod
    def plain(cls, rows: int) -> Clock:
        """Every row is the next one of the program."""
        ends = np.array([0.0, float(max(1, rows))])
        return cls(rows, ends, ends.copy(), 0, rows, (Stretch(0, rows, 1.0),))

    @property
    def is_plain(self) -> bool:
        """Whether rows keep their numbers."""
        return bool(np.array_equal(self.row, self.place)) and self.length == self.rows

    def held(self, holds: Sequence[tuple[int, int]]) -> Clock:
        """With rows of the sensors, from `start` on and so many, in which nothing moved."""
        clock = self
        for start, count in holds:
            here = clock.sensors_at(np.array([float(start)]))
            first, rest = clock.row < start, clock.row > start
            row = np.concatenate([clock.row[first], [start, start + count], clock.row[rest] + count])
            at = int(np.clip(start - clock.lag, 0, clock.rows))
            stretches: list[Stretch] = []
            for s in clock.stretches:
                early = replace(s, stop=min(s.stop, at))
                late = replace(s, start=max(s.start, at) + count, stop=s.stop + count)
                stretches += [one for one in (early, late) if one.stop > one.start]
            stretches.append(Stretch(at, at + count, 0.0, still=True))
            clock = replace(
                clock,
                rows=clock.rows + count,
                row=row,
                place=np.concatenate([clock.place[first], here, here, clock.place[rest]]),
                stretches=tuple(sorted(stretches, key=lambda s: s.start)),
            )
        return clock

    def sensors_at(self, rows: np.ndarray) -> np.ndarray:
        """The place that the sensors show at (fractional) rows of the recording."""
        return along(self.row, self.place, rows)

    def lines(self, later: float = 0.0) -> np.ndarray:
        """(rows,) int: the row of the program whose line holds in each row, `later` rows on."""
        first = self.sensors_at(np.array([float(self.lag)]))
        at = (self.sensors_at(np.arange(self.rows) + float(self.lag)) - first) * self.scale + later
        return np.maximum(np.floor(at), 0).astype(int)

    def recorded(self, place: float) -> int:
        """The row of the recording in which the sensors show a place."""
        return int(np.clip(np.interp(place, self.place, self.row), 0, max(0, self.rows - 1)))

    def unbent(self, signals: np.ndarray) -> np.ndarray:
        """(places, channels) the rows `signals`, resampled to the usual feed; holds are cut out."""
        if self.is_plain:
            return signals
        every = np.arange(0, max(2.0, float(self.sensors_at(np.array([self.rows - 1.0]))[0])))
        at = np.clip(np.interp(every, *extended(self.place, self.row)), 0, len(signals) - 1)
        low = np.minimum(at.astype(int), max(0, len(signals) - 2))
        part = (at - low)[:, None].astype(np.float32)
        return np.asarray(signals[low] * (1 - part) + signals[low + 1] * part, dtype=np.float32)

    @property
    def doubts(self) -> dict[float, float]:
        """Rows by which the lines may be later → how likely."""
        return UNSTEADY_ROWS if not self.steady else WHOLE if abs(self.pace - 1) < 1e-6 else ROUNDING

    @property
    def pace(self) -> float:
        """The pace without holds: 1.08 at 108 % of the usual feed."""
        moving = [s for s in self.stretches if s.pace >= STOPPED]
        rows = sum(s.stop - s.start for s in moving)
        return sum((s.stop - s.start) * s.pace for s in moving) / rows if rows else 1.0

    @property
    def bent(self) -> float:
        """How far a program is bent to make it fit: the variance of the pace where the sensors move, and
        `HELD` for each hold in which they do."""
        held = [s for s in self.holds if s.stop - s.start >= LONG]
        moving = [s for s in self.stretches if not s.still and s not in held]
        rows = np.array([s.stop - s.start for s in moving], dtype=float)
        paces = np.array([s.pace for s in moving])
        mean = (rows * paces).sum() / max(1.0, rows.sum())
        variance = float((rows * (paces - mean) ** 2).sum() / max(1.0, rows.sum()))
        return variance + HELD * sum(not s.still for s in held)

    @property
    def missing(self) -> float:
        """The share of the program that is missing."""
        return (self.before + self.after) / max(1, self.before + self.length + self.after)

    @property
    def holds(self) -> list[Stretch]:
        """Where the machine stood."""
        return [s for s in self.stretches if s.pace < STOPPED]


def extended(place: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The knots with one far before and one far after them, at the paces of the ends."""
    far = 10000.0
    first = max(0.3, (place[1] - place[0]) / (row[1] - row[0]))
    last = max(0.3, (place[-1] - place[-2]) / (row[-1] - row[-2]))
    places = np.concatenate([[place[0] - far * first], place, [place[-1] + far * last]])
    rows = np.concatenate([[row[0] - far], row, [row[-1] + far]])
    return places + 1e-6 * np.arange(len(places)), rows


def along(row: np.ndarray, place: np.ndarray, at: np.ndarray) -> np.ndarray:
    places, rows = extended(place, row)
    return np.interp(at, rows, places)
