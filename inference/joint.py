"""Decoding a whole recording at once: windows are evidence, the programs of `train` are the prior.

A hidden Markov model. A state is a place in one train recording's program: the label of the window that
starts at that row. From one window to the next the place moves on by the rows between them, give or take
(recordings of one operation run on nearly the same clock); a recording starts and ends where a program does.
Beside the places, each program has one state that follows no program: there a window's own answer counts,
so that a recording of an unseen program still decodes. Forward-backward gives, for each window, the
probability of every place; summed over the places of equal lines, and over programs in proportion to how
well they explain the recording, that is the probability of each line. The operation is never told.

Windows of one recording share their errors, so their evidence is no sum of independent witnesses: it is
raised to a power, once for the place within a program and once more for the choice of the program.
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
PAD = 16  # rows before and after a train program that count as places with its first and last label
UNKNOWN_END = 0.2  # how well any end fits a recording that follows no program
REACH = 12  # rows that the clock may gain or lose between two windows


@dataclass(frozen=True)
class JointOptions:
    """Parameters of the model; the first two are tuned on `calibrate`.

    Attributes:
        evidence: power of a window's probabilities when places of one program are compared.
        program: further power when programs are compared.
        drift: standard deviation, in rows, of the clock between two windows.
        slip: probability that the clock moves by more, up to `REACH` rows (a pause, a slower feed).
        start, end: rows within which a recording starts and ends where a program does.
        elsewhere: probability that it starts or ends somewhere else.
        unseen: probability that a recording follows no train program from its start on.
        leave, stay: probabilities to leave the program, and to stay outside, from window to window.
        doubt: probability that a window's answer is worth nothing, so that no window can veto a place.
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
        """From a bundle's `decoding["joint"]`; keys that are missing take their default."""
        known = {name: float(values[name]) for name in cls.__dataclass_fields__ if name in values}
        return cls(**known)


@dataclass(frozen=True)
class Evidence:
    """What the windows of one recording say by themselves.

    Attributes:
        start: `(windows,)` first row of each, counted from the recording's first row, ascending.
        rows: rows of the recording.
        lines: for each window, its likeliest lines, as the vocabulary spells them, with their probabilities.
    """

    start: Index
    rows: int
    lines: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Joint:
    """The answer for one recording.

    Attributes:
        lines: for each window, lines with their probabilities, likeliest first.
        followed: `(windows,)` probability that a window follows a train program at all.
        operations: operations of the programs, with their probabilities, likeliest first.
    """

    lines: list[dict[str, float]]
    followed: Floats
    operations: dict[str, float]


@dataclass(frozen=True, eq=False)
class Programs:
    """The places of all train programs, one after the other, S in all.

    Attributes:
        window: rows of a window.
        lines: the programs' lines.
        spelled: the same as the vocabulary spells them (a value becomes its bucket's).
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
        """From the content of a bundle's `programs.json`."""
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
        """Reads `programs.json`; InputError when it is torn or something else."""
        content = read_json(path)
        try:
            return cls.from_json(content, vocabulary)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: not the programs of a bundle ({error!r})") from None

    def without(self, operation: str) -> Programs:
        """The programs of all other operations."""
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
        """(programs,) the first place of each."""
        return np.cumsum(self.length) - self.length

    @cached_property
    def place(self) -> Index:
        """(S,) rows from the program's start, negative before it."""
        return GRID * (np.arange(len(self.line)) - np.repeat(self.first, self.length)) - PAD

    @cached_property
    def left(self) -> Index:
        """(S,) rows to the program's end, negative after it."""
        return GRID * np.repeat(self.length - 1, self.length) - self.place - 2 * PAD

    def spread(self, values: Floats) -> Floats:
        """(programs,) → (S,)."""
        return np.repeat(values, self.length)

    def total(self, values: Floats) -> Floats:
        """(S,) → (programs,) sums."""
        return np.add.reduceat(values, self.first)


def smooth(evidence: Evidence, programs: Programs, options: JointOptions) -> Joint:
    """The lines of a recording's windows, given all of them."""
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
    """How much better a line explains a window than a line drawn blindly, tempered: (windows, lines).

    By Bayes p(window | line) is p(line | window) / p(line), up to a factor of the window: N·p with all N
    lines equally frequent. Also returns the same for following no program: as good as a place whose line
    every window denies, so that it is the ends that decide between the two.
    """
    own = np.array([[answer.get(line, 0.0) for line in programs.spelled] for answer in evidence.lines])
    ratio = (1 - options.doubt) * own * len(programs.lines) + options.doubt
    return ratio**options.evidence, options.doubt**options.evidence


class _Moves:
    """Moves of the place from one window to the next: forward sums, and the same read backward."""

    def __init__(self, programs: Programs, options: JointOptions) -> None:
        self.programs = programs
        self._options = options
        self._known: dict[int, list[tuple[Index, Floats]]] = {}

    def _steps(self, rows: int) -> list[tuple[Index, Floats]]:
        """For each possible gain of the clock: where a place moves to, and with which probability."""
        if rows not in self._known:
            gain = np.arange(-(REACH // GRID), REACH // GRID + 1)
            near = np.exp(-0.5 * (gain * GRID / max(self._options.drift, 1e-3)) ** 2)
            slip = self._options.slip
            chance = (1 - slip) * near / near.sum() + slip / len(gain)
            here = np.arange(len(self.programs.line))
            last = here + (self.programs.left + PAD) // GRID
            steps = []
            for by, p in zip(gain + round(rows / GRID), chance, strict=True):
                beyond = here + by > last + 1  # past the end: the program waits there, if it must
                target = np.maximum(np.minimum(here + by, last), here - (self.programs.place + PAD) // GRID)
                steps.append((target, np.where(beyond, p * self._options.elsewhere, p)))
            self._known[rows] = steps
        return self._known[rows]

    def forward(self, mass: Floats, rows: int) -> Floats:
        """(S,) mass after moving on by `rows`."""
        moved = np.zeros_like(mass)
        for target, p in self._steps(rows):
            moved += np.bincount(target, mass * p, minlength=len(mass))
        return moved

    def backward(self, ahead: Floats, rows: int) -> Floats:
        """(S,) expectation of `ahead` where the place moves to."""
        expected = np.zeros_like(ahead)
        for target, p in self._steps(rows):
            expected += p * ahead[target]
        return expected


def _forward(
    evidence: Evidence, emission: Floats, of_none: float, moves: _Moves, options: JointOptions
) -> tuple[Floats, Floats, Floats]:
    """Mass of each place (windows, S) and of following none (windows, programs), given the windows so far.

    A program at a time: each one's masses sum to one, and its log-likelihood comes third.
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
    """Posterior of places and of following nothing, as in `_forward`; and log p(the end fits) a program."""
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
