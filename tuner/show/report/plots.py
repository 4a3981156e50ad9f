"""The report's charts as plotly figures, for a notebook. Only the kinds that `StudyResult` offers."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from tuner.base.errors import InputError
from tuner.show.report import palette
from tuner.show.report.charts import MINOR, Bars, Chart, Panel, Parallel, Plot, Series

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMN = 360  # pixels of each plot, where several stand side by side
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
DASHES = ("solid", "dash", "dot", "dashdot")
Traces = list[dict[str, Any]]


def figure(chart: Chart | str) -> go.Figure:
    """The figure of a chart; its plots stand side by side.

    Raises:
        InputError: there is nothing to draw yet; the message says why (`chart` is a sentence then).
    """
    if isinstance(chart, str):
        raise InputError(chart)
    from plotly.subplots import make_subplots

    count, named = len(chart.plots), set[str]()
    found = make_subplots(rows=1, cols=count)
    for place, plot in enumerate(chart.plots, 1):
        traces, x, y = _drawn(plot)
        for trace in traces:
            first = "name" in trace and trace["name"] not in named
            named |= {trace["name"]} if first else set()
            found.add_trace(_escaped({**trace, "showlegend": first}), row=1, col=place)
        found.update_xaxes(**_escaped(x), row=1, col=place)
        found.update_yaxes(**_escaped(y), row=1, col=place)
    title, width = {"text": html.escape(chart.title)}, COLUMN * count if count > 1 else None
    return found.update_layout(title=title, hovermode="closest", showlegend=len(named) > 1, width=width)


def _drawn(plot: Plot) -> tuple[Traces, dict[str, Any], dict[str, Any]]:
    """The traces of a plot, and its axes."""
    if isinstance(plot, Panel):
        places = {name: i for i, name in enumerate(dict.fromkeys(s.name for s in plot.series))}
        x: dict[str, Any] = {"title": {"text": plot.x}, "type": "log" if plot.logx else None}
        if plot.words:
            x |= {"type": "category", "categoryorder": "array", "categoryarray": list(plot.words)}
        y = {"title": {"text": plot.y}, "type": "log" if plot.logy else None}
        return [_series(s, places[s.name]) for s in plot.series], x, y
    if isinstance(plot, Bars):
        bars = [
            {"type": "bar", "orientation": "h", "name": group, "x": list(values)[::-1],
             "y": list(plot.labels)[::-1], "marker": {"color": palette.SERIES[i % len(palette.SERIES)]}}
            for i, (group, values) in enumerate(plot.groups.items())
        ]  # fmt: skip
        return bars, {"title": {"text": plot.x}}, {"type": "category"}
    assert isinstance(plot, Parallel)
    lines = [
        {"type": "scatter", "mode": "lines", "x": list(range(len(heights))), "y": list(heights),
         "line": {"color": palette.ramp(shade)}, "hoverinfo": "text", "hovertext": text}
        for heights, text, shade in zip(plot.heights, plot.text, plot.shade, strict=True)
    ]  # fmt: skip
    names = [f"{palette.short(axis.name)} ({' … '.join(axis.ends)})" for axis in plot.axes]
    return lines, {"tickvals": list(range(len(names))), "ticktext": names}, {"visible": False}


def _series(series: Series, place: int) -> dict[str, Any]:
    colour = palette.LIGHT[palette.of_series(series.name, place)]
    line = series.mode.endswith("line") or series.mode == "step"
    trace: dict[str, Any] = {
        "type": "scatter", "name": series.name, "legendgroup": series.name,
        "x": list(series.x), "y": list(series.y),
        "mode": "lines" if line and len(series.x) > 1 else "markers",
        "line": {"color": colour, "width": 3 if series.name == "winner" else 1.5,
                 "shape": "hv" if series.mode == "step" else "linear"},
        "marker": {"color": colour, "size": 8, "symbol": SYMBOLS[palette.mark(series.name, place)]},
    }  # fmt: skip
    if series.name == "winner":
        trace["marker"] |= {"symbol": "star", "size": 14}
    elif series.mode == "faint":
        trace["marker"] |= {"symbol": "circle-open", "size": 6}
    elif line and series.name not in palette.STATES and series.name not in MINOR:
        trace["line"]["dash"] = DASHES[place % len(DASHES)]
    if series.text:
        trace |= {"hovertext": list(series.notes), "hoverinfo": "text+x+y"}
    return trace


def _escaped(value: Any) -> Any:
    """`value` without markup, which plotly would show."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return html.escape(value) if isinstance(value, str) else value
