"""Which trials are best: feasible before infeasible, then by objective; and the front of several."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner.definition.study_file import StudyFile
from tuner.stats.comparison import LEAST_PAIRS
from tuner.storage.attributes import CONFIRMED, METRICS, REPEATS, VERIFIED
from tuner.storage.optuna_private import CONSTRAINT


def violation(trial: FrozenTrial) -> float:
    """By how much the trial misses its constraints, summed; 0 when it meets them all."""
    return sum(
        max(0.0, float(value))
        for name, value in trial.system_attrs.items()
        if name.startswith(CONSTRAINT) and isinstance(value, int | float)
    )


def ranked(trials: Sequence[FrozenTrial], study_file: StudyFile) -> list[FrozenTrial]:
    """The complete trials, best first: least violation, then the first objective, then the older one.

    None where no metric says which is better.
    """
    if not study_file.metric.declared:
        return []
    sign = -1.0 if study_file.objectives[0].goal == "maximize" else 1.0
    complete = [t for t in trials if t.state is TrialState.COMPLETE and t.values]
    return sorted(complete, key=lambda t: (violation(t), sign * t.values[0], t.number))


def best_so_far(results: Iterable[tuple[float, float]], *, maximize: bool) -> list[float]:
    """The best feasible value after each of `(violation, value)`; NaN before there is one.

    Where none of them is feasible: the best value. So it never gets worse.
    """
    found, sign = list(results), -1.0 if maximize else 1.0
    none = all(violation > 0 for violation, _ in found)
    costs = (sign * value if none or violation <= 0 else math.inf for violation, value in found)
    return [sign * cost if math.isfinite(cost) else math.nan for cost in itertools.accumulate(costs, min)]


def feasible(best_first: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those of the `ranked` trials that meet their constraints."""
    return [trial for trial in best_first if violation(trial) <= 0]


def winner(
    best_first: Sequence[FrozenTrial], attrs: Mapping[str, Any], study_file: StudyFile
) -> FrozenTrial | None:
    """The trial that a study hands on; None if no trial is feasible, or none is ranked.

    That is the one that a race confirmed, else the best mean of retrainings (`verify`) if the best trial was
    among the retrained, else the best feasible trial.

    Args:
        best_first: the `ranked` trials. attrs: the study's user attributes.
    """
    confirmed = CONFIRMED.of(attrs).get("number")
    able = feasible(best_first)
    known = next((t for t in best_first if t.number == confirmed), None)
    if known is not None or not able:
        return known
    verified = ((number, runs.values()) for _, number, runs in retrainings(attrs, VERIFIED))
    means = {number: statistics.fmean(runs) for number, runs in verified if len(runs) >= LEAST_PAIRS}
    retrained = [trial for trial in able if trial.number in means]
    if able[0] not in retrained:
        return able[0]
    sign = -1.0 if study_file.metric.goal == "maximize" else 1.0
    return min(retrained, key=lambda t: sign * means[t.number])


def retrainings(attrs: Mapping[str, Any], *kinds: str) -> Iterator[tuple[str, int, dict[int, float]]]:
    """The retrained configurations: the kind of record, the number of the trial, and the objectives by round.

    Args:
        attrs: the study's user attributes.
        kinds: CONFIRMED (races), VERIFIED (`verify`), or both; rounds of one kind share a seed and a split.
    """
    for kind in kinds:
        for candidate in (attrs.get(kind) or {}).get("candidates", ()):
            again = candidate["again"]
            rounds = candidate.get("rounds") or range(len(again))  # older versions stored none
            yield kind, int(candidate["number"]), dict(zip(map(int, rounds), again, strict=True))


def retrained(attrs: Mapping[str, Any], number: int) -> list[float]:
    """The objective of every retraining of a trial's configuration."""
    found = retrainings(attrs, CONFIRMED, VERIFIED)
    return [score for _, of, runs in found if of == number for score in runs.values()]


def runs_of(trial: FrozenTrial, metric: str) -> dict[str, float]:
    """The runs of a trial of several runs, by seed and fold."""
    runs = REPEATS.of(trial)
    return {run["name"]: run["metrics"][metric] for run in runs if metric in run["metrics"]}


def front(trials: Sequence[FrozenTrial], study_file: StudyFile) -> list[FrozenTrial]:
    """The complete trials that no other beats in every respect, the first objective's best first.

    The respects are the study's objectives and the further metrics of its `front`; with one respect the front
    is one trial. Infeasible trials are on it only where none is feasible.
    """
    best_first = ranked(trials, study_file)
    best_first = feasible(best_first) or best_first
    kept: list[tuple[float, ...]] = []
    members = []
    for trial in best_first:
        mine = costs(trial, study_file)
        if mine is not None and not any(_as_good(other, mine) for other in kept):
            kept.append(mine)
            members.append(trial)
    return members


def costs(trial: FrozenTrial, study_file: StudyFile) -> tuple[float, ...] | None:
    """The trial in every respect of the front, less is better; None where one was not measured."""
    found = [
        -v if m.goal == "maximize" else v for m, v in zip(study_file.objectives, trial.values, strict=True)
    ]
    for metric in study_file.front:
        value = measured(trial, metric.name)
        if value is None:
            return None
        found.append(-value if metric.goal == "maximize" else value)
    return tuple(found)


def measured(trial: FrozenTrial, name: str) -> float | None:
    """A metric or a measured attribute (`parameters`, `ms_per_window`) of the trial."""
    metrics = METRICS.of(trial)
    value = trial.user_attrs.get(name, metrics.get(name, metrics.get(f"val/{name}")))
    return float(value) if isinstance(value, int | float) else None


def _as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
