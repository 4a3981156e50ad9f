"""What the charts of a study share: trials as series, the order of parameters, groups of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.base.words import slug
from tuner.claims.encoding import Encoded, word
from tuner.claims.material import Study, Trial
from tuner.search import ranking
from tuner.show.report import palette
from tuner.show.report.charts import Chart, Mode, Series
from tuner.show.report.importance import importances

TOP_SLICES = 4
MOST_LINES = 120  # number of curves and parallel lines to draw; the best are always drawn
MIN_DISTRIBUTION = 4  # complete trials that a distribution, or a median by parameter, needs
MOST_GROUPS = 5  # curves in a chart by parameter
Made = Chart | str


def importances_known(study: Study) -> bool:
    """Whether parameters can be sorted by importance."""
    return not importances(study).reason


def by_importance(study: Study, coded: Encoded) -> list[str]:
    """The parameters that vary, the most important first if that is known."""
    order = [n for n in importances(study).names if n in coded.names]
    return order + [n for n in coded.names if n not in order]


def groups_of(name: str, coded: Encoded) -> list[tuple[str, NDArray[np.bool_]]]:
    """Trials in groups of a parameter: one for each word or few numbers, else a lower and an upper half."""
    column = coded.x[:, coded.names.index(name)]
    kinds = np.unique(column)
    if len(kinds) <= MOST_GROUPS:
        named = coded.words.get(name)
        return [(named[int(k)] if named else f"{real_value(k, name, coded):.4g}", column == k) for k in kinds]
    if name in coded.words:
        often = sorted(kinds, key=lambda k: -np.sum(column == k))[:MOST_GROUPS]
        return [(coded.words[name][int(k)], column == k) for k in often]
    middle = float(np.median(column))
    shown = f"{real_value(middle, name, coded):.3g}"
    found = [(f"≤ {shown}", column <= middle), (f"> {shown}", column > middle)]
    return [(label, mask) for label, mask in found if mask.any()]


def real_value(code: float, name: str, coded: Encoded) -> float:
    """The value behind the code of a number."""
    return float(10**code) if name in coded.log else float(code)


def shown_value(trial: Trial, name: str, coded: Encoded) -> Any:
    """A trial's value of a parameter as an axis shows it."""
    value = trial.params.get(name)
    return word(value) if name in coded.words else value


def points_of(name: str, trials: Sequence[Trial], xs: Sequence[Any], ys: Sequence[float | None]) -> Series:
    """Trials as points, linked with the table."""
    mode: Mode = "faint" if name in palette.GREY else "points"
    return Series(name, xs, ys, mode, [label(t) for t in trials], [t.number for t in trials])


def winner_at(study: Study, places: Mapping[int, tuple[Any, float | None]]) -> list[Series]:
    """The winner as a series of its own, which is drawn as a star. `places`: trial → its point."""
    winner = study.winner
    if winner is None or winner.number not in places:
        return []
    x, y = places[winner.number]
    return [points_of("winner", [winner], [x], [y])]


def best_so_far(study: Study, trials: Sequence[Trial]) -> list[float]:
    """The best value after each of these trials."""
    results = ((trial.violation, trial.value or 0.0) for trial in trials)
    return ranking.best_so_far(results, maximize=study.maximize)


def by_state(trials: Sequence[Trial]) -> list[tuple[str, list[Trial]]]:
    """Trials in groups with a symbol each; complete ones that miss a constraint are a group."""
    names = ("running", "paused", "pruned", palette.MISSES, "complete")
    return [(name, some) for name in names if (some := [t for t in trials if kind(t) == name])]


def kind(trial: Trial) -> str:
    """The state of a trial; of a complete one, whether it misses a constraint."""
    return palette.MISSES if trial.complete and trial.violation > 0 else trial.state


def shades(study: Study, trials: Sequence[Trial]) -> list[float]:
    """Rank of each trial from 0 (worst) to 1 (best). Pruned trials rank below complete ones."""
    sign = 1.0 if study.maximize else -1.0
    order = sorted(range(len(trials)), key=lambda i: (trials[i].complete, sign * (trials[i].value or 0.0)))
    ranks = [0.0] * len(trials)
    for place, i in enumerate(order):
        ranks[i] = place / max(1, len(trials) - 1)
    return ranks


def metric_shades(study: Study, trials: Sequence[Trial]) -> tuple[list[float], float, float]:
    """Each trial's metric as 0 (the lower quartile, and all that is worse) to 1 (the best), and both ends."""
    sign = 1.0 if study.maximize else -1.0
    values = np.array([sign * (t.value or 0.0) for t in trials])
    low, best = float(np.quantile(values, 0.25)), float(values.max())
    shade = np.clip((values - low) / (best - low), 0, 1) if best > low else np.ones(len(values))
    return shade.tolist(), sign * low, sign * best


def label(trial: Trial) -> str:
    """A trial in a few words."""
    value = "" if trial.value is None else f": {trial.value:.4f}"
    missed = f", misses a constraint by {trial.violation:.3g}" if trial.violation > 0 else ""
    return f"trial {trial.number} ({trial.state}{missed}){value}"


def chart_name(study: Study, kind: str) -> str:
    """The name of a chart's CSV file."""
    return f"{slug(study.name)}_{kind}"
