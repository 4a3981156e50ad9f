"""One recording of the simulated mill, as a table like the CSV of the real one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from model.simulator.kinematics import HOME, MILLIMETRES, Motion, run_program
from model.simulator.sensors import ALWAYS, CHANNELS, Board, Rows, board_signals, motor_signals

ROW_SECONDS = 0.26
QUEUED = 12  # lines that the controller reads ahead
SUBSTEPS = 8  # per row, to average accelerations
CUTTING_HEIGHT = 1.5  # mm above the work zero; below it the tool cuts
MOTOR_NAMES = ("spindle", "x_motor", "y_motor", "z_motor")


@dataclass(frozen=True)
class Day:
    """What differs between two recordings of one operation."""

    override: float  # feed
    late: int  # rows by which the boards lag behind the controller
    before: int  # rows at the start in which the controller waits for the spindle
    after: int  # rows without a line, at the end
    missing: frozenset[str]  # boards that were not connected
    clock: datetime


def draw_day(boards: Sequence[str], clock: datetime, rng: np.random.Generator) -> Day:
    """Draws what differs in a recording; about a fifth of the optional boards are missing."""
    return Day(
        override=float(rng.uniform(0.995, 1.005)),
        late=int(rng.integers(0, 16)),
        before=int(rng.integers(5, 10)),
        after=int(rng.integers(3, 12)) if rng.random() < 0.1 else 0,
        missing=frozenset(board for board in boards if board not in ALWAYS and rng.random() < 0.2),
        clock=clock,
    )


def record(lines: Sequence[str], boards: Sequence[Board], day: Day, rng: np.random.Generator) -> pl.DataFrame:
    """Runs the program and samples it once per row: the same columns as in a real recording."""
    motion = run_program(lines, override=day.override)
    count = int(motion.seconds / ROW_SECONDS)
    jitter = rng.normal(scale=0.004, size=count)
    clock = np.sort(np.arange(count) * ROW_SECONDS + jitter.clip(-0.05, 0.05)).clip(0)
    lead = np.arange(-day.before, 0) * ROW_SECONDS
    tail = clock[-1] + np.arange(1, day.after + 1) * ROW_SECONDS
    times = np.concatenate([lead, clock, tail])
    rows, piece = _sampled(motion, times)
    sensed, _ = _sampled(motion, times - day.late * ROW_SECONDS)
    index = motion.line[piece].copy()
    index[: day.before] = min(
        QUEUED, len(lines) - 1
    )  # like the real controller, which reports the queued line
    columns: dict[str, object] = _controller(motion, rows, piece, index, day.clock)
    currents = motor_signals(sensed, rng)
    for twin in ("", "_A"):
        columns |= {name + twin: currents[:, i] for i, name in enumerate(MOTOR_NAMES)}
    for board in boards:
        readings = board_signals(
            board, sensed, rng
        )  # also drawn for missing boards, so that the others do not change
        if board.name not in day.missing:
            columns |= {f"{board.name}.{channel}": readings[:, i] for i, channel in enumerate(CHANNELS)}
    known = len(times) - day.after
    columns["gcode_line"] = [int(i) + 1 if row < known else None for row, i in enumerate(index)]
    columns["gcode_string"] = [lines[i] if row < known else None for row, i in enumerate(index)]
    return pl.DataFrame(columns)


def _sampled(motion: Motion, times: np.ndarray) -> tuple[Rows, np.ndarray]:
    """The motion at each row, averaged over the row before it, and the piece of the program."""
    step = ROW_SECONDS / SUBSTEPS
    fine = (times[:, None] - step * np.arange(SUBSTEPS)[::-1]).clip(0, motion.seconds - 1e-6)
    _, _, velocity = motion.at((fine - step).clip(0).ravel())
    piece, position, later = motion.at(fine.ravel())
    shape = (len(times), SUBSTEPS, 3)
    change = ((later - velocity) / step).reshape(shape)
    position, later = position.reshape(shape)[:, -1], later.reshape(shape)[:, -1]
    piece = piece.reshape(len(times), SUBSTEPS)[:, -1]
    spun = np.convolve(motion.spindle[piece].astype(float), np.ones(4) / 4)[: len(times)]
    speed = np.linalg.norm(later, axis=1)
    heading = 0.75 + 0.25 * later[:, 0] / np.maximum(speed, 1e-9)  # climb and conventional milling differ
    cutting = (position[:, 2] < CUTTING_HEIGHT) & (motion.mode[piece] > 0)
    load = np.where(cutting, np.clip(speed / 20, 0, 1) * heading, 0.0)
    rows = Rows(
        time=times - times[0],
        position=position + HOME,
        velocity=later,
        acceleration=change.mean(axis=1),
        shake=np.sqrt((change**2).sum(axis=2).mean(axis=1)),
        spindle=spun,
        load=load,
    )
    return rows, piece


def _controller(
    motion: Motion, rows: Rows, piece: np.ndarray, index: np.ndarray, clock: datetime
) -> dict[str, object]:
    """The columns that the controller reports; none of them is a sensor."""
    work = (rows.position - HOME) / MILLIMETRES
    stamps = [clock + timedelta(seconds=float(second)) for second in rows.time]
    columns: dict[str, object] = {
        "t_console": [stamp.strftime("%H:%M:%S.%f")[:-3] for stamp in stamps],
        "stat": np.full(len(piece), 5),
        "line": index + 1,
    }
    columns |= {f"pos{axis}": np.round(work[:, i], 4) for i, axis in enumerate("xyz")}
    columns |= {f"mpo{axis}": np.round(rows.position[:, i], 5) for i, axis in enumerate("xyz")}
    feed = np.round(motion.feed[piece] * 60, 1)
    columns |= {"vel": np.round(np.linalg.norm(rows.velocity, axis=1) * 60, 2), "feed": feed}
    columns |= {"unit": np.zeros(len(piece), int), "dist": np.zeros(len(piece), int)}
    columns |= {
        "plane": np.zeros(len(piece), int),
        "coor": np.full(len(piece), 2),
        "momo": motion.mode[piece],
    }
    columns["raw_json"] = [
        json.dumps({"sr": {"line": int(i) + 1, "stat": 5, "feed": float(f)}}, separators=(",", ":"))
        for i, f in zip(index, feed, strict=True)
    ]
    return columns
