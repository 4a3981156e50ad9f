"""Which trials are best: feasible before infeasible, then by objective; and the front of several."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from tuner.definition.study_file import StudyFile
from tuner.storage.optuna_private import CONSTRAINT


def violation(trial: FrozenTrial) -> float:
    """By how much the trial misses its constraints, summed; 0 when it meets them all."""
    return sum(
        max(0.0, float(value))
        for name, value in trial.system_attrs.items()
        if name.startswith(CONSTRAINT) and isinstance(value, int | float)
    )


def ranked(trials: Sequence[FrozenTrial], study_file: StudyFile) -> list[FrozenTrial]:
    """The complete trials, best first: least violation, then the first objective, then the older one."""
    sign = -1.0 if study_file.objectives[0].goal == "maximize" else 1.0
    complete = [t for t in trials if t.state is TrialState.COMPLETE and t.values]
    return sorted(complete, key=lambda t: (violation(t), sign * t.values[0], t.number))


def best_so_far(results: Iterable[tuple[float, float]], *, maximize: bool) -> list[float]:
    """The best value after each of `(violation, value)`: among feasible ones as soon as there is one."""
    sign = -1.0 if maximize else 1.0
    ranks = ((violation, sign * value) for violation, value in results)
    return [sign * value for _, value in itertools.accumulate(ranks, min)]


def front(trials: Sequence[FrozenTrial], study_file: StudyFile) -> list[FrozenTrial]:
    """The complete trials that no other beats in every respect, the first objective's best first.

    The respects are the study's objectives and the further metrics of its `front`; with one respect the front
    is one trial. Infeasible trials are on it only where none is feasible.
    """
    best_first = ranked(trials, study_file)
    if best_first and violation(best_first[0]) == 0:
        best_first = [trial for trial in best_first if violation(trial) == 0]
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
    metrics = trial.user_attrs.get("metrics", {})
    value = trial.user_attrs.get(name, metrics.get(name, metrics.get(f"val/{name}")))
    return float(value) if isinstance(value, int | float) else None


def _as_good(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
