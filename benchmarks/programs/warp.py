"""Warps recordings in time as an operator does: feed override, feed hold, another start or end.

The lines follow the clock of the controller. The sensors follow theirs, which is `lag` rows behind, so they
show the same change that many rows later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter1d

from model.recordings import Recordings

NOISE_ROWS = 5  # over which sensors are averaged, to see their noise
Clock = Callable[[int], np.ndarray]  # rows of a recording → the row that is shown at each new row, as float


@dataclass(frozen=True)
class Warp:
    """A change in time; pace: the feed to be found (None: it varies); hold: rows that stand still.

    unrest: of the sensors' usual noise, in these rows.
    """

    clock: Clock
    pace: float | None = 1.0
    hold: int = 0
    unrest: float = 0.0


def feed(pace: float) -> Warp:
    """The whole program at another feed."""
    return Warp(lambda rows: np.arange(0, rows, pace), pace)


def hold(at: float, length: int, pace: float = 1.0, *, unrest: float = 0.0) -> Warp:
    """A feed hold of `length` rows at a share of the program; with `unrest`, the spindle goes on."""

    def clock(rows: int) -> np.ndarray:
        rest = np.arange(0, rows, pace)
        cut = int(at * len(rest))
        return np.concatenate([rest[:cut], np.full(length, rest[cut]), rest[cut:]])

    return Warp(clock, pace, length, unrest)


def turns(paces: Sequence[float], each: int) -> Warp:
    """Several feeds in turn, each for some rows."""

    def clock(rows: int) -> np.ndarray:
        steps = np.tile(np.repeat(paces, each), rows // (each * len(paces)) * 2 + 4)
        places = np.concatenate([[0.0], np.cumsum(steps)])
        return places[places < rows]

    return Warp(clock, None)


def part(start: float, stop: float) -> Warp:
    """Only from a share of the program to another."""
    return Warp(lambda rows: np.arange(round(start * rows), round(stop * rows), dtype=float))


def warped(data: Recordings, recording: int, warp: Warp, *, lag: int) -> Recordings:
    """The recording at index `recording`, warped, as the only one of a data set.

    Args:
        lag: rows by which its sensors are behind.
    """
    meta = data.recordings[recording]
    live = meta.live
    rows = live.stop - live.start
    clock = warp.clock(rows)
    new = len(clock)
    # A row of the sensors shows what the controller did `lag` rows before.
    early = clock[0] + (np.arange(-lag, 0)) * (clock[1] - clock[0])
    sensors = np.concatenate([early, clock])[:new] + lag
    sensors = np.clip(sensors, 0, rows - 1)
    low = np.minimum(sensors.astype(int), max(0, rows - 2))
    share = (sensors - low)[:, None].astype(np.float32)
    signals = np.asarray(data.signals[live], dtype=np.float32)
    shown = signals[low] * (1 - share) + signals[low + 1] * share
    if warp.unrest:
        noise = signals - uniform_filter1d(signals, NOISE_ROWS, axis=0, mode="nearest")
        stood = np.flatnonzero((np.diff(sensors, append=rows) == 0) & (sensors < rows - 1))
        shown[stood] += warp.unrest * noise[np.random.default_rng(rows).integers(0, rows, len(stood))]
    lines = live.start + np.minimum(clock.astype(int), rows - 1)
    log = np.asarray(data.log[lines]).copy()
    log["seconds"] = np.arange(new) * np.nanmedian(np.diff(np.asarray(data.log["seconds"][live])))
    return replace(
        data,
        content_hash="",
        signals=shown,
        present=np.asarray(data.present[recording : recording + 1]),
        position=np.asarray(data.position[lines]),
        line_ids=np.asarray(data.line_ids[lines]),
        log=log,
        recordings=(replace(meta, start=0, rows=new, frozen_rows=0),),
    )
