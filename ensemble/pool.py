"""Pools the stored predictions of members, in the format of a run, for calibration and reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ensemble.bundle import Pooling
from ensemble.predictions import (
    FLOOR,
    Layout,
    Targets,
    opened,
    part_file,
    read_log_probabilities,
    read_targets,
)
from ensemble.tables import log_sum_exp
from ensemble.weights import Weighting
from model.tokens import HEADS, Vocabulary
from tuner.base.errors import InputError


@dataclass(frozen=True)
class PartPredictions:
    """The predictions of K runs on one part: `log_p` (`read_log_probabilities`) and `operation` (W, n)."""

    layout: Layout
    vocabulary: Vocabulary
    log_p: tuple[dict[str, list[np.ndarray]], ...]
    operation: tuple[np.ndarray, ...]

    def of_members(self, members: Sequence[int]) -> PartPredictions:
        """The predictions of some runs, in the given order."""
        return dataclasses.replace(
            self,
            log_p=tuple(self.log_p[i] for i in members),
            operation=tuple(self.operation[i] for i in members),
        )


def read_part(runs: Sequence[Path], vocabulary: Vocabulary, *, part: str) -> PartPredictions:
    """Reads `predictions/<part>.npz` of every run.

    Raises:
        InputError: a run has no such file, or its targets differ from those of the first run.
    """
    targets = read_targets(part_file(runs[0], part))
    layout = Layout.of(targets, vocabulary, everything=True)
    log_p, operation = [], []
    for run in runs:
        path = part_file(run, part)
        difference = targets.difference(read_targets(path))
        if difference is not None:
            raise InputError(f"{path}: other targets than in {part_file(runs[0], part)}: {difference}")
        log_p.append(read_log_probabilities(path, layout))
        with opened(path) as arrays:
            logits = arrays["operation"].astype(np.float32)
        operation.append(np.maximum(logits - log_sum_exp(logits)[:, None], FLOOR))
    return PartPredictions(layout, vocabulary, tuple(log_p), tuple(operation))


def pool(log_p: Sequence[np.ndarray], weights: np.ndarray, *, pooling: Pooling) -> np.ndarray:
    """K arrays of log-probabilities (n, v) as one (n, v), pooled as a mixture or log-linearly."""
    total = np.zeros_like(log_p[0])
    for array, weight in zip(log_p, weights.astype(np.float32), strict=True):
        if weight > 0:
            total += weight * (np.exp(array) if pooling == "mixture" else array)
    if pooling == "mixture":
        return np.log(np.maximum(total, np.exp(FLOOR)))
    return np.maximum(total - log_sum_exp(total)[:, None], FLOOR)


def pooled_predictions(members: PartPredictions, weighting: Weighting) -> dict[str, np.ndarray]:
    """The arrays of `predictions/<part>.npz` for the pool, with log-probabilities as logits.

    Value rows are normalised over the values of their parameter; other values are `FLOOR`.
    """
    targets = members.layout.targets
    arrays = targets.to_arrays()
    for h, head in enumerate(HEADS):
        shape = (int(targets.applies[:, h].sum()), members.vocabulary.head_sizes[head])
        logits = np.full(shape, FLOOR, dtype=np.float16)
        for g, group in enumerate(members.layout.groups[head]):
            each = [log_p[head][g] for log_p in members.log_p]
            pooled = pool(each, weighting.heads[head], pooling=weighting.pooling)
            logits[group.rows[:, None], group.classes] = pooled
        arrays[head] = logits
    operation = pool(members.operation, weighting.shared, pooling=weighting.pooling)
    return {**arrays, "operation": operation.astype(np.float16)}


def part_scores(predictions: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> dict[str, float]:
    """Accuracies and likelihood of pooled predictions (`pooled_predictions`), teacher-forced.

    Returns:
        `exact` (share of exact lines, equal to that of greedy decoding), `overall` (share of tokens),
        `nll` (nats per line), and `<head>` (share of the positions of the head).
    """
    targets = Targets.of(predictions)
    layout = Layout.of(targets, vocabulary)
    right, nll = ~layout.unknown, 0.0
    scores: dict[str, float] = {}
    for head in HEADS:
        hits = 0
        for group in layout.groups[head]:
            log_p = predictions[head][group.rows][:, group.classes].astype(np.float32)
            hit = log_p.argmax(axis=-1) == group.gold
            right[group.position] &= hit
            hits += int(hit.sum())
            nll -= float(log_p[np.arange(len(hit)), group.gold].sum(dtype=np.float64))
        scores[head] = hits / max(1, sum(len(group.position) for group in layout.groups[head]))
    wrong = np.bincount(targets.window[~right], minlength=targets.windows)
    return {
        "exact": float((wrong == 0).mean()),
        "overall": float(right.mean()),
        "nll": nll / targets.windows,
        **scores,
    }
