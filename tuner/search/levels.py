"""Values of a grid's parameter that cannot win any more: their other points are pruned before they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner.definition.study_file import StudyFile
from tuner.search import ranking
from tuner.stats import two_way
from tuner.stats.noise import Noise
from tuner.stats.runs import next_pair

LEAST = 3  # equal points; the spread of two is a lottery …
FEW, FREEDOM = 2, 3  # … unless all values of the parameter measure it, with so many degrees of freedom
Others = tuple[tuple[str, str], ...]  # the values of all other parameters of a point


def cannot_win(trials: Sequence[FrozenTrial], params: Mapping[str, Any], study_file: StudyFile) -> str | None:
    """Why a point with these `params` cannot win, by `stop: {levels: {NAME: 0.99}}`; None: it may.

    Two values of the parameter are compared at the points that both have finished and that are equal
    otherwise (same seed, for example). The value cannot win where the prediction interval for the gap at one
    more point is above 0: the gap is larger than what varies between points. That is measured with all values
    of the parameter (value + point + noise), and with the two alone: the larger counts.
    """
    for name, confidence in study_file.stop.levels.items():
        if name not in params:
            continue
        finished = _finished(trials, name, study_file)
        noise = _noise(finished)
        least = FEW if noise.freedom >= FREEDOM else LEAST
        own = finished.pop(repr(params[name]), {})
        gaps = {
            level: [value - own[others][0] for others, (value, misses) in points.items()
                    if others in own and misses <= own[others][1]]
            for level, points in finished.items()
        }  # fmt: skip
        behind = [
            (next_pair(values, noise, level=confidence), level)
            for level, values in gaps.items()
            if len(values) >= least
        ]
        if behind:
            gap, level = max(behind, key=lambda found: found[0].low)
            if gap.low > 0:
                return (
                    f"not run: {name} {params[name]!r} is worse than {level} by {gap.difference:.3g} at "
                    f"{gap.pairs} equal points, and by {gap.low:.3g} or more at the next one "
                    f"({confidence:.0%} sure)"
                )
    return None


def _finished(
    trials: Sequence[FrozenTrial], name: str, study_file: StudyFile
) -> dict[str, dict[Others, tuple[float, float]]]:
    """Level → the other parameters → value (larger is better) and violation of the complete trials."""
    sign = 1.0 if study_file.metric.goal == "maximize" else -1.0
    found: dict[str, dict[Others, tuple[float, float]]] = {}
    for trial in trials:
        if trial.state is not TrialState.COMPLETE or not trial.values or name not in trial.params:
            continue
        others = tuple(sorted((key, repr(value)) for key, value in trial.params.items() if key != name))
        points = found.setdefault(repr(trial.params[name]), {})
        points[others] = (sign * trial.values[0], ranking.violation(trial))
    return found


def _noise(finished: Mapping[str, Mapping[Others, tuple[float, float]]]) -> Noise:
    """The noise of a value around its level and point."""
    met = {others for points in finished.values() for others in points}
    order = {others: place for place, others in enumerate(sorted(met))}
    values = [
        (level, order[others], value)
        for level, points in enumerate(finished.values())
        for others, (value, _) in points.items()
    ]
    fit = two_way.fit(values, len(finished))
    return Noise(fit.noise, fit.freedom)
