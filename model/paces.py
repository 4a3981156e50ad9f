"""The pace of a recording as a hidden state: where an unsteady one is in its program, knot by knot.

The state is the pace, in whole per cent of the usual feed, and the place. A pace lasts; it may change to any
other, to those that an operator sets (100 %, steps of 5) more likely. Sums over all paths (forward–backward:
Rabiner 1989) give the mean place, near the path of `model.alignment` that is observed.
"""

from __future__ import annotations

import numpy as np

STEP = 4  # rows with one pace
FINE = 25  # grid places in a row: a step at any whole per cent is a whole number of them
WIDE = 4.0  # rows beside the observed path
PACES = np.concatenate([[0.0], np.arange(55, 146) / 100])
USUAL, FIVES, ANY, HELD = 0.25, 0.6, 0.12, 0.03  # of a new pace: 100 %, a step of five, any other, a hold
CHANGE = 0.02  # probability that the pace changes within a step
DEVIATION, SPREAD = 0.3, 0.3  # rows of a knot beside the true path; and of its own deviation
WRONG, FAR = 0.1, 0.05  # share of knots that are wrong, and their likelihood
ALONG = 0.6  # weight of a knot: knots that follow each other err alike


def smoothed(
    row: np.ndarray, place: np.ndarray, spread: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows each `STEP` up to `rows` and after, and the mean place at each.

    Args:
        row, place, spread: (knots,) the observed path and its deviation.
    """
    at = np.arange(0, rows + STEP, STEP).astype(float)
    near = np.interp(at, row, place) + np.minimum(0, at - row[0]) + np.maximum(0, at - row[-1])
    base = np.round((near - WIDE) * FINE).astype(int)
    places = base[:, None] / FINE + np.arange(round(2 * WIDE * FINE) + 1) / FINE
    likely = np.ones_like(places)
    for knot, here, deviation in zip(np.round(row / STEP).astype(int), place, spread, strict=True):
        square = (places[knot] - here) ** 2 / (DEVIATION**2 + (SPREAD * deviation) ** 2)
        likely[knot] *= ((1 - WRONG) * np.exp(-square / 2) + WRONG * FAR) ** ALONG
    prior = _prior()[:, None]
    forward = np.empty((len(at), len(PACES), places.shape[1]))
    state = prior * np.ones_like(places[:1]) / places.shape[1]
    for i in range(len(at)):
        state = state * likely[i]
        forward[i] = state / state.sum()
        if i + 1 < len(at):
            moved = _moved(forward[i], base[i] - base[i + 1])
            state = (1 - CHANGE) * moved + CHANGE * prior * moved.sum(axis=0) + 1e-300
    after, mean = np.ones_like(state), np.empty(len(at))
    for i in reversed(range(len(at))):
        here = (forward[i] * after).sum(axis=0)
        mean[i] = (here * places[i]).sum() / here.sum()
        if i:
            after = after * likely[i]
            after = (1 - CHANGE) * after + CHANGE * (prior * after).sum(axis=0)
            after = _moved(after, base[i - 1] - base[i], back=True) + 1e-300
            after /= after.max()
    return at, np.maximum.accumulate(mean)


def _prior() -> np.ndarray:
    """(paces,) probability of a new pace."""
    moving, fives = PACES > 0, (PACES > 0) & (np.round(100 * PACES) % 5 == 0)
    out = ANY * moving / moving.sum() + FIVES * fives / fives.sum() + USUAL * (PACES == 1.0)
    out[0] = HELD
    return np.asarray(out / out.sum())


def _moved(state: np.ndarray, by: int, *, back: bool = False) -> np.ndarray:
    """Each pace moved on (or back) by its step, from one window of places to the next, `by` before it."""
    out, width = np.zeros_like(state), state.shape[1]
    for m, pace in enumerate(PACES):
        step = by + round(pace * STEP * FINE)
        step = -step if back else step
        if 0 <= step < width:
            out[m, step:] = state[m, : width - step]
        elif -width < step < 0:
            out[m, :step] = state[m, -step:]
    return out
