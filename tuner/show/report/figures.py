"""The charts of one study, as numbers. Each function returns a chart, or a sentence that says why none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tuner.base.words import number
from tuner.claims.encoding import Encoded, Floats, encode, word
from tuner.claims.material import Study, Trial
from tuner.show.report import importance, over_time
from tuner.show.report.charts import Axis, Bars, Chart, Panel, Parallel, Series, Surface
from tuner.show.report.palette import MISSES
from tuner.show.report.trial_series import (
    MIN_DISTRIBUTION,
    MOST_LINES,
    TOP_SLICES,
    Made,
    best_so_far,
    by_importance,
    by_state,
    chart_name,
    groups_of,
    importances_known,
    label,
    metric_shades,
    points_of,
    real_value,
    shades,
    shown_value,
    winner_at,
)  # fmt: skip


def charts(study: Study) -> list[Made]:
    """Every chart of a study in reading order."""
    complete = sum(t.value is not None for t in study.ranked)
    makers: list[Callable[[Study], Made | None]] = [
        history, front, parallel, over_time.curves, importances, slices, over_time.parameter_curves, pairs,
        rank, distribution, over_time.pruning, over_time.timeline,
    ]  # fmt: skip
    if complete < importance.MIN_TRIALS:
        makers = [history, front, over_time.curves, _few, over_time.pruning, over_time.timeline]
    found = [maker(study) for maker in makers]
    return [made for made in found if made is not None]


def _few(study: Study) -> str:
    return f"No charts of parameters: they need {importance.MIN_TRIALS} complete trials."


def history(study: Study) -> Made:
    """The objective by trial number, and the best so far."""
    shown = [t for t in study.trials if t.value is not None]
    if not shown:
        return "No history: no trial has reported a value yet."
    series = [
        points_of(name, some, [t.number for t in some], [t.value for t in some])
        for name, some in by_state(shown)
    ]
    complete = [t for t in shown if t.complete]
    if complete:
        best = zip(complete, best_so_far(study, complete), strict=True)
        known = [(trial.number, value) for trial, value in best if not math.isnan(value)]
        series.append(Series("best so far", [n for n, _ in known], [v for _, v in known], "step"))
    caption = (
        "The objective of each trial; for pruned trials the last reported value. The line is the best "
        "complete trial so far that meets the constraints, or of all as long as none does."
    )
    return Chart(chart_name(study, "history"), "Optimisation history", caption,
                 [Panel([*series, *winner_at(study, {t.number: (t.number, t.value) for t in shown})], "trial",
                        study.metric)])  # fmt: skip


def distribution(study: Study) -> Made | None:
    """The share of complete trials that are at most as good as a value (empirical distribution function)."""
    trials = sorted((t for t in study.ranked if t.value is not None), key=lambda t: t.value or 0.0)
    if len(trials) < MIN_DISTRIBUTION:
        return None
    share = {t.number: (i + 1) / len(trials) for i, t in enumerate(trials)}
    series = [
        Series("complete", [t.value for t in trials], list(share.values()), "step"),
        *(
            points_of(name, some, [t.value for t in some], [share[t.number] for t in some])
            for name, some in by_state(trials)
        ),
        *winner_at(study, {t.number: (t.value, share[t.number]) for t in trials}),
    ]
    caption = (
        "Share of the complete trials with this objective or a smaller one. A steep part: many trials are "
        "similar. A long tail on the good side: few configurations are good."
    )
    return Chart(chart_name(study, "edf"), "Distribution of scores", caption,
                 [Panel(series, study.metric, "share of trials")], half=True)  # fmt: skip


def rank(study: Study) -> Made | None:
    """The complete trials over pairs of the most important parameters, coloured by rank."""
    trials = [t for t in study.ranked if t.value is not None]
    coded = encode(study, trials)
    names = by_importance(study, coded)
    others = [n for n in names[1:] if n not in coded.words][:2]  # only the horizontal axis can have words
    if len(trials) < 2 or not others:
        return None
    shade = dict(zip((t.number for t in trials), shades(study, trials), strict=True))
    first = names[0]
    xs = [shown_value(t, first, coded) for t in trials]
    panels = []
    for other in others:
        ys = [real_value(v, other, coded) for v in coded.x[:, coded.names.index(other)]]
        places = dict(zip((t.number for t in trials), zip(xs, ys, strict=True), strict=True))
        series = [
            replace(
                points_of(name, some, *zip(*(places[t.number] for t in some), strict=True)),
                shade=[shade[t.number] for t in some],
            )
            for name, some in by_state(trials)
        ]
        panels.append(
            Panel([*series, *winner_at(study, places)], first, other, logx=first in coded.log,
                  logy=other in coded.log, words=coded.words.get(first, ()))
        )  # fmt: skip
    caption = "Complete trials by two parameters. The stronger the colour, the better the rank of the trial."
    return Chart(chart_name(study, "rank"), "Ranks", caption, panels)


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
        pairs = [(x, t) for t in study.ranked if (x := _respect(t, name)) is not None]
        if not pairs:
            continue
        on = sorted((p for p in pairs if p[1].number in best), key=lambda p: p[0])
        off = [p for p in pairs if p[1].number not in best]
        missing = [p for p in off if p[1].violation > 0]
        off = [p for p in off if p[1].violation <= 0]
        panels.append(
            Panel(
                [
                    points_of(kind, [t for _, t in some], [x for x, _ in some], [t.value for _, t in some])
                    for kind, some in (("dominated", off), (MISSES, missing), ("on the front", on))
                    if some
                ],
                name, study.metric, logx=min(x for x, _ in pairs) > 0,
            )
        )  # fmt: skip
    if not panels:
        return "No Pareto front: no trial has measured its metrics."
    caption = (
        f"{len(best)} of {len(study.ranked)} complete trials are on the front: no other trial is better in "
        f"{study.metric} and {' and '.join(names)} together."
    )
    return Chart(chart_name(study, "front"), "Pareto front", caption, panels)


def parallel(study: Study) -> Made:
    """Every finished trial as a line through its parameters."""
    trials = [t for t in study.finished if t.value is not None]
    coded = encode(study, trials)
    if len(trials) < 2 or not coded.names:
        return "No parallel coordinates: they need two finished trials that differ."
    names = by_importance(study, coded)
    shade, low, high = metric_shades(study, trials)
    keep = sorted(sorted(range(len(trials)), key=lambda i: -shade[i])[:MOST_LINES], key=lambda i: shade[i])
    columns = [coded.x[:, coded.names.index(n)] for n in names]
    columns.append(np.array([t.value for t in trials], dtype=float))
    axes = [_axis(n, column, coded) for n, column in zip([*names, study.metric], columns, strict=True)]
    span = [(c.min(), (c.max() - c.min()) or 1.0) for c in columns]
    heights = [
        [
            None if j < len(names) and names[j] not in trials[i].params
            else float((columns[j][i] - span[j][0]) / span[j][1])
            for j in range(len(columns))
        ]
        for i in keep
    ]  # fmt: skip
    cells = [[*(word(trials[i].params.get(n)) for n in names), f"{trials[i].value:.6g}"] for i in keep]
    plot = Parallel(axes, heights, cells, [shade[i] for i in keep], [label(trials[i]) for i in keep],
                    [trials[i].number for i in keep], (f"{number(low)} or worse", number(high)))  # fmt: skip
    first = (
        "the most important parameter is first"
        if importances_known(study)
        else "parameters are in the file's order"
    )
    caption = (
        f"One line per trial; {first}. The colour is {study.metric}: faint at {number(low)} or worse, strong "
        f"at {number(high)}. Gaps mean unused parameters. Drag along an axis of the page to choose trials: "
        "the other charts and the table follow."
    )
    return Chart(chart_name(study, "parallel"), "Parallel coordinates", caption, [plot])


def _axis(name: str, column: Floats, coded: Encoded) -> Axis:
    low, high = float(column.min()), float(column.max())
    if name in coded.words:
        return Axis(name, low, high, words=coded.words[name])
    log = name in coded.log
    return Axis(name, 10**low if log else low, 10**high if log else high, log)


def importances(study: Study) -> Made:
    """One measure of importance, and a sentence about the other."""
    found = importance.importances(study)
    if found.reason:
        return f"No importances: {found.reason}."
    names, (measure, shares) = found.names, found.first
    caption = (
        f"{measure}: {importance.MEANING[measure]}, from {len(study.ranked)} complete trials. "
        f"{found.compared or _sentence(found.left_out)} Parameters that some trials lack are left out."
    )
    bars = Bars(names, {measure: [shares.get(n, 0.0) for n in names]}, f"share ({measure})")
    return Chart(chart_name(study, "importances"), "Parameter importances", caption, [bars])


def slices(study: Study) -> Made:
    """The objective against each of the most important parameters."""
    trials = [t for t in study.finished if t.value is not None]
    coded = encode(study, trials)
    if len(trials) < 2 or not coded.names:
        return "No slices: they need two finished trials that differ."
    panels = []
    for name in by_importance(study, coded)[:TOP_SLICES]:
        here = {t.number: (shown_value(t, name, coded), t.value) for t in trials if name in t.params}
        series = [
            points_of(state, some, [here[t.number][0] for t in some], [t.value for t in some])
            for state, some in by_state([t for t in trials if t.number in here])
        ]
        panels.append(
            Panel([*series, *winner_at(study, here)], name, study.metric, logx=name in coded.log,
                  words=coded.words.get(name, ()))
        )  # fmt: skip
    caption = "The objective against one parameter. Other parameters differ too, so they may cause a trend."
    return Chart(chart_name(study, "slices"), "Slices", caption, panels)


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
    chosen = [(names[0], names[1])] + ([(names[0], names[2])] if len(names) > 2 else [])
    plots = [plot for pair in chosen if (plot := _surface(study, pair)) is not None]
    caption = (
        "The objective over two parameters, averaged over the others, as estimated by a random forest. It is "
        "fitted to the complete trials (points), so it is unreliable far from points."
    )
    return Chart(chart_name(study, "pairs"), "Top pairs", caption, plots)


def _surface(study: Study, pair: tuple[str, str]) -> Surface | None:
    found = importance.surface(study, pair)
    if found is None:
        return None
    coded, xs, ys, z = found
    log = [name in coded.log for name in pair]
    grid = [10**g if is_log else g for g, is_log in zip((xs, ys), log, strict=True)]
    where = [coded.x[:, coded.names.index(name)] for name in pair]
    places = [10**w if is_log else w for w, is_log in zip(where, log, strict=True)]
    trials = [t for t in study.ranked if t.value is not None]
    points = Series("trials", places[0].tolist(), places[1].tolist(), "points", [label(t) for t in trials],
                    [t.number for t in trials])  # fmt: skip
    return Surface(
        grid[0].tolist(), grid[1].tolist(), z.tolist(), points, pair[0], pair[1], study.metric,
        logx=log[0], logy=log[1], x_words=coded.words.get(pair[0], ()), y_words=coded.words.get(pair[1], ()),
        minimize=not study.maximize,
    )  # fmt: skip


def _respect(trial: Trial, name: str) -> float | None:
    if name == "parameters":
        return trial.size
    return trial.latency if name == "ms_per_window" else trial.metric(name)


def _sentence(text: str) -> str:
    return f"{text}." if text else ""


def sensitivity(study: Study) -> list[list[str]]:
    """Rows of a sensitivity table: for each parameter, the median of complete trials by its value."""
    trials = [t for t in study.ranked if t.value is not None]
    values = np.array([t.value for t in trials], dtype=float)
    coded = encode(study, trials)
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
