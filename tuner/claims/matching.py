"""Matched pairs: trials that differ only in the claim's parameters. From a study, or run for the claim."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuner.claims.material import Study, Trial
from tuner.definition import expressions
from tuner.definition.constraints import Hypothesis
from tuner.storage.attributes import ORIGIN


@dataclass(frozen=True)
class Point:
    """A trial on one side of a claim, with its value of the metric."""

    trial: Trial
    side: Literal["where", "against"]
    value: float


def searchable(study: Study, trial: Trial) -> Mapping[str, Any]:
    """The configuration, without searched parameters that were inactive in the trial."""
    absent = {name for name in study.searched if name not in trial.params}
    return {name: value for name, value in trial.config.items() if name not in absent}


def matched(
    study: Study, hypothesis: Hypothesis, points: Sequence[Point]
) -> list[tuple[float, tuple[int, ...]]]:
    """Groups trials that differ only in the claim's parameters. Returns `(where - against, trial numbers)` of
    each group.
    """
    return [
        (statistics.fmean(where) - statistics.fmean(against), numbers)
        for where, against, numbers in _groups(study, hypothesis, [(p, p.trial.params) for p in points])
    ]


def pairs_run(study: Study, hypothesis: Hypothesis, metric: str, paired: Study) -> list[float]:
    """The differences `where - against` of the trials of `paired` that differ only in the claim's parameters.

    Run by run where both sides of a group have equally many, otherwise of the means. None if the two studies
    ran on different data.
    """
    if not same_data(study, paired):
        return []
    points = []
    for trial in paired.trials:
        value, side = trial.metric(metric), hypothesis.side(active(study, trial.config))
        if trial.complete and side is not None and value is not None and math.isfinite(value):
            points.append((Point(trial, side, value), trial.config))
    found: list[float] = []
    for where, against, _ in _groups(study, hypothesis, points):
        if len(where) == len(against):
            found += [a - b for a, b in zip(where, against, strict=True)]
        else:
            found.append(statistics.fmean(where) - statistics.fmean(against))
    return found


def _groups(
    study: Study, hypothesis: Hypothesis, points: Sequence[tuple[Point, Mapping[str, Any]]]
) -> Iterator[tuple[list[float], list[float], tuple[int, ...]]]:
    """Values as claimed and against, and trial numbers, of groups that differ only in the claim's parameters.

    Args:
        points: with the values by which they are grouped.
    """
    free = with_dependents(study, claim_names(hypothesis))
    groups: dict[str, list[Point]] = {}
    for point, values in points:
        rest = {n: v for n, v in values.items() if n not in free}
        groups.setdefault(json.dumps(rest, sort_keys=True, default=str), []).append(point)
    for members in groups.values():
        where, against = ([p.value for p in members if p.side == side] for side in ("where", "against"))
        if where and against:
            yield where, against, tuple(p.trial.number for p in members)


def same_data(one: Study, other: Study) -> bool:
    """Whether the trials of two studies read the same data."""
    return ORIGIN.of(one.attrs).get("data") == ORIGIN.of(other.attrs).get("data")


def active(study: Study, config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without its inactive conditional parameters."""
    absent = {p.name for p in study.file.space.searched if p.when and not _holds(p.when, config)}
    return {name: value for name, value in config.items() if name not in absent}


def _holds(text: str, config: Mapping[str, Any]) -> bool:
    try:
        return bool(expressions.evaluate(text, config))
    except (expressions.Unknown, ValueError):
        return False


def claim_names(hypothesis: Hypothesis) -> set[str]:
    """The claim's parameters: those that its expressions read."""
    return set(expressions.names(hypothesis.where)) | set(
        expressions.names(hypothesis.against) if hypothesis.against else ()
    )


def with_dependents(study: Study, about: set[str]) -> set[str]:
    """The claim's parameters, and parameters whose condition depends on them."""
    when = {p.name: p.when for p in study.file.space.searched if p.when}
    return about | {name for name, text in when.items() if expressions.names(text) & about}
