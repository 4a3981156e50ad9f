"""The charts of one study, as numbers. Each function returns a chart, or a sentence that says why none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tuner.base.words import number
from tuner.claims.encoding import Floats, encode, word
from tuner.claims.material import Study, Trial
from tuner.claims.verdicts import Finding
from tuner.show.report import importance, over_time
from tuner.show.report.charts import Axis, Bars, Chart, Heatmap, Panel, Parallel, Series, interval_bars
from tuner.show.report.importance import by_importance
from tuner.show.report.palette import MISSES
from tuner.show.report.trial_series import (
    MIN_DISTRIBUTION,
    MOST_LINES,
    Made,
    best_so_far,
    groups_of,
    label,
    metric_shades,
    points,
    real_value,
    scatter,
    shown_value,
    study_chart,
)  # fmt: skip

BEST = "best so far"  # a series
WIDEST = 10.0  # of a claim, in units of what matters; longer bars and intervals are cut there


def charts(study: Study) -> list[Made]:
    """Every chart of a study in reading order."""
    makers: list[Callable[[Study], Made | None]] = [
        history, front, parallel, over_time.curves, importances, slices, over_time.parameter_curves, pairs,
        rank, distribution, over_time.pruning, over_time.timeline,
    ]  # fmt: skip
    if len(study.ranked) < importance.MIN_TRIALS:
        few = f"No charts of parameters: they need {importance.MIN_TRIALS} complete trials."
        makers = [history, front, over_time.curves, lambda _: few, over_time.pruning, over_time.timeline]
    return [made for maker in makers if (made := maker(study)) is not None]


def main_charts(study: Study) -> list[Made]:
    """The charts that a terminal shows in lines."""
    found = (history(study), importances(study), over_time.pruning(study))
    return [made for made in found if made is not None]


def history(study: Study) -> Made:
    """The objective by trial number, and the best so far."""
    shown = [t for t in study.trials if t.value is not None]
    if not shown:
        return "No history: no trial has reported a value yet."
    complete = [t for t in shown if t.complete]
    best = zip(complete, best_so_far(study, complete), strict=True)
    known = [(trial.number, value) for trial, value in best if not math.isnan(value)]
    line = Series(BEST, [n for n, _ in known], [v for _, v in known], "step") if complete else None
    series = scatter(study, shown, {t.number: (t.number, t.value) for t in shown}, line=line)
    caption = (
        "The objective of each trial; for pruned trials the last reported value. The line is the best "
        "complete trial so far that meets the constraints, or of all as long as none does."
    )
    panel = Panel(series, "trial", study.metric)
    return study_chart(study, "history", "Optimisation history", caption, [panel])


def distribution(study: Study) -> Made | None:
    """The share of complete trials that are at most as good as a value (empirical distribution function)."""
    trials = sorted(study.ranked, key=lambda t: t.value or 0.0)
    if len(trials) < MIN_DISTRIBUTION:
        return None
    share = {t.number: (t.value, (i + 1) / len(trials)) for i, t in enumerate(trials)}
    values, shares = zip(*share.values(), strict=True)
    caption = (
        "Share of the complete trials with this objective or a smaller one. A steep part: many trials are "
        "similar. A long tail on the good side: few configurations are good."
    )
    series = [Series("complete", values, shares, "step"), *scatter(study, trials, share)]
    panel = Panel(series, study.metric, "share of trials")
    return study_chart(study, "edf", "Distribution of scores", caption, [panel], half=True)


def rank(study: Study) -> Made | None:
    """The complete trials over pairs of the most important parameters, coloured by rank."""
    trials = study.ranked
    coded = encode(study, trials)
    names = by_importance(study, coded)
    others = [n for n in names[1:] if n not in coded.words][:2]  # only the horizontal axis can have words
    if len(trials) < 2 or not others:
        return None
    worst_first = sorted(trials, key=lambda t: (t.value or 0.0) * (1 if study.maximize else -1))
    shade = {t.number: place / (len(trials) - 1) for place, t in enumerate(worst_first)}
    first = names[0]
    panels = []
    for other in others:
        ys = (real_value(v, other, coded) for v in coded.x[:, coded.names.index(other)])
        places = {t.number: (shown_value(t, first, coded), y) for t, y in zip(trials, ys, strict=True)}
        series = scatter(study, trials, places, shade=shade)
        panels.append(
            Panel(series, first, other, logx=first in coded.log, logy=other in coded.log,
                  words=coded.words.get(first, ()))
        )  # fmt: skip
    caption = "Complete trials by two parameters. The stronger the colour, the better the rank of the trial."
    return study_chart(study, "rank", "Ranks", caption, panels)


def front(study: Study) -> Made | None:
    """The objective against the `front` metrics; None if the study has none."""
    if not study.file.front and len(study.file.objectives) < 2:
        return None
    names = [m.name for m in (*study.file.objectives[1:], *study.file.front)]
    if len(study.ranked) < 2:
        return "No Pareto front: it needs two complete trials."
    best = {t.number for t in study.front}
    panels = []
    for name in names:
        places = {t.number: (x, t.value) for t in study.ranked if (x := _respect(t, name)) is not None}
        on = [t for t in study.ranked if t.number in places and t.number in best]
        off = [t for t in study.ranked if t.number in places and t.number not in best]
        groups = {
            "dominated": [t for t in off if t.violation <= 0],
            MISSES: [t for t in off if t.violation > 0],
            "on the front": sorted(on, key=lambda t: places[t.number][0]),
        }
        series = [points(kind, some, places) for kind, some in groups.items() if some]
        if series:
            panels.append(Panel(series, name, study.metric, logx=min(x for x, _ in places.values()) > 0))
    if not panels:
        return "No Pareto front: no trial has measured its metrics."
    caption = (
        f"{len(best)} of {len(study.ranked)} complete trials are on the front: no other trial is better in "
        f"{study.metric} and {' and '.join(names)} together."
    )
    return study_chart(study, "front", "Pareto front", caption, panels)


def _respect(trial: Trial, name: str) -> float | None:
    if name == "parameters":
        return trial.size
    return trial.latency if name == "ms_per_window" else trial.metric(name)


def parallel(study: Study) -> Made:
    """Every finished trial as a line through its parameters."""
    trials = [t for t in study.finished if t.value is not None]
    coded = encode(study, trials)
    if len(trials) < 2 or not coded.names:
        return "No parallel coordinates: they need two finished trials that differ."
    names = by_importance(study, coded)
    shade, low, high = metric_shades(study, trials)
    keep = sorted(sorted(range(len(trials)), key=lambda i: -shade[i])[:MOST_LINES], key=lambda i: shade[i])
    columns = [*(coded.x[:, coded.names.index(n)] for n in names), np.array([t.value for t in trials])]
    axes, heights = [], []
    for name, column in zip([*names, study.metric], columns, strict=True):
        low_, high_ = float(column.min()), float(column.max())
        log = name in coded.log
        ends = (10**low_, 10**high_) if log else (low_, high_)
        axes.append(Axis(name, *ends, log, words=coded.words.get(name, ())))
        share = (column - low_) / ((high_ - low_) or 1.0)
        heights.append(
            [None if name in names and name not in trials[i].params else float(share[i]) for i in keep]
        )
    cells = [[*(word(trials[i].params.get(n)) for n in names), f"{trials[i].value:.6g}"] for i in keep]
    plot = Parallel(
        axes,
        list(zip(*heights, strict=True)),
        cells,
        [shade[i] for i in keep],
        [label(trials[i]) for i in keep],
        [trials[i].number for i in keep],
        (f"{number(low)} or worse", number(high)),
    )
    first = (
        "the most important parameter is first"
        if not importance.importances(study).reason
        else "parameters are in the file's order"
    )
    caption = (
        f"One line per trial; {first}. The colour is {study.metric}: faint at {number(low)} or worse, strong "
        f"at {number(high)}. Gaps mean unused parameters. Drag along an axis of the page to choose trials: "
        "the other charts and the table follow."
    )
    return study_chart(study, "parallel", "Parallel coordinates", caption, [plot])


def importances(study: Study) -> Made:
    """One measure of importance, and a sentence about the other."""
    found = importance.importances(study)
    if found.reason:
        return f"No importances: {found.reason}."
    names, (measure, shares) = found.names, found.first
    other = found.compared or (f"{found.left_out}." if found.left_out else "")
    caption = (
        f"{measure}: {importance.MEANING[measure]}, from {len(study.ranked)} complete trials. {other} "
        "Parameters that some trials lack are left out."
    )
    bars = Bars(names, {measure: [shares.get(n, 0.0) for n in names]}, f"share ({measure})")
    return study_chart(study, "importances", "Parameter importances", caption, [bars])


def slices(study: Study) -> Made:
    """The objective against each of the most important parameters."""
    trials = [t for t in study.finished if t.value is not None]
    coded = encode(study, trials)
    if len(trials) < 2 or not coded.names:
        return "No slices: they need two finished trials that differ."
    panels = []
    for name in by_importance(study, coded)[: importance.TOP]:
        here = {t.number: (shown_value(t, name, coded), t.value) for t in trials if name in t.params}
        series = scatter(study, [t for t in trials if t.number in here], here)
        words = coded.words.get(name, ())
        panels.append(Panel(series, name, study.metric, logx=name in coded.log, words=words))
    caption = "The objective against one parameter. Other parameters differ too, so they may cause a trend."
    return study_chart(study, "slices", "Slices", caption, panels)


def pairs(study: Study) -> Made:
    """The objective over the most important pairs of parameters."""
    found = importance.importances(study)
    if found.reason:
        return f"No surfaces: {found.reason}."
    if not importance.has_forest():
        return f"No surfaces: a surface {importance.NO_FOREST}."
    names = [n for n in found.names if n in encode(study, study.ranked).names][:3]
    if len(names) < 2:
        return "No surfaces: they need two parameters that vary."
    caption = (
        "The objective over two parameters, averaged over the others, as estimated by a random forest. It is "
        "fitted to the complete trials (points), so it is unreliable far from points."
    )
    plots = [_surface(study, (names[0], other)) for other in names[1:]]
    return study_chart(study, "pairs", "Top pairs", caption, plots)


def _surface(study: Study, pair: tuple[str, str]) -> Heatmap:
    coded, xs, ys, z = importance.surface(study, pair)

    def real(name: str, codes: Floats) -> list[float]:
        return list((10**codes if name in coded.log else codes).tolist())

    (x, y), trials = pair, study.ranked
    at_x, at_y = (real(name, coded.x[:, coded.names.index(name)]) for name in pair)
    points = Series("trials", at_x, at_y, "points", [label(t) for t in trials], [t.number for t in trials])
    return Heatmap(
        real(x, xs), real(y, ys), z.tolist(), points, x, y, study.metric,
        logx=x in coded.log, logy=y in coded.log, x_words=coded.words.get(x, ()),
        y_words=coded.words.get(y, ()), minimize=not study.maximize,
    )  # fmt: skip


def sensitivity(study: Study) -> list[list[str]]:
    """Rows of a sensitivity table: for each parameter, the median of complete trials by its value."""
    values = np.array([t.value for t in study.ranked], dtype=float)
    coded = encode(study, study.ranked)
    found = importance.importances(study)
    return [
        [
            name,
            "   ".join(
                f"{label}: {np.median(values[mask]):.4f} ({mask.sum()})"
                for label, mask in groups_of(name, coded)
            ),
            f"{found.ped_anova.get(name, 0):.2f}",
            f"{found.fanova.get(name, 0):.2f}" if found.fanova else "–",
        ]
        for name in sorted(coded.names, key=lambda n: -found.ped_anova.get(n, 0.0))
    ]


def claims(found: Sequence[Finding]) -> Chart | None:
    """The effect of every claim with its interval, in units of the difference that matters.

    So effects on different metrics fit into one figure: between -1 and +1 a difference does not matter. None
    if no claim has both an effect and such a difference.
    """
    shown = [f for f in found if f.effect is not None and f.matters > 0]
    if not shown:
        return None

    def cut(f: Finding) -> tuple[float, ...]:
        scaled = ((value or 0.0) / f.matters for value in (f.effect, f.low, f.high))
        return tuple(math.copysign(WIDEST, v) if abs(v) > WIDEST else v for v in scaled)

    labels = [f"{f.study}: {f.claim} ({f.words})" for f in shown]
    caption = (
        "Each claim's effect with its 95 % interval, divided by the difference that matters for it. Between "
        f"-1 and +1 a difference does not matter. Bars and intervals are cut at ±{WIDEST:g}."
    )
    bars = interval_bars(labels, list(map(cut, shown)), "effect / difference that matters")
    return Chart("claims", "All claims", caption, [bars])
