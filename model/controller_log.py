"""What the controller reports in each row besides the text of the line: its number, motion, feed, time.

None of it is a sensor, and no decoder reads it from a new recording. In known recordings it tells where a
line stands in its program, and how the machine moved on it.
"""

from __future__ import annotations

import numpy as np
import polars as pl

LINE_NUMBER, CONTROLLER_LINE = "gcode_line", "line"
TIMES = ("t_console", "seconds", "time", "timestamp")
MOTION, FEED = "momo", "feed"  # 0, 1, 2, 3: G0, G1, G2, G3; millimetres a minute
WORDS = {  # column → value → word
    "unit": {0: "G20", 1: "G21"},
    "dist": {0: "G90", 1: "G91"},
    "coor": {number: f"G{53 + number}" for number in range(1, 7)},
}
UNKNOWN = -1
MOTIONS = 4
ROW = np.dtype([("number", "<i4"), ("motion", "i1"), ("feed", "<f4"), ("seconds", "<f4")])
QUEUE_ROWS = 60  # in which a program begins
HOUR, DAY = 3600.0, 24 * 3600.0


def unknown_log(rows: int) -> np.ndarray:
    """(rows,) of `ROW` in which nothing is known."""
    log = np.empty(rows, dtype=ROW)
    log["number"] = log["motion"] = UNKNOWN
    log["feed"] = log["seconds"] = np.nan
    return log


def begins(number: np.ndarray) -> int:
    """The row in which a program begins: before it the controller reports a line that it has read ahead."""
    first = number[:QUEUE_ROWS]
    return 0 if not len(first) or (first == UNKNOWN).any() else int(first.argmin())


def read_log(table: pl.DataFrame) -> np.ndarray:
    """(rows,) of `ROW`; UNKNOWN or NaN where a column or cell is missing. Seconds are since the first row."""
    log = unknown_log(table.height)
    for column in (LINE_NUMBER, CONTROLLER_LINE):
        if column in table.columns:
            log["number"] = _whole(table[column])
            break
    if MOTION in table.columns:
        motion = _whole(table[MOTION])
        log["motion"] = np.where((motion >= 0) & (motion < MOTIONS), motion, UNKNOWN)
    if FEED in table.columns:
        log["feed"] = table[FEED].cast(pl.Float32, strict=False).fill_null(float("nan")).to_numpy()
    for column in TIMES:
        if column in table.columns:
            log["seconds"] = _seconds(table[column])
            break
    return log


def read_setup(table: pl.DataFrame) -> str:
    """The modal words that hold in most rows, such as `G20 G90 G55`; "" if the columns are missing."""
    words = []
    for column, meaning in WORDS.items():
        if column in table.columns:
            values = _whole(table[column])
            values = values[np.isin(values, list(meaning))]
            if len(values):
                words.append(meaning[int(np.bincount(values).argmax())])
    return " ".join(words)


def _whole(column: pl.Series) -> np.ndarray:
    """Whole numbers from 0; UNKNOWN for anything else."""
    values = column.cast(pl.Float64, strict=False).fill_nan(None).fill_null(UNKNOWN).to_numpy()
    return np.where((values >= 0) & (values < 2**31), values, UNKNOWN).astype(np.int64)


def _seconds(column: pl.Series) -> np.ndarray:
    """Seconds since the first row, from numbers or from clock times such as `11:20:40.250`."""
    clock = [_clock(text) for text in column.cast(pl.String).to_list()]
    seconds = np.array(clock, dtype=np.float64)
    if not np.isfinite(seconds).any():
        return seconds
    steps = np.diff(seconds, prepend=seconds[0])
    steps = np.where(steps < -DAY / 2, steps + DAY, steps)  # past midnight
    steps = np.where(steps < -HOUR / 2, steps + HOUR, steps)  # a clock without the hour
    return np.nancumsum(steps) if np.isfinite(seconds).all() else seconds - seconds[np.isfinite(seconds)][0]


def _clock(text: str | None) -> float:
    try:
        total = 0.0
        for part in (text or "").split(":"):
            total = 60 * total + float(part)
        return total
    except ValueError:
        return float("nan")
