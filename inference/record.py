"""Stores evaluations of a bundle in its folder as JSON, for reports without running the networks.

results/ensembles/<name>/
    reliability.json                       of `calibrate`
    evaluations/<data>-<part>[-joint].json of `evaluate`, with the parameters of the bundle
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.evaluate import Evaluation
from model.recordings import Recordings
from tuner.base.files import write_json

RELIABILITY = "reliability.json"
EVALUATIONS = "evaluations"
MOST_ERRORS = 40  # errors, most frequent first
MOST_PAIRS = 400  # of the confusion of a head


def store(evaluation: Evaluation, bundle: Path, *, data: Recordings, part: str | None, joint: bool) -> Path:
    """Writes the evaluation to the bundle folder; replaces an older one of the same recordings."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", data.name).strip("._") or "recordings"
    path = bundle / EVALUATIONS / f"{name}-{part or 'all'}{'-joint' if joint else ''}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, to_json(evaluation, data=data, part=part, joint=joint))
    return path


def to_json(evaluation: Evaluation, *, data: Recordings, part: str | None, joint: bool) -> dict[str, Any]:
    """The evaluation as plain values for JSON."""
    return {
        "data": data.name,
        "data_hash": data.content_hash,
        "part": part,
        "joint": joint,
        "metrics": evaluation.metrics,
        "intervals": {name: interval.to_json() for name, interval in evaluation.intervals.items()},
        "by_operation": evaluation.by_operation,
        "confusion": _pairs(evaluation.confusion),
        "heads": {head: _pairs(pairs) for head, pairs in evaluation.heads.items()},
        "errors": [
            {"true": true, "decoded": decoded, "windows": count, "example": example}
            for true, decoded, count, example in evaluation.errors[:MOST_ERRORS]
        ],
        "kinds_of_error": len(evaluation.errors),
        "ms_per_window": {
            how: 1000 * seconds / evaluation.windows for how, seconds in evaluation.seconds.items()
        },
        "paths": {
            name: {"points": track.points.round(4).tolist(), "sure": track.sure.round(4).tolist()}
            for name, track in evaluation.paths.items()
        },
    }


def _pairs(confusion: Mapping[tuple[str, str], int]) -> list[list[Any]]:
    """`[true, predicted, count]`, most frequent first."""
    ordered = sorted(confusion.items(), key=lambda item: -item[1])
    return [[true, guess, count] for (true, guess), count in ordered[:MOST_PAIRS]]
