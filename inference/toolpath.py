"""The path of the tool through a program: its moves, arcs as polylines, and the place of each decoded row."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from inference.gcode_file import confidence, last_number
from inference.whole import WholeRecording
from model.controller_log import UNKNOWN

ARC_STEPS = 12  # points of an arc
_WORD = re.compile(r"([A-Z])([+-]?[\d.]+)")


@dataclass(frozen=True, eq=False)
class Move:
    """One move: `(points, 3)` from its start to its end, in program units; motion 0 – 3 for G0 – G3."""

    points: np.ndarray
    motion: int
    line: int  # index of the line in the program


def moves_of(lines: Sequence[str]) -> list[Move]:
    """The moves of a program; those in machine coordinates (G53) are left out."""
    at = np.full(3, np.nan)
    motion, found = 0, []
    for index, line in enumerate(lines):
        words = [(letter, float(number)) for letter, number in _WORD.findall(line.partition("(")[0])]
        codes = [int(value) for letter, value in words if letter == "G" and value == int(value)]
        motion = next((code for code in reversed(codes) if code in (0, 1, 2, 3)), motion)
        to = at.copy()
        for letter, value in words:
            if letter in "XYZ":
                to["XYZ".index(letter)] = value
        named = dict(words)
        if 53 in codes or not named.keys() & set("XYZ"):
            continue
        start = np.where(np.isnan(at), to, at)
        at = to
        if np.isnan(start).all() or np.isnan(to[:2]).any() or np.isnan(start[:2]).any():
            continue
        start, end = np.nan_to_num(start), np.nan_to_num(to)
        arc = motion in (2, 3) and named.keys() & set("RIJ")
        points = _arc(start, end, named, clockwise=motion == 2) if arc else np.stack([start, end])
        found.append(Move(points, motion, index))
    return found


def _arc(start: np.ndarray, end: np.ndarray, words: dict[str, float], *, clockwise: bool) -> np.ndarray:
    """(points, 3) of an arc in the XY plane, by its radius or by its centre."""
    chord = end[:2] - start[:2]
    length = float(np.hypot(*chord))
    if "R" in words:
        radius = words["R"]
        if length == 0 or abs(radius) < length / 2 - 1e-3:
            return np.stack([start, end])
        height = math.sqrt(max(radius**2 - (length / 2) ** 2, 0.0))
        side = (1 if clockwise else -1) * (-1 if radius < 0 else 1)
        centre = start[:2] + chord / 2 + side * height * np.array([chord[1], -chord[0]]) / length
    else:
        centre = start[:2] + np.array([words.get("I", 0.0), words.get("J", 0.0)])
    first, last = (math.atan2(*(p[:2] - centre)[::-1]) for p in (start, end))
    if clockwise and last >= first:
        last -= 2 * math.pi
    if not clockwise and last <= first:
        last += 2 * math.pi
    angle = np.linspace(first, last, ARC_STEPS)
    radius = float(np.hypot(*(start[:2] - centre)))
    flat = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.column_stack([flat, np.linspace(start[2], end[2], ARC_STEPS)])


@dataclass(frozen=True, eq=False)
class Track:
    """What is drawn of a decoded recording.

    Attributes:
        points: `(points, 3)` of the path, in program units; sure: `(points,)` probability of its line;
            text: `(points,)` its line.
        rows: `(rows, 3)` position of the tool in each row, NaN where unknown.
    """

    points: np.ndarray
    sure: np.ndarray
    text: tuple[str, ...]
    rows: np.ndarray


def track_of(one: WholeRecording) -> Track | None:
    """The path of a recording whose program is known; None for another, or without moves."""
    if one.program is None or not one.program.lines:
        return None
    texts = one.program.texts()
    probability, last = confidence(one), last_number(one)
    moves = [move for move in moves_of(texts) if one.program.lines[move.line].number <= last]
    if not moves:
        return None
    number = [one.program.lines[move.line].number for move in moves]
    return Track(
        points=np.concatenate([move.points for move in moves]),
        sure=np.concatenate(
            [np.full(len(m.points), probability[n]) for m, n in zip(moves, number, strict=True)]
        ),
        text=tuple(texts[m.line] for m in moves for _ in m.points),
        rows=_rows(one, moves, np.array(number)),
    )


def _rows(one: WholeRecording, moves: Sequence[Move], number: np.ndarray) -> np.ndarray:
    """(rows, 3) position in each row: along the move of its line, in equal steps."""
    out = np.full((len(one.lines), 3), np.nan)
    edges = [0, *(np.flatnonzero(np.diff(one.number)) + 1).tolist(), len(one.number)]
    for start, stop in pairwise(edges):
        at = np.flatnonzero(number == one.number[start])
        if one.number[start] == UNKNOWN or not len(at):
            continue
        points = moves[int(at[0])].points
        share = (np.arange(stop - start) + 0.5) / (stop - start) * (len(points) - 1)
        for axis in range(3):
            out[start:stop, axis] = np.interp(share, np.arange(len(points)), points[:, axis])
    return out
