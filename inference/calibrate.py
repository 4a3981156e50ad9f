"""Calibrated probabilities: finds one temperature per head exactly, and measures the calibration.

With β = 1/T, the negative log-likelihood of softmax(βz) is convex in β (Guo et al. 2017 minimise it by
gradient steps). Its minimum is where the derivative is 0, found by Brent's method. Only what decoding uses is
calibrated (see `ensemble.predictions`): values among those of their parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

from ensemble.predictions import Layout, part_file, read_log_probabilities, read_targets
from model.run_files import VOCABULARY
from model.tokens import HEADS, Vocabulary
from tuner.base.files import read_json

Floats = NDArray[np.float64]

HOTTEST, COLDEST = 20.0, 0.05  # temperatures searched
PRIOR = 2.0  # strength of the prior at T = 1, in positions of unit variance; matters for few samples
BINS = 15  # with equally many samples
RESAMPLES = 500


@dataclass(frozen=True)
class HeadSamples:
    """The logits of a head on one part, in groups with the same classes.

    Attributes:
        logits: (n, classes) per group; gold: (n,) per group; recording: (n,) per group.
    """

    logits: tuple[Floats, ...]
    gold: tuple[NDArray[np.int64], ...]
    recording: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return sum(map(len, self.gold))

    def nll(self, temperature: float) -> float:
        """Mean negative log-likelihood in nats; 0 without samples."""
        total = 0.0
        for logits, gold in zip(self.logits, self.gold, strict=True):
            total -= float(log_softmax(logits / temperature, axis=-1)[np.arange(len(gold)), gold].sum())
        return total / max(1, len(self))


@dataclass(frozen=True)
class Quality:
    """The calibration of a head: `ece` with its 95 % interval over recordings, `nll` in nats, `brier`."""

    ece: float
    ece_low: float
    ece_high: float
    nll: float
    brier: float
    samples: int


@dataclass(frozen=True)
class Reliability:
    """Equal-mass bins of confidence: mean confidence, accuracy, size; each (bins,)."""

    confidence: Floats
    accuracy: Floats
    size: NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Temperatures fitted on `calibrate`, and the calibration of each head before and after, by part."""

    temperatures: dict[str, float]
    before: dict[str, dict[str, Quality]]
    after: dict[str, dict[str, Quality]]
    reliability: dict[str, dict[str, tuple[Reliability, Reliability]]] = field(default_factory=dict)


def read_samples(folder: Path, part: str) -> dict[str, HeadSamples]:
    """The samples of each head, from the stored predictions of a run or bundle.

    Raises:
        InputError: the predictions of the part are missing or torn.
    """
    vocabulary = Vocabulary.from_json(read_json(folder / VOCABULARY))
    path = part_file(folder, part)
    targets = read_targets(path)
    layout = Layout.of(targets, vocabulary, where=str(path))
    log_p = read_log_probabilities(path, layout)
    owner = targets.recording[targets.window]
    return {
        head: HeadSamples(
            logits=tuple(array.astype(np.float64) for array in log_p[head]),
            gold=tuple(group.gold for group in layout.groups[head]),
            recording=tuple(owner[group.position].astype(np.int64) for group in layout.groups[head]),
        )
        for head in HEADS
    }


def exact_temperature(samples: HeadSamples, *, prior: float = PRIOR) -> float:
    """The temperature in COLDEST … HOTTEST that minimises NLL + prior/2·(1/T − 1)².

    1 without samples.
    """
    if not len(samples):
        return 1.0
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _slope(samples, low, prior) >= 0:
        return HOTTEST
    if _slope(samples, high, prior) <= 0:
        return COLDEST
    return 1 / float(brentq(lambda beta: _slope(samples, beta, prior), low, high, xtol=1e-10))


def _slope(samples: HeadSamples, beta: float, prior: float) -> float:
    """Derivative in β of the summed NLL and the prior: Σ (E_β[z] − z_gold) + prior·(β − 1)."""
    total = prior * (beta - 1)
    for logits, gold in zip(samples.logits, samples.gold, strict=True):
        p = np.exp(log_softmax(beta * logits, axis=-1))
        total += float((p * logits).sum() - logits[np.arange(len(gold)), gold].sum())
    return total


def calibrate(folder: Path, *, report: Sequence[str] = ("calibrate", "test")) -> Calibration:
    """Fits temperatures on the stored predictions of `calibrate` and evaluates the parts in `report`."""
    fitted = read_samples(folder, "calibrate")
    temperatures = {head: exact_temperature(fitted[head]) for head in HEADS}
    before: dict[str, dict[str, Quality]] = {}
    after: dict[str, dict[str, Quality]] = {}
    curves: dict[str, dict[str, tuple[Reliability, Reliability]]] = {}
    for part in report:
        samples = fitted if part == "calibrate" else read_samples(folder, part)
        before[part] = {head: quality(samples[head], 1.0) for head in HEADS}
        after[part] = {head: quality(samples[head], temperatures[head]) for head in HEADS}
        curves[part] = {
            head: (
                reliability(*confidence(samples[head], 1.0)[:2]),
                reliability(*confidence(samples[head], temperatures[head])[:2]),
            )
            for head in HEADS
        }
    return Calibration(temperatures, before, after, curves)


