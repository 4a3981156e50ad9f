"""The charts of a study over epochs and minutes: learning curves, pruning, agents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.claims.encoding import encode
from tuner.claims.material import Stint, Study
from tuner.show.report import importance, palette
from tuner.show.report.charts import Bars, Mode, Panel, Series, Spans
from tuner.show.report.trial_series import (
    MIN_DISTRIBUTION,
    MOST_LINES,
    Made,
    groups_of,
    kind,
    label,
    study_chart,
)  # fmt: skip


def curves(study: Study) -> Made:
    """The objective by epoch, with pruned and paused trials in grey."""
    running = [t for t in study.trials if t.state in ("running", "paused")]
    shown = [t for t in (*study.finished, *running) if len(t.curve) > 0]
    if not any(len(t.curve) > 1 for t in shown):
        return "No learning curves: no trial has reported more than once."
    best = study.winner
    series = []
    shown.sort(key=lambda t: (t.state not in palette.GREY, t.state == "running", t is best))
    for trial in shown[-MOST_LINES:]:
        name = "winner" if trial is best else kind(trial)
        mode: Mode = "faint line" if trial.state in palette.GREY else "line"
        series.append(Series(name, [e for e, _ in trial.curve], [v for _, v in trial.curve], mode,
                             [label(trial)], [trial.number]))  # fmt: skip
    caption = "The objective after each epoch. Grey curves end where the trial was pruned or paused."
    if len(shown) > MOST_LINES:
        caption += f" {MOST_LINES} of {len(shown)} trials are drawn, complete ones first."
    return study_chart(study, "curves", "Learning curves", caption, [Panel(series, "epoch", study.metric)])


def parameter_curves(study: Study) -> Made | None:
    """The median objective by epoch, by the value of each of the most important parameters."""
    trials = [t for t in study.ranked if len(t.curve) > 1]
    coded = encode(study, trials)
    if len(trials) < MIN_DISTRIBUTION or not coded.names:
        return None
    panels = []
    for name in importance.by_importance(study, coded)[: importance.TOP]:
        series = []
        for group, mask in groups_of(name, coded):
            some = [dict(t.curve) for t, inside in zip(trials, mask, strict=True) if inside]
            epochs = sorted({e for curve in some for e in curve})
            medians = [float(np.median([curve[e] for curve in some if e in curve])) for e in epochs]
            series.append(Series(f"{group} ({len(some)})", epochs, medians, "line"))
        panels.append(Panel(series, "epoch", study.metric, title=name))
    caption = (
        "Median objective after each epoch of complete trials, by the value of one parameter; in brackets "
        "the number of trials. It shows whether a value is better early, late or always."
    )
    return study_chart(study, "parameters", "Parameters over epochs", caption, panels)


def pruning(study: Study) -> Made | None:
    """The number of trials that are left after each rung, and how many ended there."""
    pruned = [t for t in study.trials if t.state == "pruned"]
    if not pruned:
        return None
    ends = sorted({t.epochs for t in study.finished})
    left = [float(sum(t.epochs >= e for t in study.finished)) for e in ends]
    stopped = [float(sum(t.epochs == e for t in pruned)) for e in ends]
    bars = Bars([f"epoch {e}" for e in ends], {"reached it": left, "pruned": stopped}, "trials")
    share = len(pruned) / max(1, len(study.finished))
    caption = (
        f"{len(pruned)} of {len(study.finished)} finished trials ({share:.0%}) were stopped early. For each "
        "epoch at which trials ended: how many reached it, and how many of these were pruned there."
    )
    return study_chart(study, "pruning", "Survival by rung", caption, [bars], half=True)


def timeline(study: Study) -> Made:
    """The trials of each agent over time."""
    ran = [(stint, t) for t in study.trials if t.ended for stint in t.stints]
    if not ran:
        return "No timeline: no trial has ended."
    stints, shown = zip(*sorted(ran, key=lambda pair: pair[0].started), strict=True)
    start, length = minutes(stints)
    names = [stint.agent for stint in stints]
    lanes = list(dict.fromkeys(names))
    lane = [lanes.index(n) for n in names] if all(names) else _packed(start, length)
    count = max(lane) + 1
    plot = Spans([f"agent {i + 1}" for i in range(count)], lane, start, length,
                 [t.state for t in shown], [label(t) for t in shown], [t.number for t in shown])  # fmt: skip
    busy = sum(length) / max(1e-9, count * (max(s + w for s, w in zip(start, length, strict=True))))
    agents = "1 agent" if count == 1 else f"{count} agents"
    caption = f"{agents}, busy {busy:.0%} of the time between the first trial's start and the last one's end."
    return study_chart(study, "timeline", "Timeline of the agents", caption, [plot])


def minutes(stints: Sequence[Stint]) -> tuple[list[float], list[float]]:
    """When each begins, in minutes after the first, and how long it takes."""
    first = min(stint.started for stint in stints)
    starts = [(stint.started - first).total_seconds() / 60 for stint in stints]
    return starts, [stint.minutes for stint in stints]


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
