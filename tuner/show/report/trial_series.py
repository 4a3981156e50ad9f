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
from tuner.show.report.charts import Chart, Plot, Series

MOST_LINES = 120  # number of curves and parallel lines to draw; the best are always drawn
MIN_DISTRIBUTION = 4  # complete trials that a distribution, or a median by parameter, needs
MOST_GROUPS = 5  # curves in a chart by parameter
STATES = ("running", "paused", "pruned", palette.MISSES, "complete")  # series of trials, in their order
Places = Mapping[int, tuple[Any, float | None]]  # number of a trial → its point
Made = Chart | str


def study_chart(
    study: Study, kind: str, title: str, caption: str, plots: Sequence[Plot], *, half: bool = False
) -> Chart:
    """A chart of a study; `kind` names its CSV file."""
    return Chart(f"{slug(study.name)}_{kind}", title, caption, plots, half)


def scatter(
    study: Study,
    trials: Sequence[Trial],
    places: Places,
    *,
    line: Series | None = None,
    shade: Mapping[int, float] | None = None,
) -> list[Series]:
    """Trials as points, a series for each state; then `line`, then the winner as a star."""
    groups = [(name, [t for t in trials if kind(t) == name]) for name in STATES]
    series = [points(name, some, places, shade) for name, some in groups if some]
    series += [] if line is None else [line]
    if study.winner is not None and study.winner.number in places:
        series.append(points("winner", [study.winner], places))
    return series


def points(
    name: str, trials: Sequence[Trial], places: Places, shade: Mapping[int, float] | None = None
) -> Series:
    """Trials as points, linked with the table."""
    xs, ys = zip(*(places[t.number] for t in trials), strict=True)
    mode = "faint" if name in palette.GREY else "points"
    shades = [shade[t.number] for t in trials] if shade else ()
    return Series(name, xs, ys, mode, [label(t) for t in trials], [t.number for t in trials], shades)  # type: ignore[arg-type]


def groups_of(name: str, coded: Encoded) -> list[tuple[str, NDArray[np.bool_]]]:
    """Trials in groups of a parameter: one for each word or few numbers, else a lower and an upper half."""
    column = coded.x[:, coded.names.index(name)]
    kinds = np.unique(column)
    if name in coded.words:
        if len(kinds) > MOST_GROUPS:
            kinds = np.array(sorted(kinds, key=lambda k: -np.sum(column == k))[:MOST_GROUPS])
        return [(coded.words[name][int(k)], column == k) for k in kinds]
    if len(kinds) <= MOST_GROUPS:
        return [(f"{real_value(k, name, coded):.4g}", column == k) for k in kinds]
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


def best_so_far(study: Study, trials: Sequence[Trial]) -> list[float]:
    """The best value after each of these trials."""
    results = ((trial.violation, trial.value or 0.0) for trial in trials)
    return ranking.best_so_far(results, maximize=study.maximize)


def kind(trial: Trial) -> str:
    """The state of a trial; of a complete one, whether it misses a constraint."""
    return palette.MISSES if trial.complete and trial.violation > 0 else trial.state


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
