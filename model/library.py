"""The known recordings of a library: what a comparison with a new recording needs, kept small.

Sensors are kept as shapes (smoothed, without trend, unit variance) in 15 steps: the 108 public recordings
take 4 MB compressed, and rows are read as well from them as from floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from model.controller_log import UNKNOWN, begins
from model.recordings import NO_LINE, Recordings
from model.registration import relative_delays, shape_of
from tuner.base.errors import InputError

STEPS = 2.5  # per standard deviation
LARGEST = 7  # steps; larger values are cut
SLOW = ("Temperature", "Pressure")  # channels whose level tells recordings that were made near in time
ALIKE = 19  # known recordings: nine in ten new ones are between the least and the most of 19
NO_FEED = np.float32("nan")


@dataclass(frozen=True)
class Known:
    """One known recording without its frozen rows: `start` to `start + rows` of the arrays of its library."""

    name: str
    operation: str
    start: int
    rows: int
    setup: str = ""

    @property
    def span(self) -> slice:
        """Its rows."""
        return slice(self.start, self.start + self.rows)


@dataclass(frozen=True, eq=False)
class Library:
    """Known recordings. A place is a line with its number in the program.

    Attributes:
        channels: of the shapes; levels: `(known, slow channels)` medians, NaN where a channel is absent.
        shapes: `(rows, channels)` int8; place: `(rows,)` int32, index of the place of each row.
        lines: different lines; place_line: `(places,)` index into `lines`; number: `(places,)` line number or
            UNKNOWN; motion: `(places,)` 0 – 3 for G0 – G3, or UNKNOWN; feed: `(places,)` mm/min, or NaN.
        lows: `(known,)` lowest agreement of rows with the others (leave-one-out, `deviation.lowest`), or NaN.
        delay: `(known,)` rows by which the sensors of each lag behind the median of its operation.
        fits: `(known,)` how well the others fit each (leave-one-out, `matching.Matches.fit`), NaN for the
            only one of its operation; empty: unknown.
        claims: `(2, known)` mean probability and share of right rows of each, read by the others; empty:
            unknown.
        trust: `(2, knots)` share of the vote → probability that a row is right; empty: the share itself;
            trust_others: the same for lines that have fewer votes.
    """

    channels: tuple[str, ...]
    known: tuple[Known, ...]
    shapes: np.ndarray
    levels: np.ndarray
    place: np.ndarray
    lines: tuple[str, ...]
    place_line: np.ndarray
    number: np.ndarray
    motion: np.ndarray
    feed: np.ndarray
    delay: np.ndarray
    fits: np.ndarray
    lows: np.ndarray
    trust: np.ndarray
    trust_others: np.ndarray
    claims: np.ndarray = field(default_factory=lambda: np.empty((2, 0)))

    @classmethod
    def of(cls, data: Recordings, which: Sequence[int] | None = None) -> Library:
        """The library of the recordings `which` (default: all) of `data`, not fitted yet (see `library_fit`).

        Recordings with several runs are left out: their log is not that of their sensors.

        Raises:
            InputError: a recording without lines, or none that can be used.
        """
        chosen = range(len(data.recordings)) if which is None else which
        usable = [i for i in chosen if data.recordings[i].runs == 1 and data.recordings[i].rows]
        if not usable:
            raise InputError(f"{data.name}: no recording of one run of a program; a library needs some")
        ids = np.concatenate([data.line_ids[data.recordings[i].live] for i in usable])
        if (ids == NO_LINE).any():
            raise InputError(f"{data.name}: has rows without a line; a library needs the line of every row")
        logs = [np.array(data.log[data.recordings[i].live]) for i in usable]
        for one in logs:  # while the machine waits, feed and motion are not those of the line
            one["motion"][: begins(one["number"])], one["feed"][: begins(one["number"])] = UNKNOWN, NO_FEED
        log = np.concatenate(logs)
        pairs, place = np.unique(np.stack([log["number"], ids], axis=1), axis=0, return_inverse=True)
        lines, place_line = np.unique(pairs[:, 1], return_inverse=True)
        place = place.ravel().astype(np.int32)
        shapes = [shape_of(data, i) for i in usable]
        known, start = [], 0
        for i in usable:
            recording = data.recordings[i]
            rows = recording.live.stop - recording.live.start
            known.append(Known(recording.name, recording.operation, start, rows, recording.setup))
            start += rows
        return cls(
            channels=data.channels,
            known=tuple(known),
            shapes=np.concatenate([quantised(shape) for shape in shapes]),
            levels=np.stack([levels_of(data, i) for i in usable]),
            place=place,
            lines=tuple(data.lines[line] for line in lines),
            place_line=place_line.astype(np.int32),
            number=pairs[:, 0].astype(np.int32),
            motion=_most_frequent(place, log["motion"], len(pairs)),
            feed=_median(place, log["feed"], len(pairs)),
            delay=_delays(known, shapes),
            fits=np.empty(0, dtype=np.float32),
            lows=np.empty(0, dtype=np.float32),
            trust=np.empty((2, 0), dtype=np.float32),
            trust_others=np.empty((2, 0), dtype=np.float32),
        )

    def fitted(
        self, *, fits: np.ndarray, lows: np.ndarray, trust: np.ndarray, others: np.ndarray, claims: np.ndarray
    ) -> Library:
        """The library with what its own recordings tell about each other."""
        return replace(
            self,
            fits=fits.astype(np.float32),
            lows=lows.astype(np.float32),
            trust=trust.astype(np.float32),
            trust_others=others.astype(np.float32),
            claims=claims.astype(np.float32),
        )

    @cached_property
    def operations(self) -> np.ndarray:
        """(known,) operation of each."""
        return np.array([known.operation for known in self.known], dtype=object)

    @cached_property
    def rows(self) -> np.ndarray:
        """(known,) rows of each."""
        return np.array([known.rows for known in self.known])

    @cached_property
    def numbered(self) -> bool:
        """Whether every row has its line number, so that programs can be merged."""
        return bool((self.number != UNKNOWN).all())

    def knows(self, fit: float) -> bool:
        """Whether a recording with this fit is of a known program: false if it fits worse than all known
        ones.

        A new recording of a known program is called unknown with a probability of 1 in 1 + known recordings.
        """
        fits = self.fits[np.isfinite(self.fits)]
        return not len(fits) or fit >= float(fits.min())

    def between(self, claimed: float) -> tuple[float, float] | None:
        """Between which shares of right rows a recording with this mean probability is, nine times in ten.

        The known recordings with the nearest claims tell how far these were off (conformal prediction: Vovk
        et al. 2005). None: there are too few.
        """
        claims, right = self.claims
        if len(claims) < ALIKE:
            return None
        near = np.argsort(np.abs(claims - claimed), kind="stable")[:ALIKE]
        off = (right - claims)[near]
        low, high = np.clip([claimed + off.min(), claimed + off.max()], 0, 1).tolist()
        return low, high

    def worse_than(self, fit: float) -> float:
        """The share of known recordings that the others fit worse; 1 if that is unknown."""
        fits = self.fits[np.isfinite(self.fits)]
        return float((fits <= fit).mean()) if len(fits) else 1.0

    def places(self, k: int) -> np.ndarray:
        """(rows,) places of the known recording `k`."""
        return np.asarray(self.place[self.known[k].span])

    def named(self, name: str) -> int | None:
        """The index of the known recording `name`; None if there is none."""
        return next((k for k, known in enumerate(self.known) if known.name == name), None)


def _delays(known: Sequence[Known], shapes: Sequence[np.ndarray]) -> np.ndarray:
    """(known,) int32 delay of each among the recordings of its operation."""
    out = np.zeros(len(known), dtype=np.int32)
    for operation in {one.operation for one in known}:
        here = {k: shapes[k] for k, one in enumerate(known) if one.operation == operation}
        for k, delay in relative_delays(here).items():
            out[k] = delay
    return out


def quantised(shape: np.ndarray) -> np.ndarray:
    """A shape in steps: int8."""
    return np.clip(np.round(shape * STEPS), -LARGEST, LARGEST).astype(np.int8)


def levels_of(data: Recordings, recording: int) -> np.ndarray:
    """(slow channels,) float32 median of each; NaN where it is absent."""
    slow = [i for i, channel in enumerate(data.channels) if channel.rpartition(".")[2] in SLOW]
    values = np.asarray(data.signals[data.recordings[recording].live][:, slow], dtype=np.float32)
    middle = np.median(values, axis=0) if len(values) else np.zeros(len(slow), dtype=np.float32)
    return np.where(data.present[recording][slow], middle, np.float32("nan")).astype(np.float32)


def _most_frequent(place: np.ndarray, values: np.ndarray, places: int) -> np.ndarray:
    """(places,) the most frequent value that is known, or UNKNOWN."""
    counts = np.zeros((places, int(values.max(initial=0)) + 1), dtype=np.int64)
    known = values >= 0
    np.add.at(counts, (place[known], values[known]), 1)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), UNKNOWN).astype(np.int8)


def _median(place: np.ndarray, values: np.ndarray, places: int) -> np.ndarray:
    """(places,) float32 median of the values that are known, or NaN."""
    out = np.full(places, NO_FEED, dtype=np.float32)
    known = np.isfinite(values)
    for p in np.unique(place[known]):
        out[p] = np.median(values[known & (place == p)])
    return out
