"""Kinematics of a mill that runs a program: position, speed and current line at any time.

Moves are cut into straight pieces. Each piece has a trapezoidal speed profile with one acceleration limit.
The speed at a corner is limited by junction deviation (Grbl): v² = a·δ·s/(1−s), s = sin(half the angle).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MILLIMETRES = 25.4
RAPID = 60.0  # mm/s
ACCELERATION = 250.0  # mm/s²
DEVIATION = 0.02  # mm, junction deviation
CHORD = 1.0  # mm of arc per straight piece
HOME = np.array([47.56, 17.4, -26.0])  # machine position of the work zero, mm
DWELL = {"M": 1.2, "T": 0.6, "G": 0.1}  # seconds on a line without motion
END = 3.0  # seconds on M30

_WORD = re.compile(r"([A-Z])(-?[\d.]+)")


@dataclass(frozen=True)
class Motion:
    """The pieces of a program. A piece without motion has length 0 and a duration."""

    start: np.ndarray  # (pieces, 3) mm in the work frame
    direction: np.ndarray  # (pieces, 3) unit vectors
    length: np.ndarray  # (pieces,) mm
    speeds: np.ndarray  # (pieces, 3) entering, highest, leaving, mm/s
    begin: np.ndarray  # (pieces + 1,) seconds
    line: np.ndarray  # (pieces,) index of the line in the program
    mode: np.ndarray  # (pieces,) 0 rapid, 1 straight, 2 and 3 arcs
    spindle: np.ndarray  # (pieces,) whether the spindle turns
    feed: np.ndarray  # (pieces,) programmed mm/s

    @property
    def seconds(self) -> float:
        """The duration of the program."""
        return float(self.begin[-1])

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Piece (T,), position (T, 3) mm and velocity (T, 3) mm/s at `times` in seconds."""
        piece = np.clip(np.searchsorted(self.begin, times, side="right") - 1, 0, len(self.length) - 1)
        t = times - self.begin[piece]
        v0, v1, v2 = self.speeds[piece].T
        rise, fall = (v1 - v0) / ACCELERATION, (v1 - v2) / ACCELERATION
        total = self.begin[piece + 1] - self.begin[piece]
        flat = total - rise - fall
        t1, t2 = np.clip(t, 0, rise), np.clip(t - rise, 0, flat)
        t3 = np.clip(t - rise - flat, 0, fall)
        moving = self.length[piece] > 0
        travelled = v0 * t1 + ACCELERATION * t1**2 / 2 + v1 * t2 + v1 * t3 - ACCELERATION * t3**2 / 2
        speed = np.where(t < rise, v0 + ACCELERATION * t1, v1 - ACCELERATION * t3)
        travelled = np.where(moving, np.clip(travelled, 0, self.length[piece]), 0.0)
        speed = np.where(moving & (t <= total), speed, 0.0)
        direction = self.direction[piece]
        return piece, self.start[piece] + direction * travelled[:, None], direction * speed[:, None]


def run_program(lines: Sequence[str], *, override: float = 1.0) -> Motion:
    """Interprets a program (G0 to G3 with R, G20 G21 G53, M3 M5 M30); `override` scales the feed of cuts.

    Lines are upper case and have no comments, as `model.simulator.programs` writes them.
    """
    state = _State()
    for index, line in enumerate(lines):
        state.execute(line, index)
    return _timed(state, override)


