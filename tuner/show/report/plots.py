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

    found = make_subplots(rows=1, cols=len(chart.plots))
    named: set[str] = set()
    for place, plot in enumerate(chart.plots, 1):
        for trace in _traces(plot, named):
            found.add_trace(trace, row=1, col=place)
        x, y = _axes(plot)
        found.update_xaxes(**x, row=1, col=place)
        found.update_yaxes(**y, row=1, col=place)
    found.update_layout(
        title={"text": html.escape(chart.title)}, hovermode="closest", showlegend=len(named) > 1,
        width=COLUMN * len(chart.plots) if len(chart.plots) > 1 else None,
    )  # fmt: skip
    return found


def _traces(plot: Plot, named: set[str]) -> Traces:
    if isinstance(plot, Panel):
        places: dict[str, int] = {}
        return [_series(s, places.setdefault(s.name, len(places)), named) for s in plot.series]
    if isinstance(plot, Bars):
        named |= set(plot.groups)
        labels = [html.escape(label) for label in plot.labels][::-1]
        return [
            {"type": "bar", "orientation": "h", "name": html.escape(group), "x": list(values)[::-1],
             "y": labels, "marker": {"color": palette.SERIES[i % len(palette.SERIES)]}}
            for i, (group, values) in enumerate(plot.groups.items())
        ]  # fmt: skip
    assert isinstance(plot, Parallel)
    return [
        {"type": "scatter", "mode": "lines", "x": list(range(len(heights))), "y": list(heights),
         "line": {"color": palette.ramp(shade)}, "hoverinfo": "text", "hovertext": html.escape(text),
         "showlegend": False}
        for heights, text, shade in zip(plot.heights, plot.text, plot.shade, strict=True)
    ]  # fmt: skip


def _series(series: Series, place: int, named: set[str]) -> dict[str, Any]:
    colour = palette.LIGHT[palette.of_series(series.name, place)]
    line = series.mode.endswith("line") or series.mode == "step"
    trace: dict[str, Any] = {
        "type": "scatter", "name": html.escape(series.name), "legendgroup": html.escape(series.name),
        "showlegend": series.name not in named,
        "x": [html.escape(x) if isinstance(x, str) else x for x in series.x],
        "y": list(series.y),
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
        trace |= {"hovertext": [html.escape(t) for t in series.notes], "hoverinfo": "text+x+y"}
    named.add(series.name)
    return trace


def _axes(plot: Plot) -> tuple[dict[str, Any], dict[str, Any]]:
    if isinstance(plot, Parallel):
        names = [f"{palette.short(axis.name)}\n{' … '.join(axis.ends)}" for axis in plot.axes]
        texts = [html.escape(name).replace("\n", "<br>") for name in names]
        return {"tickvals": list(range(len(names))), "ticktext": texts}, {"visible": False}
    if isinstance(plot, Bars):
        return {"title": {"text": html.escape(plot.x)}}, {"type": "category"}
    assert isinstance(plot, Panel)
    x: dict[str, Any] = {"title": {"text": html.escape(plot.x)}}
    y: dict[str, Any] = {"title": {"text": html.escape(plot.y)}}
    if plot.words:
        words = [html.escape(w) for w in plot.words]
        x |= {"type": "category", "categoryorder": "array", "categoryarray": words}
    elif plot.logx:
        x["type"] = "log"
    if plot.logy:
        y["type"] = "log"
    return x, y
