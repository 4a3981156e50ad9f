"""Calibrated probabilities: fits the scaling of each head (see `inference.scaling`), and measures it.

Only what decoding uses is calibrated (see `ensemble.predictions`): values among those of their parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.predictions import Layout, part_file, read_log_probabilities, read_targets
from inference.scaling import Floats, HeadSamples, Scaling, fit
from model.run_files import VOCABULARY
from model.tokens import HEADS, Vocabulary
from tuner.base.files import read_json

BINS = 15  # with equally many samples
RESAMPLES = 500
CHANCES = 200  # draws of answers that are right as often as the network says


@dataclass(frozen=True)
class Quality:
    """The calibration of a head: `ece` with its 95 % interval over recordings, `nll` in nats, `brier`.

    `ece_by_chance` is the mean error that a perfectly calibrated head has on as many samples.
    `ece_fitted_here` is the error with the scaling that is fitted on these very samples: a limit for scalings
    fitted elsewhere.
    """

    ece: float
    ece_low: float
    ece_high: float
    ece_by_chance: float
    ece_fitted_here: float
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
    """The scaling fitted on `calibrate`, and the calibration of each head before and after, by part."""

    scalings: dict[str, Scaling]
    before: dict[str, dict[str, Quality]]
    after: dict[str, dict[str, Quality]]
    reliability: dict[str, dict[str, tuple[Reliability, Reliability]]] = field(default_factory=dict)

    @property
    def temperatures(self) -> dict[str, float]:
        """Head → temperature."""
        return {head: scaling.temperature for head, scaling in self.scalings.items()}

    @property
    def exponents(self) -> dict[str, float]:
        """Head → exponent; 1 where a temperature is enough."""
        return {head: scaling.exponent for head, scaling in self.scalings.items()}


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


def calibrate(folder: Path, *, report: Sequence[str] = ("calibrate", "test")) -> Calibration:
    """Fits scalings on the stored predictions of `calibrate` and evaluates the parts in `report`."""
    fitted = read_samples(folder, "calibrate")
    scalings = {head: fit(fitted[head]) for head in HEADS}
    before: dict[str, dict[str, Quality]] = {}
    after: dict[str, dict[str, Quality]] = {}
    curves: dict[str, dict[str, tuple[Reliability, Reliability]]] = {}
    for part in report:
        samples = fitted if part == "calibrate" else read_samples(folder, part)
        own = scalings if part == "calibrate" else {head: fit(samples[head]) for head in HEADS}
        before[part] = {head: quality(samples[head], Scaling(), own=own[head]) for head in HEADS}
        after[part] = {head: quality(samples[head], scalings[head], own=own[head]) for head in HEADS}
        curves[part] = {
            head: (
                reliability(*confidence(samples[head], Scaling())[:2]),
                reliability(*confidence(samples[head], scalings[head])[:2]),
            )
            for head in HEADS
        }
    return Calibration(scalings, before, after, curves)


def quality(samples: HeadSamples, scaling: Scaling, *, own: Scaling) -> Quality:
    """ECE, NLL and Brier score of a head with a scaling; `own` is the one fitted on these samples."""
    sure, right, recording = confidence(samples, scaling)
    low, high = ece_interval(sure, right, recording)
    brier = 0.0
    for logits, gold in zip(samples.logits, samples.gold, strict=True):
        p = np.exp(scaling.log_p(logits))
        p[np.arange(len(gold)), gold] -= 1
        brier += float((p**2).sum())
    count = max(1, len(samples))
    return Quality(
        ece=ece(sure, right),
        ece_low=low,
        ece_high=high,
        ece_by_chance=ece_by_chance(sure),
        ece_fitted_here=ece(*confidence(samples, own)[:2]),
        nll=samples.nll(scaling),
        brier=brier / count,
        samples=len(samples),
    )


def confidence(samples: HeadSamples, scaling: Scaling) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """The probability of the best class, whether it is right, and the recording: (n,) each."""
    sure, right = [np.empty(0)], [np.empty(0, dtype=bool)]
    for logits, gold in zip(samples.logits, samples.gold, strict=True):
        log_p = scaling.log_p(logits)
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


def ece_by_chance(sure: Floats, *, seed: int = 0) -> float:
    """The mean `ece` of answers that are right exactly as often as `sure` says.

    With few samples a bin is rarely right as often as expected, so the error of a perfectly calibrated head
    is above 0 (Kumar et al., 2019).
    """
    rng = np.random.default_rng(seed)
    return float(np.mean([ece(sure, rng.random(len(sure)) < sure) for _ in range(CHANCES)]))


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
        "how": "least NLL; an exponent where cross-validation over recordings shows that it helps",
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
            label = in_words(calibration.scalings[head])
            axis.plot(after.confidence, after.accuracy, "o-", color="black", markersize=3, label=label)
            axis.set_title(f"{head}, {part}", fontsize=9)
            axis.legend(fontsize=8, frameon=False)
    figure.supxlabel("confidence")
    figure.supylabel("accuracy")
    figure.savefig(path)


def in_words(scaling: Scaling) -> str:
    """`T = 0.84`, or `T = 2.56, exponent 1.94`."""
    exponent = "" if scaling.exponent == 1 else f", exponent {scaling.exponent:.2f}"
    return f"T = {scaling.temperature:.2f}{exponent}"


def by_head(temperatures: Mapping[str, float]) -> str:
    """`type 0.91, command 1.02, …` for a line of text."""
    return ", ".join(f"{head} {temperatures[head]:.3g}" for head in HEADS)