def quality(samples: HeadSamples, temperature: float) -> Quality:
    """ECE, NLL and Brier score of a head at a temperature."""
    sure, right, recording = confidence(samples, temperature)
    low, high = ece_interval(sure, right, recording)
    brier = 0.0
    for logits, gold in zip(samples.logits, samples.gold, strict=True):
        p = np.exp(log_softmax(logits / temperature, axis=-1))
        p[np.arange(len(gold)), gold] -= 1
        brier += float((p**2).sum())
    count = max(1, len(samples))
    return Quality(ece(sure, right), low, high, samples.nll(temperature), brier / count, len(samples))


def confidence(
    samples: HeadSamples, temperature: float
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """The probability of the best class, whether it is right, and the recording: (n,) each."""
    sure, right = [np.empty(0)], [np.empty(0, dtype=bool)]
    for logits, gold in zip(samples.logits, samples.gold, strict=True):
        log_p = log_softmax(logits / temperature, axis=-1)
        best = log_p.argmax(axis=1)
        sure.append(np.exp(log_p[np.arange(len(gold)), best]))
        right.append(best == gold)
    recording = np.concatenate([np.empty(0, dtype=np.int64), *samples.recording])
    return np.concatenate(sure), np.concatenate(right), recording


def reliability(sure: Floats, right: NDArray[np.bool_], *, bins: int = BINS) -> Reliability:
    """Equal-mass bins: equally many samples in each (Nixon et al. 2019)."""
    order = np.argsort(sure, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, max(1, len(order)))) if len(part)]
    return Reliability(
        confidence=np.array([sure[part].mean() for part in parts]),
        accuracy=np.array([right[part].mean() for part in parts]),
        size=np.array([len(part) for part in parts], dtype=np.int64),
    )


def ece(sure: Floats, right: NDArray[np.bool_], *, bins: int = BINS) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal-mass bins."""
    if not len(sure):
        return 0.0
    curve = reliability(sure, right, bins=bins)
    return float(np.average(np.abs(curve.confidence - curve.accuracy), weights=curve.size))


def ece_interval(
    sure: Floats, right: NDArray[np.bool_], recording: NDArray[np.int64], *, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the ECE. Resamples recordings, as their windows are not independent."""
    owners = np.unique(recording)
    if len(owners) < 2:
        return 0.0, 1.0
    rows = [np.flatnonzero(recording == owner) for owner in owners]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[i] for i in rng.integers(0, len(owners), len(owners))])
        found.append(ece(sure[drawn], right[drawn]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def chosen_by(calibration: Calibration) -> dict[str, Any]:
    """What the bundle stores about the choice: method, part, margin and alternatives."""
    before, after = calibration.before["calibrate"], calibration.after["calibrate"]
    return {
        "how": "least NLL, convex in 1/T, Brent's method",
        "part": "calibrate",
        "against": {head: {"temperature": 1.0, "nll": before[head].nll} for head in HEADS},
        "margin": {head: before[head].nll - after[head].nll for head in HEADS},
        "quality": {
            part: {
                head: {"before": vars(calibration.before[part][head]), "after": vars(quality_after)}
                for head, quality_after in heads.items()
            }
            for part, heads in calibration.after.items()
        },
    }


def curves(calibration: Calibration) -> dict[str, Any]:
    """The reliability curves as plain values: part → head → `before`, `after` → lists over bins."""
    return {
        part: {
            head: {
                name: {
                    "confidence": [round(float(x), 5) for x in curve.confidence],
                    "accuracy": [round(float(x), 5) for x in curve.accuracy],
                    "size": [int(x) for x in curve.size],
                }
                for name, curve in zip(("before", "after"), pair, strict=True)
            }
            for head, pair in heads.items()
        }
        for part, heads in calibration.reliability.items()
    }


def draw_reliability(calibration: Calibration, path: Path) -> None:
    """Draws reliability diagrams, one column per head, one row per part: before (grey), after (black)."""
    from matplotlib.figure import Figure

    parts = list(calibration.reliability)
    figure = Figure(figsize=(3 * len(HEADS), 3 * len(parts)), layout="constrained")
    axes = figure.subplots(len(parts), len(HEADS), squeeze=False, sharex=True, sharey=True)
    for row, part in zip(axes, parts, strict=True):
        for axis, head in zip(row, HEADS, strict=True):
            before, after = calibration.reliability[part][head]
            axis.plot([0, 1], [0, 1], color="0.8", linewidth=1)
            axis.plot(before.confidence, before.accuracy, "o--", color="0.6", markersize=3, label="before")
            label = f"T = {calibration.temperatures[head]:.2f}"
            axis.plot(after.confidence, after.accuracy, "o-", color="black", markersize=3, label=label)
            axis.set_title(f"{head}, {part}", fontsize=9)
            axis.legend(fontsize=8, frameon=False)
    figure.supxlabel("confidence")
    figure.supylabel("accuracy")
    figure.savefig(path)


def by_head(temperatures: Mapping[str, float]) -> str:
    """`type 0.91, command 1.02, …` for a line of text."""
    return ", ".join(f"{head} {temperatures[head]:.3g}" for head in HEADS)
