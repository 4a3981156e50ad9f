"""Says in words at which feed a program ran, where it was held, and what of it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from model.clock import STOPPED, Clock
from model.recordings import Recordings

SAME_PACE = 0.015  # paces that are one feed


def row_seconds(data: Recordings, recording: int) -> float | None:
    """The median time between two rows; None if the recording has no times."""
    meta = data.recordings[recording]
    times = np.asarray(data.log["seconds"][meta.start : meta.start + meta.rows], dtype=np.float64)
    step = float(np.nanmedian(np.diff(times))) if np.isfinite(times).sum() > 1 else float("nan")
    return step if np.isfinite(step) and step > 0 else None


def feed_words(clock: Clock, lines: Sequence[str], seconds: float | None) -> str:
    """Such as `feed 108 %, held for 9 s at line G1 X1.5`; lines: of the rows; seconds: of a row."""
    moving = [s.pace for s in clock.stretches if s.pace >= STOPPED] or [1.0]
    said = [f"feed {100 * clock.pace:.0f} %"]
    if max(moving) - min(moving) > SAME_PACE:
        said = [f"feed between {100 * min(moving):.0f} and {100 * max(moving):.0f} %"]
    for hold in clock.holds:
        at = lines[min(hold.start, len(lines) - 1)] if lines else ""
        said.append(f"held for {lasting(hold.stop - hold.start, seconds)} at line {at}")
    if clock.before:
        said.append(f"its first {lasting(clock.before, seconds)} are missing")
    if clock.after:
        said.append(f"its last {lasting(clock.after, seconds)} are missing")
    return ", ".join(said)


def lasting(rows: int, seconds: float | None) -> str:
    """A number of rows as a time, if that is known."""
    return f"{rows} rows" if seconds is None else f"{rows * seconds:.0f} s"


def feed_values(clock: Clock) -> dict[str, Any]:
    """The same as plain values; rows are those of the recording, missing ones those of the program."""
    return {
        "feed": round(clock.pace, 4),
        "holds": [{"row": hold.start, "rows": hold.stop - hold.start} for hold in clock.holds],
        "missing_rows": [clock.before, clock.after],
    }
