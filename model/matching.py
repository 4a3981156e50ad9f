"""Compares a new recording with every known one: correlation, length, and how near in time they were made.

The fit of a recording is its best correlation, less 0.003 for each row of difference in length. It is high
only for a program that the library knows, whatever the networks say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from model.alignment import align, templates
from model.clock import LAG, Clock
from model.library import STEPS, Known, Library, levels_of, quantised
from model.recordings import Recordings
from model.registration import MAX_DELAY, shape_of, shape_of_signals
from model.stretches import clock_of

LAGS = np.arange(-MAX_DELAY, MAX_DELAY + 1)
PER_ROW, MOST_ROWS = 0.003, 40  # of the fit, by difference in length
PER_BEND, PER_MISSING = 8.0, 4.0  # of the fit: any program resembles another one if its time may bend enough
PER_PACE = 0.08  # of the choice between programs: one at the usual feed is more likely than another faster
USUAL = 0.005  # difference of paces that is none
PER_LEVEL = 0.1  # of the choice of the operation, by `Matches.apart`
MOST_APART = 3.0
STILL, MOST_CHANGE = (
    0.35,
    5.0,
)  # of the usual change of a sensor from row to row: a hold; and the most that counts
LEAST_STILL = 16  # rows of a hold
GUESSED = 0.01  # less, for a clock with holds whose lag is only the usual one
PER_EVIDENCE = 0.1  # of the choice between programs, by their evidence against the best
PROGRAMS = 3  # templates whose clocks are tried
GAIN = {True: 0.02, False: 0.006}  # of the fit, that a steady clock (or not) must bring over that of the rows


@dataclass(frozen=True, eq=False)
class Query:
    """A recording to compare: `(rows, channels)` shape in steps, in the time of its clock, and the levels of
    its slow channels."""

    shape: np.ndarray
    levels: np.ndarray
    clock: Clock

    @classmethod
    def of(cls, data: Recordings, recording: int) -> Query:
        """The recording at index `recording`, row by row; its channels are those of the library."""
        shape = quantised(shape_of(data, recording))
        return cls(shape, levels_of(data, recording), Clock.plain(len(shape)))

    def at(self, clock: Clock, data: Recordings, recording: int) -> Query:
        """The same recording with another clock."""
        signals = np.asarray(data.signals[data.recordings[recording].live], dtype=np.float32)
        shape = shape_of_signals(clock.unbent(signals), data.present[recording])
        return Query(quantised(shape), self.levels, clock)

    def first(self, rows: int) -> Query:
        """Its first rows, row by row."""
        return Query(self.shape[:rows], self.levels, Clock.plain(rows))

    @property
    def energy(self) -> float:
        """Its correlation with itself: near 1, less what was cut."""
        used = max(1, int(self.shape.any(axis=0).sum()))
        return float((self.shape.astype(np.float32) ** 2).sum()) / (len(self.shape) * used * STEPS**2)

    @classmethod
    def known(cls, library: Library, k: int) -> Query:
        """A known recording as a query."""
        rows = library.known[k].rows
        return cls(library.shapes[library.known[k].span], library.levels[k], Clock.plain(rows))


@dataclass(frozen=True, eq=False)
class Matches:
    """A recording against the K known ones `which`.

    Attributes:
        which: (K,) indices into the library; correlation: (K,) best mean correlation over channels.
        delay: (K,) rows by which its sensors lag behind those of the known recording.
        longer: (K,) rows that the known recording has more than this one would have if nothing were missing.
        apart: (K,) difference of the levels of slow channels, in spreads, 0 to 3.
    """

    library: Library = field(repr=False)
    query: Query = field(repr=False)
    which: np.ndarray
    correlation: np.ndarray
    delay: np.ndarray
    longer: np.ndarray
    apart: np.ndarray

    @property
    def fits(self) -> np.ndarray:
        """(K,) correlation, less the difference in length, and less what a clock explains that bends."""
        clock = self.query.clock
        return self.alike - PER_BEND * clock.bent - PER_MISSING * clock.missing**2

    @property
    def alike(self) -> np.ndarray:
        """(K,) the fits, whatever the clock: bending tells programs apart, not the clocks of one."""
        return self.correlation - PER_ROW * np.minimum(np.abs(self.longer), MOST_ROWS)

    @property
    def fit(self) -> float:
        """The largest fit; low for a program that the library does not know."""
        return float(self.fits.max(initial=-1.0))

    @property
    def best(self) -> int:
        """Index of the known recording that decides the operation: fit, and made near in time."""
        return int(self.which[(self.fits - PER_LEVEL * self.apart).argmax()])

    @property
    def operation(self) -> str:
        """The operation of the recording."""
        return self.library.known[self.best].operation

    def of_operation(self, operation: str) -> Matches:
        """The matches with recordings of one operation."""
        return self.taken(self.library.operations[self.which] == operation)

    def taken(self, keep: np.ndarray) -> Matches:
        """The matches at `keep` (a mask)."""
        parts = (self.which, self.correlation, self.delay, self.longer, self.apart)
        return Matches(self.library, self.query, *(part[keep] for part in parts))


def match(library: Library, query: Query, *, leave_out: Sequence[int] = ()) -> Matches:
    """Compares a recording with the known ones, except those at `leave_out`."""
    return _match(library, [query], leave_out)[0]


def match_at_any_feed(
    library: Library, data: Recordings, recording: int, *, leave_out: Sequence[int] = ()
) -> Matches:
    """The best matches of a recording, row by row or with the clock of the programs it resembles most."""
    plain = Query.of(data, recording)
    queries, shape = [plain], plain.shape
    known = np.setdiff1d(np.arange(len(library.known)), leave_out)
    signals = np.asarray(data.signals[data.recordings[recording].live], dtype=np.float32)
    if holds := stillness(signals):  # then the clock is not that of the rows
        stood = np.concatenate([np.arange(start, start + count) for start, count in holds])
        shape = shape_of_signals(np.delete(signals, stood, axis=0), data.present[recording])
        shape = quantised(shape)
        clock = replace(Clock.plain(len(shape)), lag=LAG).held(holds)
        queries = [plain.at(clock, data, recording)]
    paths = align(shape, templates(library, leave_out), most=PROGRAMS)
    for path in paths:
        lengths = library.rows[known[library.operations[known] == path.template.operation]]
        clock = clock_of(path, len(shape), lengths, library.delay[known]).held(holds)
        if not clock.is_plain or clock.before or clock.after:
            queries.append(plain.at(clock, data, recording))
    most = max((path.evidence for path in paths), default=0.0)
    likely = {path.template.operation: path.evidence / most for path in paths if path.evidence > 0}

    found = _match(library, queries, leave_out)

    def probable(one: Matches) -> float:
        moved = PER_PACE if abs(one.query.clock.pace - 1) > USUAL else 0.0
        return one.fit + PER_EVIDENCE * likely.get(one.operation, 0.0) - moved

    operation = max(found, key=probable).operation

    def score(one: Matches) -> float:
        guessed = GUESSED if holds and one.query is queries[0] else 0.0
        return float(one.alike.max(initial=-1.0)) - _strange(one.query.clock) - guessed

    return max((one for one in found if one.operation == operation), key=score)


def stillness(signals: np.ndarray) -> list[tuple[int, int]]:
    """Where the machine stood: the first row and the number of rows in which hardly a sensor changes."""
    change = np.abs(np.diff(signals, axis=0))
    usual = change.mean(axis=0) if len(change) else np.zeros(signals.shape[1])
    if not usual.any():
        return []
    moves = np.minimum(change[:, usual > 0] / usual[usual > 0], MOST_CHANGE).mean(axis=1)
    still = np.diff(np.concatenate([[False], moves < STILL, [False]]).astype(int))
    starts, stops = np.flatnonzero(still == 1), np.flatnonzero(still == -1)
    found = zip((starts + 1).tolist(), (stops - starts).tolist(), strict=True)
    return [(start, count) for start, count in found if count >= LEAST_STILL]


def _strange(clock: Clock) -> float:
    """How much more a recording must fit with this clock, to be read by it."""
    return 0.0 if clock.is_plain else GAIN[clock.steady] * (1 + 2 * bool(clock.before or clock.after))


def _match(library: Library, queries: Sequence[Query], leave_out: Sequence[int]) -> list[Matches]:
    which = np.setdiff1d(np.arange(len(library.known)), leave_out)
    size = _size(max(len(query.shape) for query in queries), library.known)
    own = [
        (_spectrum(query.shape, size).conj(), np.asarray(query.shape.any(axis=0)), query) for query in queries
    ]
    scores = np.zeros((len(queries), len(which), len(LAGS)))
    for j, k in enumerate(which.tolist()):
        shape = library.shapes[library.known[k].span]
        other, there = _spectrum(shape, size), shape.any(axis=0)
        for q, (spectrum, used, query) in enumerate(own):
            lags = LAGS + query.clock.before
            scores[q, j] = _correlation(spectrum, other, used & there, len(query.shape), size, lags)
    return [_matches(library, query, which, found) for query, found in zip(queries, scores, strict=True)]


def match_each_other(library: Library) -> list[Matches]:
    """Each known recording against all the others, as if it were new."""
    size = _size(int(library.rows.max()), library.known)
    spectra = [_spectrum(library.shapes[known.span], size) for known in library.known]
    turned = [spectrum.conj() for spectrum in spectra]
    used = [library.shapes[known.span].any(axis=0) for known in library.known]
    found = []
    for k, known in enumerate(library.known):
        which = np.setdiff1d(np.arange(len(library.known)), [k])
        scores = np.array(
            [_correlation(turned[k], spectra[j], used[k] & used[j], known.rows, size, LAGS) for j in which]
        )
        found.append(_matches(library, Query.known(library, k), which, scores))
    return found


def _matches(library: Library, query: Query, which: np.ndarray, scores: np.ndarray) -> Matches:
    best = scores.argmax(axis=1) if len(which) else np.empty(0, dtype=int)
    clock = query.clock
    return Matches(
        library=library,
        query=query,
        which=which,
        correlation=scores[np.arange(len(which)), best] if len(which) else np.empty(0),
        delay=-LAGS[best] - clock.before,
        longer=library.rows[which] - clock.length - clock.before - clock.after,
        apart=_apart(query.levels, library.levels[which]),
    )


def _apart(levels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(K,) mean difference over slow channels, in spreads of the known ones; MOST_APART if none is shared."""
    if not len(others) or not others.shape[1]:
        return np.zeros(len(others))
    present = np.isfinite(others)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, others, 0).sum(axis=0) / count
    spread = np.sqrt(np.where(present, (others - mean) ** 2, 0).sum(axis=0) / count)
    difference = np.abs(others - levels) / np.where(spread > 0, spread, np.nan)
    shared = np.isfinite(difference)
    total = np.where(shared, difference, 0).sum(axis=1) / np.maximum(shared.sum(axis=1), 1)
    return np.where(shared.any(axis=1), np.minimum(total, MOST_APART), MOST_APART)


def _size(rows: int, known: Sequence[Known]) -> int:
    return next_fast_len(rows + max(k.rows for k in known) + 2 * MAX_DELAY, real=True)


def _spectrum(shape: np.ndarray, size: int) -> np.ndarray:
    """(frequencies, channels) complex64."""
    return np.asarray(rfft(shape.astype(np.float32), size, axis=0))


def _correlation(
    own: np.ndarray, other: np.ndarray, used: np.ndarray, rows: int, size: int, lags: np.ndarray
) -> np.ndarray:
    """(lags,) mean over the channels `used` of the correlation with another recording; own: conjugated."""
    product = np.einsum("fc,fc->f", other, own, optimize=True)
    return irfft(product, size)[lags % size] / (rows * max(1, int(used.sum())) * STEPS**2)