class _State:
    """The modal state of the controller and the pieces it has emitted."""

    def __init__(self) -> None:
        self.at = np.array([0.0, 0.0, -HOME[2]])
        self.mode, self.unit, self.feed, self.spindle = 0, MILLIMETRES, 10.0, False
        self.pieces: list[tuple[np.ndarray, np.ndarray, float, int, int, bool]] = []
        self.waits: list[float] = []

    def execute(self, line: str, index: int) -> None:
        words = [(letter, float(number)) for letter, number in _WORD.findall(line)]
        codes = [(letter, number) for letter, number in words if letter in "GMT"]
        values = {letter: number for letter, number in words if letter not in "GMT"}
        for letter, number in codes:
            if letter == "G" and number in (0, 1, 2, 3):
                self.mode = int(number)
            elif letter == "G" and number in (20, 21):
                self.unit = MILLIMETRES if number == 20 else 1.0
            elif letter == "M" and number in (3, 4, 5, 30):
                self.spindle = number in (3, 4)
        if "F" in values:
            self.feed = values["F"] * self.unit / 60
        target = self.at.copy()
        for axis, name in enumerate("XYZ"):
            if name in values:
                target[axis] = values[name] * self.unit - (HOME[axis] if ("G", 53.0) in codes else 0.0)
        if np.allclose(target, self.at):
            seconds = END if ("M", 30.0) in codes else DWELL[codes[0][0] if codes else "G"]
            self._emit(self.at, self.at, index, seconds)
            return
        points = (
            self._arc(target, values["R"] * self.unit) if self.mode in (2, 3) and "R" in values else [target]
        )
        for point in points:
            self._emit(self.at, point, index, 0.0)
            self.at = point

    def _emit(self, start: np.ndarray, end: np.ndarray, index: int, wait: float) -> None:
        feed = RAPID if self.mode == 0 else self.feed
        self.pieces.append((start, end, feed, index, self.mode, self.spindle))
        self.waits.append(wait)

    def _arc(self, target: np.ndarray, radius: float) -> list[np.ndarray]:
        """Points on the shorter arc of `radius` to `target` in XY; Z follows in proportion."""
        chord = target[:2] - self.at[:2]
        distance = float(np.hypot(*chord))
        radius = max(abs(radius), distance / 2)
        left = np.array([-chord[1], chord[0]]) / distance
        side = 1.0 if self.mode == 3 else -1.0
        centre = self.at[:2] + chord / 2 + side * left * np.sqrt(max(radius**2 - distance**2 / 4, 0.0))
        first = np.arctan2(*(self.at[:2] - centre)[::-1])
        sweep = side * 2 * np.arcsin(min(distance / (2 * radius), 1.0))
        pieces = max(2, int(np.ceil(radius * abs(sweep) / CHORD)))
        part = np.arange(1, pieces + 1) / pieces
        angle = first + sweep * part
        xy = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        xy[-1] = target[:2]
        z = self.at[2] + (target[2] - self.at[2]) * part
        return list(np.column_stack([xy, z]))


def _timed(state: _State, override: float) -> Motion:
    """Speeds and times of the pieces: a backward pass for braking, a forward pass for accelerating."""
    start = np.array([piece[0] for piece in state.pieces])
    end = np.array([piece[1] for piece in state.pieces])
    length = np.linalg.norm(end - start, axis=1)
    moving = length > 1e-9
    direction = np.where(moving[:, None], (end - start) / np.where(moving, length, 1.0)[:, None], 0.0)
    mode = np.array([piece[4] for piece in state.pieces])
    feed = np.array([piece[2] for piece in state.pieces]) * np.where(mode > 0, override, 1.0)
    junction = _junctions(direction, feed, moving)  # (pieces + 1,) speed allowed before each piece
    reach = 2 * ACCELERATION * length
    for i in range(len(length) - 1, -1, -1):
        junction[i] = min(junction[i], np.sqrt(junction[i + 1] ** 2 + reach[i]))
    for i in range(len(length)):
        junction[i + 1] = min(junction[i + 1], np.sqrt(junction[i] ** 2 + reach[i]))
    v0, v2 = junction[:-1], junction[1:]
    v1 = np.maximum(np.minimum(feed, np.sqrt((reach + v0**2 + v2**2) / 2)), np.maximum(v0, v2))
    ramps = (2 * v1**2 - v0**2 - v2**2) / (2 * ACCELERATION)
    cruise = np.maximum(length - ramps, 0) / np.where(v1 > 0, v1, 1.0)
    seconds = np.where(moving, (2 * v1 - v0 - v2) / ACCELERATION + cruise, state.waits)
    return Motion(
        start=start,
        direction=direction,
        length=np.where(moving, length, 0.0),
        speeds=np.stack([v0, v1, v2], axis=1),
        begin=np.concatenate([[0.0], np.cumsum(seconds)]),
        line=np.array([piece[3] for piece in state.pieces]),
        mode=mode,
        spindle=np.array([piece[5] for piece in state.pieces]),
        feed=feed,
    )


def _junctions(direction: np.ndarray, feed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    cosine = -(direction[:-1] * direction[1:]).sum(
        axis=1
    )  # of the angle between the two pieces; −1 is straight on
    half = np.sqrt(np.clip((1 - cosine) / 2, 0, 1 - 1e-9))
    corner = np.sqrt(ACCELERATION * DEVIATION * half / (1 - half))
    inside = np.minimum(corner, np.minimum(feed[:-1], feed[1:])) * (moving[:-1] & moving[1:])
    return np.concatenate([[0.0], inside, [0.0]])
