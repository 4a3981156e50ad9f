"""Readings of the sensor boards of the simulated mill.

A machine is drawn once per data set: the place of each board, the axis it moves with, its orientation. Each
recording then adds an offset per channel, slow drifts and noise. Offsets are as large as the signals, as on
the real machine, so a model must look at changes or centre each recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The axes X Y Z that move each board.
RIDES: dict[str, tuple[int, int, int]] = {
    "frame_r2": (0, 0, 0),
    "y_bed__3": (0, 1, 0),
    "frame_l2": (0, 0, 0),
    "spindle2": (1, 0, 1),
    "z_gant_2": (1, 0, 1),
    "y_bed__1": (0, 1, 0),
    "xa_motor": (1, 0, 0),
    "frame_b2": (0, 0, 0),
    "frame_l3": (0, 0, 0),
    "frame_r1": (0, 0, 0),
    "spindle1": (1, 0, 1),
    "y_bed__4": (0, 1, 0),
    "y_bed__2": (0, 1, 0),
    "frame_l1": (0, 0, 0),
    "frame_b1": (0, 0, 0),
    "z_gant_1": (1, 0, 1),
}
MAGNETS = np.array([(0, 0, 0), (0, 1, 0), (1, 0, 1)])  # the axes that move the magnets: frame, bed, gantry
MIDDLE = np.array([90.0, 60.0, -15.0])  # mm, the middle of the travel
ALWAYS = ("frame_r2", "y_bed__3")  # present in every recording
BOARDS = tuple(RIDES)[:8]
CHANNELS = (
    *("Ax", "Ay", "Az", "Gx", "Gy", "Gz", "Mx", "My", "Mz", "Pressure", "Temperature"),
    *("Proximity", "ColorR", "ColorG", "ColorB", "ColorA", "RMS"),
)

# Between recordings (offset) and within one (drift, noise): g, degree/s, µT, hPa, °C, then counts.
_OFFSET = np.array([*[0.02] * 3, *[0.5] * 3, *[12.0] * 3, 4.0, 1.5, 3.0, 30.0, 30.0, 30.0, 60.0, 0.01])
_DRIFT = np.array([*[0.001] * 3, *[0.02] * 3, *[0.5] * 3, 0.02, 0.2, 0.3, 2.0, 2.0, 2.0, 4.0, 0.001])
_NOISE = np.array([*[0.004] * 3, *[0.1] * 3, *[0.4] * 3, 0.01, 0.02, 0.5, 1.5, 1.5, 1.5, 2.0, 0.002])
_ROUNDED = ("Proximity", "ColorR", "ColorG", "ColorB", "ColorA")
_SPINDLE_BEAT = 1.37  # Hz: alias of 12,000 rpm at about four rows per second


@dataclass(frozen=True)
class Rows:
    """The motion in the T rows of a recording."""

    time: np.ndarray  # (T,) s
    position: np.ndarray  # (T, 3) mm, machine frame
    velocity: np.ndarray  # (T, 3) mm/s
    acceleration: np.ndarray  # (T, 3) mm/s², mean over the row
    shake: np.ndarray  # (T,) mm/s², root mean square of the acceleration within the row
    spindle: np.ndarray  # (T,) 0 … 1 of full speed
    load: np.ndarray  # (T,) 0 … 1, load of the tool


@dataclass(frozen=True)
class Board:
    """One board of the machine; the same in all recordings of a data set."""

    name: str
    rides: np.ndarray  # (3,)
    at: np.ndarray  # (3,) mm
    mount: np.ndarray  # (3, 3) its axes
    twist: np.ndarray  # (3, 3) degree/s of rotation per m/s² of acceleration
    shaking: float  # share of the spindle vibration that reaches the board
    colour: np.ndarray  # (4, 3) share of red, green, blue, clear light, its dependence on Y, a phase
    magnets: np.ndarray  # (3, 3) mm from the board in the middle of the travel to each magnet of `MAGNETS`
    moments: np.ndarray  # (3, 3) directions and strengths of the magnets


def machine(boards: Sequence[str], rng: np.random.Generator) -> list[Board]:
    """Draws the boards of one machine."""
    drawn = []
    for name in boards:
        tilt = np.linalg.qr(np.eye(3) + 0.15 * rng.normal(size=(3, 3)))[0]
        away = rng.normal(size=(3, 3))
        drawn.append(
            Board(
                name=name,
                rides=np.array(RIDES[name], dtype=float),
                at=MIDDLE + rng.uniform(-90, 90, 3),
                mount=tilt * np.sign(np.diag(tilt)),
                twist=rng.normal(scale=0.8, size=(3, 3)),
                shaking=float(rng.uniform(0.3, 1.5)) * (2.0 if name.startswith(("spindle", "z_")) else 1.0),
                colour=rng.uniform(0.3, 1.0, size=(4, 3)),
                magnets=away / np.linalg.norm(away, axis=1, keepdims=True) * rng.uniform(60, 130, (3, 1)),
                moments=rng.normal(size=(3, 3)),
            )
        )
    return drawn


def board_signals(board: Board, rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """(T, 17) float32 readings of one board in one recording, in the order of `CHANNELS`."""
    phases = rng.uniform(0, 2 * np.pi, 3)
    beat = 2 * np.pi * _SPINDLE_BEAT * rows.time
    hum = np.stack([np.sin(beat + p) + 0.5 * np.sin(2 * beat + 3 * p) for p in phases], axis=1)
    strength = board.shaking * rows.spindle * (0.01 + 0.05 * rows.load)  # (T,) g
    acceleration = rows.acceleration / 9810 * np.clip(board.rides + 0.15, 0, 1)
    still = np.array([0.0, 0.0, -1.0])
    linear = (acceleration + still) @ board.mount.T + strength[:, None] * hum
    rates = (rows.acceleration / 1000) @ board.twist.T + 20 * strength[:, None] * np.roll(hum, 1, axis=1)
    warm = 1 - np.exp(-rows.time / 120)
    height = board.rides[2] * rows.position[:, 2]
    air = 1013.0 - 0.004 * height + 0.02 * rows.spindle + 0.01 * rows.load
    heat = 24.0 + 0.8 * warm * board.shaking
    near = 180 / (1 + ((rows.position[:, 1] - board.at[1]) / 40) ** 2)
    light = [_light(share, rows.position[:, 1], rows.position[:, 0]) for share in board.colour]
    loudness = 0.01 + strength * 0.7 + rows.shake / 9810 * 0.5
    readings = np.column_stack([linear, rates, _field(board, rows), air, heat, near, *light, loudness])
    return _as_measured(readings, rows.time, rng)


def motor_signals(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """(T, 4) float32 amperes of spindle, X, Y and Z motor."""
    spindle = 4.2 * rows.spindle + 2.0 * rows.load + 0.4
    axes = 0.19 + 0.0006 * np.abs(rows.velocity) + 0.0001 * np.abs(rows.acceleration)
    amperes = np.column_stack([spindle, axes])
    offset = rng.normal(scale=[0.3, 0.02, 0.02, 0.02], size=4)
    noise = rng.normal(scale=[0.15, 0.006, 0.006, 0.006], size=amperes.shape)
    return (amperes + offset + noise).astype(np.float32)


def _field(board: Board, rows: Rows) -> np.ndarray:
    """(T, 3) µT: earth, and magnets on the frame, the bed and the gantry."""
    moved = rows.position - MIDDLE
    field = np.array([20.0, 5.0, -42.0])  # the earth's
    for magnet, moment, rides in zip(board.magnets, board.moments, MAGNETS, strict=True):
        field = field + _dipole(moved * (board.rides - rides) - magnet, moment)
    return field @ board.mount.T


def _dipole(away: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """(T, 3) field of a magnet at the offset `away` (T, 3) mm; softened to stay finite nearby."""
    distance = np.sqrt((away**2).sum(axis=1, keepdims=True) + 40.0**2)
    unit = away / distance
    return 8e6 * (3 * unit * (unit @ moment)[:, None] - moment) / distance**3


def _light(share: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return 400 * share[0] * (1 + 0.15 * share[1] * np.sin(y / 35 + 6 * share[2]) + 0.05 * np.sin(x / 25))


def _as_measured(readings: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds an offset, drift (trend and slow wave) and noise; rounds counts to whole numbers."""
    width = readings.shape[1]
    part = (time - time[0]) / max(time[-1] - time[0], 1e-9)
    trend, wave, phase = rng.normal(size=width), rng.normal(size=width), rng.uniform(0, 6.28, width)
    drift = part[:, None] * trend + 0.5 * np.sin(2 * np.pi * part[:, None] + phase) * wave
    noise = rng.normal(size=readings.shape) * _NOISE
    measured = readings + rng.normal(size=width) * _OFFSET + drift * _DRIFT + noise
    counts = [CHANNELS.index(channel) for channel in _ROUNDED]
    measured[:, counts] = np.maximum(np.round(measured[:, counts]), 0)
    return measured.astype(np.float32)
