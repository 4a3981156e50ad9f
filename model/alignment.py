"""Alignment in time that bends: which moment of a known program each row of a recording shows.

A feed override, a feed hold or a late start changes when the machine does something, not what it does. The
hidden state is the place in the program of an operation and the pace; the pace may change, and stop. Every
operation has a template, the mean of its known recordings, whose channels count by how well they repeat. Sums
over all paths (forward–backward: Rabiner 1989) give the operation and a path; a second pass around it, with
knots each `KNOT` rows, gives the path to a fraction of a row; then as few stretches of constant pace as
explain that path (`model.stretches`) make the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.ndimage import uniform_filter1d

from model.library import LARGEST, STEPS, Library

TREND = 41  # rows: slower changes depend on what is cut, held or faster elsewhere, so they are removed
SMOOTH = 9  # rows over which the variance of a template is averaged
PAD = 80  # rows before and after a template
BLOCK = 16  # rows with one pace
PACES = np.array([0, *range(9, 26)])  # program rows in a block; 0: a hold
LIKELIHOOD = 0.04  # weight of the log-likelihood: channels and rows are not independent
NOISE, NOISE_RECORDINGS = 0.6, 1.0  # variance of a channel before it was measured, and what that counts
WORST = -60.0  # log-likelihood of a block, against the best place: bad sensors must not decide alone
NEAR, OTHER, HOLD = 0.05, 0.002, 0.001  # probabilities that a pace changes by one step, to any, to a hold
ELSEWHERE = 0.02  # of a start that is not within the delays of the clocks
KNOT = 8  # rows between knots of the fine path
OFFSETS = np.arange(-16, 17) / 4  # rows beside the coarse path that the fine one tries
LIKELY = 0.25  # of the evidence of the best template, for another to be tried
CHANGING = 0.25  # of the usual change of a template from row to row
BEND = 1.5  # rows by which two successive knots differ from the coarse path


@dataclass(frozen=True, eq=False)
class Template:
    """The mean recording of an operation.

    Attributes:
        mean: (rows, channels) float32, row `PAD` is the start of the median recording.
        weight: (channels,) inverse variance of a recording around the mean.
        trust: (rows,) usual variance over that of the row, at most 1: how long a machine waits before it
            starts is not the same in all recordings.
        end: row at which the median recording ends.
    """

    operation: str
    mean: np.ndarray
    weight: np.ndarray
    trust: np.ndarray
    end: float


@dataclass(frozen=True, eq=False)
class Path:
    """Where the sensors of a recording are in a template.

    Attributes:
        row: (knots,) of the recording; place: (knots,) row of the template; spread: (knots,) its deviation.
        emission: (rows, template rows) log-likelihood of each row at each place.
        evidence: log-likelihood a row, of all paths through this template.
    """

    template: Template
    row: np.ndarray
    place: np.ndarray
    spread: np.ndarray
    emission: np.ndarray
    evidence: float

    def informed(self) -> Path:
        """Only the knots where the template changes: where it does not, nothing tells the place."""
        change = np.diff(self.template.mean, axis=0, append=self.template.mean[-1:])
        known = uniform_filter1d(change**2 @ self.template.weight, 2 * KNOT + 1)
        here = known[np.clip(np.round(self.place), 0, len(known) - 1).astype(int)]
        keep = here >= CHANGING * np.median(here)
        return replace(self, row=self.row[keep], place=self.place[keep], spread=self.spread[keep])

    def score(self, row: np.ndarray, place: np.ndarray, *, moving: bool = False) -> float:
        """The log-likelihood of a path with straight lines between knots, or of its rows that move."""
        at = np.interp(np.arange(len(self.emission)), row, place)
        likely = _between(self.emission, at)
        return float((likely[np.diff(at, append=np.inf) > 0] if moving else likely).sum())


def templates(library: Library, leave_out: Sequence[int] = ()) -> list[Template]:
    """The template of each operation, without the recordings at `leave_out`."""
    found = []
    for operation in sorted(set(library.operations)):
        here = np.setdiff1d(np.flatnonzero(library.operations == operation), leave_out)
        if len(here):
            found.append(_template(library, operation, tuple(here.tolist())))
    return found


def features(shape: np.ndarray) -> np.ndarray:
    """(rows, channels) float32, unit variance and cut, of a shape in steps: what changes within `TREND`."""
    x = shape.astype(np.float32)
    x -= uniform_filter1d(x, TREND, axis=0, mode="nearest")
    deviation = x.std(axis=0)
    x /= np.where(deviation > 0, deviation, 1)
    return np.clip(x, -LARGEST / STEPS, LARGEST / STEPS)


@lru_cache(maxsize=64)
def _template(library: Library, operation: str, which: tuple[int, ...]) -> Template:
    rows, delay = library.rows[list(which)], library.delay[list(which)]
    size = int(rows.max()) + 2 * PAD
    total = np.zeros((size, library.shapes.shape[1]), dtype=np.float32)
    squares, count = np.zeros_like(total), np.zeros_like(total)
    for k, late in zip(which, delay, strict=True):
        own = features(library.shapes[library.known[k].span])
        start = max(0, PAD - int(late))
        here = slice(start, min(size, start + len(own)))
        own = own[: here.stop - start]
        total[here] += own
        squares[here] += own**2
        count[here] += own.any(axis=0)
    mean = total / np.maximum(count, 1)
    scatter = np.where(count > 1, squares - count * mean**2, 0)
    repeats = np.maximum(count - 1, 0)
    prior = NOISE_RECORDINGS * np.median(rows)
    noise = (scatter.sum(axis=0) + NOISE * prior) / (repeats.sum(axis=0) + prior)
    varies = uniform_filter1d(scatter @ (1 / noise), SMOOTH) / uniform_filter1d(
        repeats.sum(axis=1), SMOOTH
    ).clip(1)
    usual = float(np.median(varies[varies > 0])) if varies.any() else 1.0
    trust = np.where(varies > 0, np.minimum(1, usual / varies.clip(1e-9)), 1.0)
    # A mean of few is noisy itself: it is taken smaller (James and Stein 1961).
    energy = (mean**2 * (count > 0)).sum(axis=0) / np.maximum((count > 0).sum(axis=0), 1)
    mean *= np.maximum(0, 1 - noise / len(which) / np.maximum(energy, 1e-9)).astype(np.float32)
    return Template(
        operation=operation,
        mean=mean,
        weight=(1 / noise).astype(np.float32),
        trust=trust.astype(np.float32),
        end=float(np.median(PAD - delay + rows)),
    )


def align(shape: np.ndarray, found: Sequence[Template], *, most: int) -> list[Path]:
    """The paths of a recording through the `most` templates that explain it best, best first.

    Args:
        shape: (rows, channels) in steps.
    """
    own = features(shape)
    emitted = [_emissions(own, template) for template in found]
    forward = [_forward(emission) for emission in emitted]
    evidence = np.array([one[2] for one in forward])
    order = [t for t in np.argsort(-evidence, kind="stable")[:most] if evidence[t] >= LIKELY * evidence.max()]
    return [
        Path(
            found[t],
            *_fine(emitted[t], _backward(*forward[t][:2])),
            emitted[t],
            forward[t][2] / max(1, len(shape)),
        )
        for t in order
    ]


def _emissions(shape: np.ndarray, template: Template) -> np.ndarray:
    """(rows, template rows) log-likelihood of each row at each place, against one of no signal."""
    weight = LIKELIHOOD * template.weight * shape.any(axis=0)
    used = np.flatnonzero(weight)
    mean = template.mean[:, used]
    likely = shape[:, used] @ (mean * weight[used]).T - (mean**2 @ weight[used])[None] / 2
    return np.asarray(likely * template.trust)


def _forward(emission: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(blocks, paces, places) forward probabilities and likelihoods of blocks, and the log evidence."""
    rows, places = emission.shape
    blocks = max(1, rows // BLOCK)
    last = int(PACES.max())
    wide = np.pad(emission, ((0, 0), (0, last + 1)), mode="edge")
    scores = np.zeros((blocks, len(PACES), places))
    for i in range(min(BLOCK, rows)):
        steps = np.round(PACES * i / BLOCK).astype(int)
        for m, step in enumerate(steps):
            scores[:, m] += wide[i : i + BLOCK * blocks : BLOCK, step : step + places][:blocks]
    top = scores.max(axis=(1, 2), keepdims=True)
    likely = np.exp(np.maximum(scores - top, WORST))
    prior = np.full(places, ELSEWHERE / places)
    prior[: 2 * PAD] += 1 / (2 * PAD)
    state = np.repeat(prior[None] / len(PACES), len(PACES), axis=0)
    evidence, out = float(top.sum()), np.empty_like(likely)
    change = _changes()
    for b in range(blocks):
        state = state * likely[b]
        total = state.sum()
        evidence += float(np.log(total))
        state /= total
        out[b] = state
        state = change.T @ _moved(state)
    return out, likely, evidence


def _changes() -> np.ndarray:
    """(paces, paces) probability of the next pace."""
    count = len(PACES)
    change = np.full((count, count), OTHER / count)
    change[:, 0] = HOLD
    for m in range(1, count):
        for other in (m - 1, m + 1):
            if 1 <= other < count:
                change[m, other] = NEAR
    np.fill_diagonal(change, 0)
    np.fill_diagonal(change, 1 - change.sum(axis=1))
    return change


def _moved(state: np.ndarray, *, back: bool = False) -> np.ndarray:
    """Each pace moved on (or back) by its rows; what leaves the template stays at its end."""
    out = np.zeros_like(state)
    for m, step in enumerate(PACES.tolist()):
        if step == 0:
            out[m] = state[m]
        elif back:
            out[m, :-step] = state[m, step:]
            out[m, -step:] = state[m, -1]
        else:
            out[m, step:] = state[m, :-step]
            out[m, -1] += state[m, -step:].sum()
    return out


def _backward(forward: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """(blocks + 1,) place at the start of each block, and at the end: mean around the most likely one."""
    blocks, _, places = forward.shape
    change = _changes()
    after = np.ones_like(forward[0])
    here = np.arange(places)
    starts = np.empty(blocks + 1)
    for b in reversed(range(blocks)):
        posterior = forward[b] * after
        if b == blocks - 1:
            starts[blocks] = _centre(_moved(posterior).sum(axis=0), here)
        starts[b] = _centre(posterior.sum(axis=0), here)
        after = change @ (likely[b] * after)
        after = _moved(after, back=True)
        after /= after.max()
    return starts


def _centre(probability: np.ndarray, places: np.ndarray, around: int = 6) -> float:
    top = int(probability.argmax())
    near = slice(max(0, top - around), top + around + 1)
    return float((probability[near] * places[near]).sum() / probability[near].sum())


def _fine(emission: np.ndarray, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, places and deviations of the knots of a path beside the coarse one."""
    rows = len(emission)
    knots = np.arange(0, rows + 1, KNOT)
    if len(knots) < 2:
        return np.array([0.0]), coarse[:1], np.array([np.inf])
    middle = np.interp(knots, BLOCK * np.arange(len(coarse)), coarse)
    last = BLOCK * (len(coarse) - 1)
    slope = (coarse[-1] - coarse[-2]) / BLOCK
    middle = np.where(knots > last, coarse[-1] + slope * (knots - last), middle)
    middle = np.maximum.accumulate(middle)
    share = (np.arange(KNOT) / KNOT)[None, None, None]
    start, stop = middle[:-1, None] + OFFSETS, middle[1:, None] + OFFSETS
    at = start[:, :, None, None] * (1 - share) + stop[:, None, :, None] * share
    row = (knots[:-1, None] + np.arange(KNOT))[:, None, None]
    score = _between(emission, at, row).sum(axis=-1)
    bend = OFFSETS[:, None] - OFFSETS[None]
    score = score - (bend / BEND) ** 2 / 2
    backwards = start[:, :, None] > stop[:, None, :]
    score = np.where(backwards, -np.inf, score)
    step = np.exp(score - score.max(axis=(1, 2), keepdims=True))
    count = len(knots)
    forward, after = np.empty((count, len(OFFSETS))), np.empty((count, len(OFFSETS)))
    forward[0], after[-1] = 1 / len(OFFSETS), 1.0
    for b in range(count - 1):
        forward[b + 1] = forward[b] @ step[b]
        forward[b + 1] /= forward[b + 1].sum()
    for b in reversed(range(count - 1)):
        after[b] = step[b] @ after[b + 1]
        after[b] /= after[b].max()
    posterior = forward * after
    posterior /= posterior.sum(axis=1, keepdims=True)
    mean = posterior @ OFFSETS
    spread = np.sqrt(np.maximum(posterior @ OFFSETS**2 - mean**2, 0))
    return knots.astype(float), middle + mean, spread


def _between(emission: np.ndarray, at: np.ndarray, row: np.ndarray | None = None) -> np.ndarray:
    """The emissions of rows (default: one after the other) at fractional places."""
    at = np.clip(at, 0, emission.shape[1] - 1.001)
    low = at.astype(np.int32)
    part = (at - low).astype(np.float32)
    row = np.arange(len(at)) if row is None else row
    return np.asarray(emission[row, low] * (1 - part) + emission[row, low + 1] * part)
