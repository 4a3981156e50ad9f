"""Finds by name which column of a loop's table is the arm, the metric, the seed, the status, the note."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.base.errors import InputError, nearest
from tuner.plugins.referee.arms import Run

ARM = ("arm", "commit", "sha", "hash", "branch", "candidate", "experiment", "config", "name", "run",
       "run_name", "run_id", "id")  # fmt: skip
SEED = ("seed", "rng_seed", "random_seed")
STATUS = ("status", "state", "result", "decision", "outcome")
NOTE = ("description", "note", "notes", "message", "desc", "change", "comment")
FAILED = ("crash", "fail", "error", "oom", "timeout", "killed", "nan")  # so begins the status of a failed run
NO_METRIC = re.compile(
    r"seed|epoch|step|iter|time|date|memory|vram|_gb$|_mb$|seconds|minutes|duration|param|size|^lr$|rate$|^id$"
    r"|^run|index|count"
)
LESS = ("loss", "bpb", "bpc", "error", "err", "perplexity", "ppl", "mae", "mse", "rmse", "nll", "ece", "wer",
        "cer", "fid", "regret", "latency", "cost")  # fmt: skip
MORE = ("acc", "accuracy", "f1", "auc", "auroc", "score", "reward", "return", "bleu", "rouge", "precision",
        "recall", "iou", "map", "r2", "mfu", "exact", "win")  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A row of a source: its columns by name, and its place."""

    columns: Mapping[str, Any]
    place: str


def column(columns: Mapping[str, Any], names: Sequence[str]) -> str | None:
    lowered = {name.lower().replace(" ", "_"): name for name in columns}
    return next((lowered[name] for name in names if name in lowered), None)


def names_of(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line.columns))


def arm_column(lines: Sequence[Line], arm: str | None, where: str) -> str:
    names = names_of(lines)
    if arm is not None and arm not in names:
        raise InputError(f"{where}: no column '{arm}'{nearest(arm, names)} (columns: {', '.join(names)})")
    found = arm or column(dict.fromkeys(names), ARM)
    if found is None:
        raise InputError(
            f"{where}: which column names the arm? expected one of {', '.join(ARM[:6])}, or --arm COLUMN "
            f"(columns: {', '.join(names)})"
        )
    return found


def metric_column(lines: Sequence[Line], metric: str | None, where: str) -> str:
    names = names_of(lines)
    if metric is not None:
        if metric not in names:
            raise InputError(
                f"{where}: no metric '{metric}'{nearest(metric, names)} (columns: {', '.join(names)})"
            )
        return metric
    counts = Counter(
        name for line in lines for name, value in line.columns.items() if number(value) is not None
    )
    taken = {*ARM, *SEED, *STATUS, *NOTE}
    able = [
        n
        for n in names
        if 2 * counts[n] >= len(lines) and n.lower() not in taken and not NO_METRIC.search(n.lower())
    ]
    known = [name for name in able if _less(name) is not None]
    validated = [name for name in known if re.search(r"val|test|eval", name.lower())]
    for found in (validated, known, able):
        if len(found) == 1:
            return found[0]
        if found:
            break
    what = f"one of {', '.join(found)}" if found else f"a column of numbers (columns: {', '.join(names)})"
    raise InputError(f"{where}: which metric counts? --metric NAME, {what}")


def _less(name: str) -> bool | None:
    """Whether smaller values of a metric are better, by its name; None: it does not say so."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    if any(word in LESS for word in words):
        return True
    return False if any(word in MORE for word in words) else None


def maximizes(metric: str, goal: str | None, runs: Sequence[Run]) -> bool:
    """Whether larger values are better: as `goal` says, by the metric's name, or as the loop kept."""
    if goal is not None:
        return goal == "maximize"
    less = _less(metric)
    if less is None:  # a loop keeps what is better
        kept = [run.value for run in runs if run.status.lower().startswith("keep") and run.value is not None]
        less = kept[-1] < kept[0] if len(kept) > 1 and kept[0] != kept[-1] else None
    if less is None:
        raise InputError(f"{metric}: is less better, or more? --goal minimize or --goal maximize")
    return not less


def text(value: Any) -> str:
    return "" if value is None else str(value)


def number(value: Any) -> float | None:
    """A finite number, also where it is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
