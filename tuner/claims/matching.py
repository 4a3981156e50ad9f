"""Matched pairs: trials that differ only in the claim's parameters. From a study, or run for the claim."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuner.claims.material import Study, Trial
from tuner.definition import expressions
from tuner.definition.constraints import Hypothesis
from tuner.storage.study import ORIGIN


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
    free = with_dependents(study, claim_names(hypothesis))
    groups: dict[str, list[Point]] = {}
    for point in points:
        rest = {n: v for n, v in point.trial.params.items() if n not in free}
        groups.setdefault(json.dumps(rest, sort_keys=True, default=str), []).append(point)
    found = []
    for members in groups.values():
        where = [p.value for p in members if p.side == "where"]
        against = [p.value for p in members if p.side == "against"]
        if where and against:
            gap = statistics.fmean(where) - statistics.fmean(against)
            found.append((gap, tuple(p.trial.number for p in members)))
    return found


def pairs_run(study: Study, hypothesis: Hypothesis, metric: str, paired: Study) -> list[float]:
    """Groups the trials of `paired` that differ only in the claim's parameters.

    Returns `where - against` of each group.

    Returns nothing if the two studies ran on different data.
    """
    if (study.attrs.get(ORIGIN) or {}).get("data") != (paired.attrs.get(ORIGIN) or {}).get("data"):
        return []
    free = with_dependents(study, claim_names(hypothesis))
    groups: dict[str, dict[str, list[float]]] = {}
    for trial in paired.trials:
        value = trial.metric(metric)
        side = hypothesis.side(active(study, trial.config))
        if not trial.complete or side is None or value is None or not math.isfinite(value):
            continue
        rest = {n: v for n, v in trial.config.items() if n not in free}
        sides = groups.setdefault(json.dumps(rest, sort_keys=True), {"where": [], "against": []})
        sides[side].append(value)
    return [gap for sides in groups.values() if all(sides.values()) for gap in _gaps(**sides)]


def _gaps(where: Sequence[float], against: Sequence[float]) -> list[float]:
    """The differences within a group: run by run if both sides have equally many, otherwise of the means."""
    if len(where) == len(against):
        return [a - b for a, b in zip(where, against, strict=True)]
    return [statistics.fmean(where) - statistics.fmean(against)]


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
