"""Joint decoding of a whole recording: windows are the evidence, the programs of `train` are the prior.

A hidden Markov model. A state is a place in the program of a train recording: the label of the window that
starts at that row. From one window to the next, the place advances by about the rows between them (recordings
of one operation have nearly the same timing). A recording starts and ends where a program does. A program
also has one state outside of it, in which only the output of the window counts, so that recordings of
unseen programs can be decoded. Forward-backward gives the probability of each place for each window. The
probability of a line is the sum over its places and over programs, weighted by how well each program explains
the recording. The operation is not an input.

The errors of windows in one recording are correlated. Their evidence is therefore raised to a power, once for
the place within a program and again for the choice of the program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.tokens import Vocabulary
from tuner.base.errors import InputError
from tuner.base.files import read_json

Floats = NDArray[np.float64]
Index = NDArray[np.int64]

GRID = 2  # rows between places
PAD = 16  # rows before and after a program that are places with its first and last label
UNKNOWN_END = 0.2  # likelihood of any end outside of a program
REACH = 12  # largest shift of the timing between two windows, in rows


@dataclass(frozen=True)
class JointOptions:
    """Parameters of the model; the first two are tuned on `calibrate`.

    Attributes:
        evidence: power of the probabilities of a window, to compare places of one program.
        program: another power, to compare programs.
        drift: standard deviation of the timing between two windows, in rows.
        slip: probability of a larger shift, up to `REACH` rows (a pause, a slower feed).
        start, end: rows within which a recording starts and ends where a program does.
        elsewhere: probability that it starts or ends somewhere else.
        unseen: probability that a recording starts outside of all train programs.
        leave, stay: probabilities to leave the program, and to stay outside, per window.
        doubt: probability that the output of a window is useless, so that no window can exclude a place.
    """

    evidence: float = 0.25
    program: float = 0.1
    drift: float = 0.5
    slip: float = 0.002
    start: float = 3.0
    end: float = 4.0
    elsewhere: float = 1e-3
    leave: float = 0.002
    stay: float = 0.99
    unseen: float = 0.05
    doubt: float = 0.2

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JointOptions:
        """From `decoding["joint"]` of a bundle; missing keys have their default."""
        known = {name: float(values[name]) for name in cls.__dataclass_fields__ if name in values}
        return cls(**known)


@dataclass(frozen=True)
class Evidence:
    """The outputs of the windows of one recording.

    Attributes:
        start: `(windows,)` first row of each within the recording, ascending.
        rows: rows of the recording.
        lines: for each window, its most probable lines, as the vocabulary writes them, with probabilities.
    """

    start: Index
    rows: int
    lines: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Joint:
    """The result for one recording.

    Attributes:
        lines: for each window, lines with probabilities, most probable first.
        followed: `(windows,)` probability that a window follows a train program.
        operations: operations of the programs with probabilities, most probable first.
    """

    lines: list[dict[str, float]]
    followed: Floats
    operations: dict[str, float]


@dataclass(frozen=True, eq=False)
class Programs:
    """The places of all train programs, concatenated: S places.

    Attributes:
        window: rows per window.
        lines: the lines of the programs.
        spelled: the lines as the vocabulary writes them (values become those of their bucket).
        line: `(S,)` index into `lines` at each place.
        length: `(programs,)` places of each program.
        operation: the operation of each program.
    """

    window: int
    lines: tuple[str, ...]
    spelled: tuple[str, ...]
    line: Index
    length: Index
    operation: tuple[str, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any], vocabulary: Vocabulary) -> Programs:
        """From the content of `programs.json`."""
        places = []
        for program in content["programs"]:
            lines, rows = np.array(program["runs"], dtype=np.int64).T
            places.append(np.pad(np.repeat(lines, rows)[::GRID], PAD // GRID, mode="edge"))
        if not places:
            raise InputError("the bundle's programs are empty: decode without --joint")
        return cls(
            window=int(content["window"]),
            lines=tuple(content["lines"]),
            spelled=tuple(vocabulary.to_line(vocabulary.encode(line)) for line in content["lines"]),
            line=np.concatenate(places),
            length=np.array([len(p) for p in places], dtype=np.int64),
            operation=tuple(program["operation"] for program in content["programs"]),
        )

    @classmethod
    def load(cls, path: Path, vocabulary: Vocabulary) -> Programs:
        """Reads `programs.json`; InputError if it is damaged."""
        content = read_json(path)
        try:
            return cls.from_json(content, vocabulary)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: not the programs of a bundle ({error!r})") from None

    def without(self, operation: str) -> Programs:
        """The programs without those of one operation."""
        keep = np.array([name != operation for name in self.operation])
        return Programs(
            window=self.window,
            lines=self.lines,
            spelled=self.spelled,
            line=self.line[np.repeat(keep, self.length)],
            length=self.length[keep],
            operation=tuple(name for name in self.operation if name != operation),
        )

    @cached_property
    def first(self) -> Index:
        """(programs,) index of the first place of each."""
        return np.cumsum(self.length) - self.length

    @cached_property
    def place(self) -> Index:
        """(S,) rows since the start of the program, negative before it."""
        return GRID * (np.arange(len(self.line)) - np.repeat(self.first, self.length)) - PAD

    @cached_property
    def left(self) -> Index:
        """(S,) rows to the end of the program, negative after it."""
        return GRID * np.repeat(self.length - 1, self.length) - self.place - 2 * PAD

    def spread(self, values: Floats) -> Floats:
        """(programs,) → (S,)."""
        return np.repeat(values, self.length)

    def total(self, values: Floats) -> Floats:
        """(S,) → (programs,): sums per program."""
        return np.add.reduceat(values, self.first)


def smooth(evidence: Evidence, programs: Programs, options: JointOptions) -> Joint:
    """The probabilities of lines for each window, given all windows of the recording."""
    of_lines, of_none = _emission(evidence, programs, options)
    emission = of_lines[:, programs.line]
    moves = _Moves(programs, options)
    inside, outside, log_likelihood = _forward(evidence, emission, of_none, moves, options)
    posterior, off, log_end = _backward(evidence, emission, of_none, moves, options, inside, outside)
    score = options.program * log_likelihood + log_end
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    posterior *= programs.spread(weight)
    free = off @ weight
    exact = dict(zip(reversed(programs.spelled), reversed(programs.lines), strict=True))
    lines = []
    for k, answer in enumerate(evidence.lines):
        mass = np.bincount(programs.line, posterior[k], minlength=len(programs.lines))
        found = {programs.lines[i]: float(mass[i]) for i in np.flatnonzero(mass > 1e-6)}
        for line, p in answer.items():
            line = exact.get(line, line)
            found[line] = found.get(line, 0.0) + float(free[k]) * p
        lines.append(dict(sorted(found.items(), key=lambda item: -item[1])))
    share: dict[str, float] = {}
    for operation, w in zip(programs.operation, weight, strict=True):
        share[operation] = share.get(operation, 0.0) + float(w)
    return Joint(lines, 1 - free, dict(sorted(share.items(), key=lambda item: -item[1])))


def _emission(evidence: Evidence, programs: Programs, options: JointOptions) -> tuple[Floats, float]:
    """Tempered likelihood ratio of a window given a line, against a random line: (windows, lines).

    By Bayes, p(window | line) is p(line | window) / p(line), up to a factor per window: N·p if all N lines
    are equally frequent. Also returns that of the state outside of a program: equal to a line with
    probability 0, so that start and end decide between the two.
    """
    own = np.array([[answer.get(line, 0.0) for line in programs.spelled] for answer in evidence.lines])
    ratio = (1 - options.doubt) * own * len(programs.lines) + options.doubt
    return ratio**options.evidence, options.doubt**options.evidence


class _Moves:
    """Transitions of the place from one window to the next, forward and backward."""

    def __init__(self, programs: Programs, options: JointOptions) -> None:
        self.programs = programs
        self._options = options
        self._known: dict[int, list[tuple[Index, Floats]]] = {}

    def _steps(self, rows: int) -> list[tuple[Index, Floats]]:
        """For each possible shift of the timing: the new place, and its probability."""
        if rows not in self._known:
            gain = np.arange(-(REACH // GRID), REACH // GRID + 1)
            near = np.exp(-0.5 * (gain * GRID / max(self._options.drift, 1e-3)) ** 2)
            slip = self._options.slip
            chance = (1 - slip) * near / near.sum() + slip / len(gain)
            here = np.arange(len(self.programs.line))
            last = here + (self.programs.left + PAD) // GRID
            steps = []
            for by, p in zip(gain + round(rows / GRID), chance, strict=True):
                beyond = here + by > last + 1  # beyond the end: stay at the end
                target = np.maximum(np.minimum(here + by, last), here - (self.programs.place + PAD) // GRID)
                steps.append((target, np.where(beyond, p * self._options.elsewhere, p)))
            self._known[rows] = steps
        return self._known[rows]

    def forward(self, mass: Floats, rows: int) -> Floats:
        """(S,) probability mass after advancing by `rows`."""
        moved = np.zeros_like(mass)
        for target, p in self._steps(rows):
            moved += np.bincount(target, mass * p, minlength=len(mass))
        return moved

    def backward(self, ahead: Floats, rows: int) -> Floats:
        """(S,) expectation of `ahead` at the next place."""
        expected = np.zeros_like(ahead)
        for target, p in self._steps(rows):
            expected += p * ahead[target]
        return expected


def _forward(
    evidence: Evidence, emission: Floats, of_none: float, moves: _Moves, options: JointOptions
) -> tuple[Floats, Floats, Floats]:
    """Forward pass: mass of each place (windows, S), and outside (windows, programs), per window.

    Per program: its masses sum to one. The third result is the log-likelihood of each program.
    """
    programs = moves.programs
    begin = np.exp(-np.abs(programs.place) / options.start)
    begin = (1 - options.elsewhere) * begin / programs.spread(programs.total(begin))
    begin += options.elsewhere / programs.spread(programs.length.astype(np.float64))
    inside, outside = np.empty(emission.shape), np.empty((len(emission), len(programs.length)))
    log_likelihood = np.zeros(len(programs.length))
    mass, free = (1 - options.unseen) * begin, np.full(len(programs.length), options.unseen)
    for k, likelihood in enumerate(emission):
        if k:
            rows = int(evidence.start[k] - evidence.start[k - 1])
            left = options.leave * programs.total(inside[k - 1])
            back = (1 - options.stay) * outside[k - 1] / programs.length
            mass = (1 - options.leave) * moves.forward(inside[k - 1], rows) + programs.spread(back)
            free = left + options.stay * outside[k - 1]
        mass, free = mass * likelihood, free * of_none
        scale = programs.total(mass) + free
        log_likelihood += np.log(scale)
        inside[k], outside[k] = mass / programs.spread(scale), free / scale
    return inside, outside, log_likelihood


def _backward(
    evidence: Evidence,
    emission: Floats,
    of_none: float,
    moves: _Moves,
    options: JointOptions,
    inside: Floats,
    outside: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Posterior of places and outside, as in `_forward`, and log p(end) per program."""
    programs = moves.programs
    rest = evidence.rows - int(evidence.start[-1]) - programs.window  # rows after the last window
    fits = np.exp(-np.abs(programs.left - rest) / options.end)
    ahead = (1 - options.elsewhere) * fits + options.elsewhere
    free_ahead = np.full(len(programs.length), UNKNOWN_END)
    log_end = np.log(programs.total(inside[-1] * ahead) + outside[-1] * free_ahead)
    posterior, off = np.empty_like(inside), np.empty_like(outside)
    for k in range(len(emission) - 1, -1, -1):
        here, free = inside[k] * ahead, outside[k] * free_ahead
        scale = programs.total(here) + free
        posterior[k], off[k] = here / programs.spread(scale), free / scale
        if k:
            rows = int(evidence.start[k] - evidence.start[k - 1])
            seen = ahead * emission[k]
            back = programs.total(seen) / programs.length
            onward = (1 - options.leave) * moves.backward(seen, rows)
            ahead = onward + options.leave * of_none * programs.spread(free_ahead)
            free_ahead = (1 - options.stay) * back + options.stay * of_none * free_ahead
            top = np.maximum(np.maximum.reduceat(ahead, programs.first), free_ahead)
            ahead, free_ahead = ahead / programs.spread(top), free_ahead / top
    return posterior, off, log_end
