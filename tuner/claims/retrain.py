"""Retrains the best configurations of a study on new seeds, as a small grid study.

The best score of a study is partly luck, because it is the largest of many noisy scores. Retrained on another
seed, the same configuration is a little worse on average (the winner's curse). So the campaign confirms a
winner before the next study starts from it, and `verify` shows how much of a lead is real. A retraining is a
study: it can be resumed and runs on any number of agents.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner.definition.keys import OF_RUNS
from tuner.definition.loading import from_plain
from tuner.definition.study_file import TUNER_KEYS, StudyFile
from tuner.run.winner import config_of
from tuner.search import ranking
from tuner.storage.study import OpenStudy


@dataclass(frozen=True)
class Candidate:
    """One of the best configurations of a study. Trials that differ only in the seed count as one candidate.

    Attributes:
        number: number of its best trial; -1 for the default configuration if no trial of it completed.
        scores: objectives of its trials in the study.
        violation: mean constraint violation of these trials.
        again: objective of each retraining, by index in `seeds`. Failed retrainings are missing.
        violation_again: constraint violation of each retraining, in the same form.
    """

    number: int
    config: Mapping[str, Any]
    scores: tuple[float, ...]
    violation: float
    again: Mapping[int, float] = field(default_factory=dict)
    violation_again: Mapping[int, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Mean objective in the study; nan for a configuration that the study did not complete."""
        return statistics.fmean(self.scores) if self.scores else math.nan

    @property
    def again_mean(self) -> float:
        """Mean objective of its retrainings; without any, that of the study."""
        return statistics.fmean(self.again.values()) if self.again else self.score


def candidates(
    study: OpenStudy, study_file: StudyFile, results: Path, *, top: int | None = None
) -> list[Candidate]:
    """The `top` best configurations of a study (None: all), best first."""
    groups: dict[str, list[tuple[FrozenTrial, dict[str, Any]]]] = {}
    for trial in ranking.ranked(study.get_trials(deepcopy=False), study_file):
        config = config_of(study, trial, results)
        key = json.dumps({k: v for k, v in config.items() if k != "seed"}, sort_keys=True)
        groups.setdefault(key, []).append((trial, config))
    found = [
        Candidate(
            number=members[0][0].number,
            config=members[0][1],
            scores=tuple(trial.values[0] for trial, _ in members),
            violation=statistics.fmean(ranking.violation(trial) for trial, _ in members),
        )
        for members in groups.values()
    ]
    sign = -1.0 if study_file.metric.goal == "maximize" else 1.0
    return sorted(found, key=lambda c: (c.violation, sign * c.score, c.number))[:top]


Entry = tuple[int, int]  # a candidate by its place, and a round
RUNS = tuple(name for name, key in TUNER_KEYS.items() if OF_RUNS in key.rules)


def study_of(study_file: StudyFile, points: Sequence[Mapping[str, Any]], *, suffix: str) -> StudyFile:
    """A grid study that retrains complete configurations of a study."""
    name, purpose = f"{study_file.name}.{suffix}", f"retrains the best trials of {study_file.name}"
    return study_at(study_file, points, name=name, path=study_file.path, own={"purpose": purpose})


def study_at(
    like: StudyFile, points: Sequence[Mapping[str, Any]], *, name: str, path: Path, own: Mapping[str, Any],
    top: Mapping[str, Any] | None = None,
) -> StudyFile:  # fmt: skip
    """A grid study that runs `points` as the trials of the study `like` run.

    Args:
        own: further keys under `tuner:`; None instead of a value: without this key of `like`.
        top: further keys at the top.
    """
    names = sorted({name for point in points for name in point})
    told = like.raw.get("tuner", {})
    kept = {key: told[key] for key in RUNS if key in told} | {"score": like.metric.scored, "points": points}
    raw = {
        **{key: like.raw[key] for key in ("program", "command") if key in like.raw},
        **(top or {}),
        "method": "grid",
        "metric": {"name": like.metric.name, "goal": like.metric.goal},
        "parameters": {n: _parameter([p[n] for p in points if n in p], len(points)) for n in names},
        "tuner": {key: value for key, value in {**kept, **own}.items() if value is not None},
    }
    return replace(from_plain(raw, name=name, path=path), function=like.function)


def with_results(best: Sequence[Candidate], ended: Mapping[Entry, FrozenTrial]) -> list[Candidate]:
    """The candidates, with the results of their retrainings: the complete ones of those that have `ended`."""
    complete = {entry: trial for entry, trial in sorted(ended.items()) if trial.state is TrialState.COMPLETE}
    return [
        replace(
            candidate,
            again={k: trial.values[0] for (j, k), trial in complete.items() if j == i},
            violation_again={k: ranking.violation(t) for (j, k), t in complete.items() if j == i},
        )
        for i, candidate in enumerate(best)
    ]


def _parameter(values: Sequence[Any], points: int) -> dict[str, Any]:
    """A parameter for a sweep file: a constant if all points share one value, otherwise a choice."""
    distinct = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    if len(distinct) == 1 and len(values) == points:
        return {"value": distinct[0]}
    return {"values": distinct}
