"""The charts of one study, as numbers. Each function returns a chart, or a sentence that says why none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tuner.claims.encoding import Encoded, encode, word
from tuner.claims.material import Study, Trial
from tuner.search import ranking
from tuner.show.report import importance
from tuner.show.report.charts import Bars, Chart, Mode, Panel, Parallel, Series, Spans, Surface

TOP_SLICES = 4
MOST_LINES = 120  # number of curves and parallel lines to draw; the best are always drawn
Made = Chart | str


def charts(study: Study) -> list[Made]:
    """Every chart of a study in reading order."""
    makers: list[Callable[[Study], Made | None]] = [
        history, front, parallel, importances, slices, pairs, curves, pruning, timeline,
    ]  # fmt: skip
    found = [maker(study) for maker in makers]
    return [made for made in found if made is not None]


def history(study: Study) -> Made:
    """The objective by trial number, and the best so far."""
    shown = [t for t in study.trials if t.value is not None]
    if not shown:
        return "No history: no trial has reported a value yet."
    series = [
        Series(state, [t.number for t in some], [t.value for t in some], text=[_label(t) for t in some],
               mode="points" if state == "complete" else "faint")
        for state in ("pruned", "complete")
        if (some := [t for t in shown if t.state == state])
    ]  # fmt: skip
    complete = [t for t in shown if t.complete]
    if complete:
        series.append(
            Series("best so far", [t.number for t in complete], best_so_far(study, complete), "step")
        )
    caption = (
        "The objective of each trial; for pruned trials the last reported value. The line is the best "
        "complete trial so far."
    )
    return Chart(_slug(study, "history"), "Optimisation history", caption,
                 [Panel(series, "trial", study.metric)])  # fmt: skip


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
        panels.append(
            Panel(
                [
                    Series("dominated", [x for x, _ in off], [t.value for _, t in off], "faint",
                           text=[_label(t) for _, t in off]),
                    Series("on the front", [x for x, _ in on], [t.value for _, t in on], "points",
                           text=[_label(t) for _, t in on]),
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
    return Chart(_slug(study, "front"), "Pareto front", caption, panels)


def parallel(study: Study) -> Made:
    """Every finished trial as a line through its parameters."""
    trials = [t for t in study.finished if t.value is not None]
    coded = encode(study, trials)
    if len(trials) < 2 or not coded.names:
        return "No parallel coordinates: they need two finished trials that differ."
    order = [n for n in importance.importances(study).names if n in coded.names]
    names = order + [n for n in coded.names if n not in order]
    shade = _shades(study, trials)
    keep = sorted(sorted(range(len(trials)), key=lambda i: -shade[i])[:MOST_LINES], key=lambda i: shade[i])
    columns = [coded.x[:, coded.names.index(n)] for n in names]
    span = [(c.min(), c.max() - c.min()) for c in columns]
    values = np.array([t.value for t in trials], dtype=float)
    columns.append(values)
    span.append((values.min(), (values.max() - values.min()) or 1.0))
    ends = [_ends(trials, n, coded) for n in names] + [(f"{values.min():.4g}", f"{values.max():.4g}")]
    heights = [
        [
            None if j < len(names) and names[j] not in trials[i].params
            else float((columns[j][i] - span[j][0]) / span[j][1])
            for j in range(len(columns))
        ]
        for i in keep
    ]  # fmt: skip
    words = [[*(word(trials[i].params.get(n)) for n in names), f"{trials[i].value:.6g}"] for i in keep]
    plot = Parallel(
        [*names, study.metric], [e[0] for e in ends], [e[1] for e in ends], heights, words,
        [shade[i] for i in keep], [_label(trials[i]) for i in keep],
    )  # fmt: skip
    caption = (
        "One line per trial; the most important parameter is first. Dark lines are better trials. "
        "Gaps mean unused parameters."
    )
    return Chart(_slug(study, "parallel"), "Parallel coordinates", caption, [plot])


def importances(study: Study) -> Made:
    """PED-ANOVA and fANOVA side by side."""
    found = importance.importances(study)
    if found.reason:
        return f"No importances: {found.reason}."
    names = found.names
    groups = {"PED-ANOVA": [found.ped_anova.get(n, 0.0) for n in names]}
    if found.fanova:
        groups["fANOVA"] = [found.fanova.get(n, 0.0) for n in names]
    second = "fANOVA: what explains the variance over the whole space. " if found.fanova else ""
    caption = (
        f"PED-ANOVA: what tells the best trials from the rest. {second}From {len(study.ranked)} complete "
        f"trials; parameters that not all have are left out.{_sentence(found.left_out)}"
    )
    return Chart(
        _slug(study, "importances"), "Parameter importances", caption, [Bars(names, groups, "share")]
    )


def slices(study: Study) -> Made:
    """The objective against each of the most important parameters."""
    trials = [t for t in study.finished if t.value is not None]
    coded = encode(study, trials)
    if len(trials) < 2 or not coded.names:
        return "No slices: they need two finished trials that differ."
    order = [n for n in importance.importances(study).names if n in coded.names]
    names = (order + [n for n in coded.names if n not in order])[:TOP_SLICES]
    panels = []
    for name in names:
        series = []
        kinds: tuple[tuple[str, Mode], ...] = (("pruned", "faint"), ("complete", "points"))
        for state, mode in kinds:
            some = [t for t in trials if t.state == state and name in t.params]
            in_words = name in coded.words
            xs = [word(t.params[name]) if in_words else t.params[name] for t in some]
            if some:
                series.append(
                    Series(state, xs, [t.value for t in some], mode, text=[_label(t) for t in some])
                )  # type: ignore[arg-type]
        panels.append(
            Panel(series, name, study.metric, logx=name in coded.log, words=coded.words.get(name, ()))
        )
    caption = "The objective against one parameter. Other parameters differ too, so they may cause a trend."
    return Chart(_slug(study, "slices"), "Slices", caption, panels)


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
    return Chart(_slug(study, "pairs"), "Top pairs", caption, plots)


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
    points = Series("trials", places[0].tolist(), places[1].tolist(), text=[_label(t) for t in trials])
    return Surface(
        grid[0].tolist(), grid[1].tolist(), z.tolist(), points, pair[0], pair[1], study.metric,
        logx=log[0], logy=log[1], x_words=coded.words.get(pair[0], ()), y_words=coded.words.get(pair[1], ()),
    )  # fmt: skip


def curves(study: Study) -> Made:
    """The objective by epoch, with pruned trials in grey."""
    shown = [t for t in study.finished if len(t.curve) > 0]
    if not any(len(t.curve) > 1 for t in shown):
        return "No learning curves: no trial has reported more than once."
    best = study.winner
    series = []
    for trial in sorted(shown, key=lambda t: (t.complete, t is best))[-MOST_LINES:]:
        kind = "winner" if trial is best else "complete" if trial.complete else "pruned"
        mode: Mode = "line" if trial.complete else "faint line"
        series.append(Series(kind, [e for e, _ in trial.curve], [v for _, v in trial.curve], mode,  # type: ignore[arg-type]
                             text=[_label(trial)] * len(trial.curve)))  # fmt: skip
    caption = "The objective on the part select after each epoch. Grey curves end where the trial was pruned."
    if len(shown) > MOST_LINES:
        caption += f" {MOST_LINES} of {len(shown)} trials are drawn, complete ones first."
    return Chart(_slug(study, "curves"), "Learning curves", caption, [Panel(series, "epoch", study.metric)])


def pruning(study: Study) -> Made | None:
    """The number of trials that ended after each epoch."""
    pruned = [t for t in study.trials if t.state == "pruned"]
    if not pruned:
        return None
    epochs = sorted({t.epochs for t in study.finished})
    groups = {
        kind: [float(sum(t.epochs == e for t in study.finished if t.state == kind)) for e in epochs]
        for kind in ("pruned", "complete")
    }
    caption = f"{len(pruned)} of {len(study.finished)} finished trials were stopped early."
    return Chart(_slug(study, "pruning"), "Trials that ended after each epoch", caption,
                 [Bars([f"epoch {e}" for e in epochs], groups, "trials")])  # fmt: skip


def timeline(study: Study) -> Made:
    """The trials of each agent over time."""
    shown = sorted((t for t in study.trials if t.started and t.ended), key=lambda t: t.started)  # type: ignore[arg-type, return-value]
    if not shown:
        return "No timeline: no trial has ended."
    first = shown[0].started
    start = [(t.started - first).total_seconds() / 60 for t in shown]  # type: ignore[operator]
    length = [(t.ended - t.started).total_seconds() / 60 for t in shown]  # type: ignore[operator]
    names = [t.agent for t in shown]
    lanes = list(dict.fromkeys(names))
    lane = [lanes.index(n) for n in names] if all(names) else _packed(start, length)
    count = max(lane) + 1
    plot = Spans([f"agent {i + 1}" for i in range(count)], lane, start, length,
                 [t.state for t in shown], [_label(t) for t in shown])  # fmt: skip
    busy = sum(length) / max(1e-9, count * (max(s + w for s, w in zip(start, length, strict=True))))
    agents = "1 agent" if count == 1 else f"{count} agents"
    caption = f"{agents}, busy {busy:.0%} of the time between the first trial's start and the last one's end."
    return Chart(_slug(study, "timeline"), "Timeline of the agents", caption, [plot])


def _packed(start: Sequence[float], length: Sequence[float]) -> list[int]:
    """Assigns spans to lanes without overlap. Used if the agents are not known."""
    free: list[float] = []
    lanes = []
    for begin, span in zip(start, length, strict=True):
        lane = next((i for i, end in enumerate(free) if end <= begin + 1e-6), len(free))
        if lane == len(free):
            free.append(0.0)
        free[lane] = begin + span
        lanes.append(lane)
    return lanes


def best_so_far(study: Study, trials: Sequence[Trial]) -> list[float]:
    """The best value after each of these trials."""
    results = ((trial.violation, trial.value or 0.0) for trial in trials)
    return ranking.best_so_far(results, maximize=study.maximize)


def _shades(study: Study, trials: Sequence[Trial]) -> list[float]:
    """Rank of each trial from 0 (worst) to 1 (best). Pruned trials rank below complete ones."""
    sign = 1.0 if study.maximize else -1.0
    order = sorted(range(len(trials)), key=lambda i: (trials[i].complete, sign * (trials[i].value or 0.0)))
    ranks = [0.0] * len(trials)
    for place, i in enumerate(order):
        ranks[i] = place / max(1, len(trials) - 1)
    return ranks


def _ends(trials: Sequence[Trial], name: str, coded: Encoded) -> tuple[str, str]:
    if name in coded.words:
        return coded.words[name][0], coded.words[name][-1]
    values = [t.params[name] for t in trials if t.params.get(name) is not None]
    return word(min(values)), word(max(values))


def _respect(trial: Trial, name: str) -> float | None:
    if name == "parameters":
        return trial.size
    return trial.latency if name == "ms_per_window" else trial.metric(name)


def _sentence(text: str) -> str:
    return f" {text}." if text else ""


def _label(trial: Trial) -> str:
    value = "" if trial.value is None else f": {trial.value:.4f}"
    return f"trial {trial.number} ({trial.state}){value}"


def _slug(study: Study, kind: str) -> str:
    from tuner.base.words import slug

    return f"{slug(study.name)}_{kind}"


def sensitivity(study: Study) -> list[list[str]]:
    """Rows of a sensitivity table: for each parameter, the median objective of complete trials.

    One median for the lower and one for the upper half of a number, one for each word, with the number of
    trials.
    """
    trials = [t for t in study.ranked if t.value is not None]
    values = np.array([t.value for t in trials], dtype=float)
    coded = encode(study, trials)
    found = importance.importances(study)
    rows = []
    for name in sorted(coded.names, key=lambda n: -found.ped_anova.get(n, 0.0)):
        column = coded.x[:, coded.names.index(name)]
        if name in coded.words and len(coded.words[name]) <= 6:
            groups = [(w, column == i) for i, w in enumerate(coded.words[name])]
        else:
            middle = float(np.median(column))
            shown = 10**middle if name in coded.log else middle
            groups = [(f"≤ {shown:.3g}", column <= middle), (f"> {shown:.3g}", column > middle)]
        cells = [
            f"{label}: {np.median(values[mask]):.4f} ({mask.sum()})" for label, mask in groups if mask.any()
        ]
        rows.append(
            [
                name,
                "   ".join(cells),
                f"{found.ped_anova.get(name, 0):.2f}",
                f"{found.fanova.get(name, 0):.2f}" if found.fanova else "–",
            ]
        )
    return rows
