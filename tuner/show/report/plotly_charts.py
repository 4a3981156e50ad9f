"""Charts as plotly's JSON. Builds no plotly objects, because their checks take seconds.

Plotly interprets some HTML tags in texts, so every text from a study is escaped here.
"""

from __future__ import annotations

import html
import math
from typing import Any

from tuner.show.report.charts import Bars, Chart, Matrix, Panel, Parallel, Plot, Series, Spans, Surface

# dark blue, orange, green, purple; grey for pruned trials. They differ in lightness. The script of the page
# replaces each by a brighter colour in dark mode.
COLOURS = ("#2563a8", "#d97706", "#0f8a5f", "#9333a8", "#b45309")
FAINT = "#9aa3ad"
BAD = "#c0392b"
STATE_COLOURS = {"complete": COLOURS[0], "pruned": FAINT, "failed": BAD}
DASHES = ("solid", "dash", "dot", "dashdot")
FEW = 20  # lines with at most this many points get markers
SYMBOLS = ("circle", "diamond", "square", "x", "cross")
RAMP = ("#d7dde4", "#b5c9dc", "#8fb1d3", "#6797c6", "#417cb4", "#22609c", "#0d447c", "#062a52")
HATCHES = ("", "/", ".", "x", "-")
SCALE = [[i / (len(RAMP) - 1), colour] for i, colour in enumerate(RAMP)]
HEIGHT = 320  # height of a plot in pixels


def figure(plot: Plot) -> dict[str, Any]:
    """The plot as `{"data": …, "layout": …}`."""
    if isinstance(plot, Panel):
        return _panel(plot)
    if isinstance(plot, Bars):
        return _bars(plot)
    if isinstance(plot, Parallel):
        return _parallel(plot)
    if isinstance(plot, Spans):
        return _spans(plot)
    if isinstance(plot, Matrix):
        return _matrix(plot)
    return _surface(plot)


def figures(chart: Chart) -> list[dict[str, Any]]:
    """All plots of a chart."""
    return [figure(plot) for plot in chart.plots]


def _panel(panel: Panel) -> dict[str, Any]:
    data: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for series in panel.series:
        place = seen.setdefault(series.name, len(seen))
        data.append(_series(series, place, first=not any(d["name"] == escape(series.name) for d in data)))
    layout = _layout(panel.title, panel.x, panel.y)
    if panel.logx:
        layout["xaxis"] |= {"type": "log", "dtick": 1} if _wide(panel) else {"type": "log"}
    if panel.logy:
        layout["yaxis"]["type"] = "log"
    if panel.words:
        layout["xaxis"] |= {
            "type": "category", "categoryorder": "array", "categoryarray": [escape(w) for w in panel.words],
        }  # fmt: skip
    if panel.square:
        line = {"type": "line", "x0": 0, "y0": 0, "x1": 1, "y1": 1, "layer": "below"}
        layout["shapes"] = [{**line, "line": {"color": FAINT, "width": 1, "dash": "dot"}}]
        layout["xaxis"]["range"] = layout["yaxis"]["range"] = [-0.02, 1.02]
    layout["showlegend"] = len(seen) > 1
    if len(seen) > 2:
        layout["margin"]["t"] += 24  # on a phone the legend needs two lines
    return {"data": data, "layout": layout}


def _wide(panel: Panel) -> bool:
    xs = [float(x) for s in panel.series for x in s.x if isinstance(x, int | float) and x > 0]
    return bool(xs) and math.log10(max(xs) / min(xs)) >= 2


def _series(series: Series, place: int, *, first: bool) -> dict[str, Any]:
    colour = STATE_COLOURS.get(series.name, COLOURS[place % len(COLOURS)])
    xs = [escape(x) if isinstance(x, str) else x for x in series.x]
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": escape(series.name),
        "legendgroup": escape(series.name),
        "showlegend": first,
        "x": xs,
        "y": list(series.y),
    }
    told = series.name in STATE_COLOURS or series.name == "winner"  # many lines of one kind
    dash = "solid" if told else DASHES[place % len(DASHES)]
    if series.text:
        trace |= {"hovertext": [escape(t) for t in series.text], "hoverinfo": "text+x+y"}
    if series.mode == "line":
        strong = series.name == "winner"
        line = {"color": COLOURS[1] if strong else colour, "width": 3 if strong else 1.5, "dash": dash}
        trace |= {"mode": _line_mode(series, many=told), "line": line}
        trace["marker"] = {"color": line["color"], "size": 6, "symbol": SYMBOLS[place % len(SYMBOLS)]}
    elif series.mode == "faint line":
        trace |= {"mode": _line_mode(series, many=told), "line": {"color": FAINT, "width": 1, "dash": dash}}
        trace |= {"marker": {"color": FAINT, "size": 4}, "opacity": 0.7 if told else 1}
    elif series.mode == "step":
        trace |= {"mode": "lines", "line": {"color": COLOURS[1], "width": 2, "shape": "hv"}}
    elif series.mode == "faint":
        trace |= {"mode": "markers", "marker": {"color": FAINT, "size": 6, "symbol": "circle-open"}}
    else:
        trace |= {
            "mode": "markers",
            "marker": {"color": colour, "size": 8, "symbol": SYMBOLS[place % len(SYMBOLS)]},
        }
    return trace


def _line_mode(series: Series, *, many: bool) -> str:
    """The plotly mode of a line. Short lines get markers, unless there are many lines of this kind."""
    if len(series.x) < 2:
        return "markers"
    return "lines" if many or len(series.x) > FEW else "lines+markers"


def _bars(bars: Bars) -> dict[str, Any]:
    data = []
    labels = [escape(label) for label in reversed(bars.labels)]
    for place, (group, values) in enumerate(bars.groups.items()):
        colour = STATE_COLOURS.get(group, COLOURS[place % len(COLOURS)])
        if group == "before":
            colour = FAINT
        trace: dict[str, Any] = {
            "type": "bar",
            "orientation": "h",
            "name": escape(group),
            "y": labels,
            "x": list(reversed(values)),
            "marker": {
                "color": colour,
                "pattern": {"shape": HATCHES[place % len(HATCHES)], "solidity": 0.25},
            },
        }
        if group in bars.low:
            low, high = (list(reversed(side[group])) for side in (bars.low, bars.high))
            trace["error_x"] = {
                "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": "#777777",
                "array": [h - x for h, x in zip(high, trace["x"], strict=True)],
                "arrayminus": [x - h for h, x in zip(low, trace["x"], strict=True)],
            }  # fmt: skip
        data.append(trace)
    layout = _layout(bars.title, bars.x, "")
    layout |= {
        "barmode": "group",
        "showlegend": len(bars.groups) > 1,
        "height": max(HEIGHT - 60, 90 + len(labels) * (14 + 10 * len(bars.groups))),
    }
    layout["yaxis"] |= {"automargin": True, "type": "category"}
    return {"data": data, "layout": layout}


def _parallel(plot: Parallel) -> dict[str, Any]:
    """Parallel coordinates, drawn as scatter lines, because plotly's own need WebGL."""
    data = []
    for heights, text, shade in zip(plot.heights, plot.text, plot.shade, strict=True):
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": list(range(len(heights))),
                "y": list(heights),
                "line": {"color": COLOURS[1] if shade > 0.9 else FAINT, "width": 0.8 + 1.6 * shade**4},
                "opacity": 0.2 + 0.8 * shade**2,
                "hoverinfo": "text",
                "hovertext": escape(text),
                "showlegend": False,
            }
        )
    layout = _layout("", "", "")
    count = len(plot.axes)
    names = [escape(short(axis)) for axis in plot.axes]
    layout["xaxis"] |= {
        "tickvals": list(range(count)),
        "ticktext": names,
        "range": [-0.3, count - 0.7],
        "tickangle": -25,  # a label ends at its axis: the last has no room to its right
    }
    layout["yaxis"] |= {"visible": False, "range": [-0.12, 1.12]}
    layout["annotations"] = [
        {"x": i, "y": y, "text": escape(short(words[i])), "showarrow": False, "font": {"size": 10}}
        for y, words in ((-0.07, plot.low), (1.07, plot.high))
        for i in range(count)
    ]
    layout |= {"showlegend": False, "height": HEIGHT + 80, "hovermode": "closest"}
    layout["margin"]["l"] = 100  # the first label ends at its axis
    layout["wide"] = 100 + 70 * count  # smallest width in pixels; a narrower page scrolls
    return {"data": data, "layout": layout}


def _spans(plot: Spans) -> dict[str, Any]:
    data = []
    for kind in dict.fromkeys(plot.kind):
        some = [i for i, k in enumerate(plot.kind) if k == kind]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": escape(kind),
                "base": [plot.start[i] for i in some],
                "x": [plot.length[i] for i in some],
                "y": [escape(plot.lanes[plot.lane[i]]) for i in some],
                "hovertext": [escape(plot.text[i]) for i in some],
                "hoverinfo": "text",
                "marker": {
                    "color": STATE_COLOURS.get(kind, COLOURS[1]),
                    "line": {"color": "#fff", "width": 0.5},
                },
            }
        )
    layout = _layout("", "minutes", "")
    layout |= {"barmode": "overlay", "height": 130 + 30 * len(plot.lanes), "showlegend": True}
    layout["yaxis"] |= {"automargin": True, "type": "category"}
    return {"data": data, "layout": layout}


def _surface(plot: Surface) -> dict[str, Any]:
    layout = _layout(plot.title, plot.x, plot.y)
    for axis, log, words in (("xaxis", plot.logx, plot.x_words), ("yaxis", plot.logy, plot.y_words)):
        if log:
            layout[axis]["type"] = "log"
        if words:
            layout[axis] |= {
                "tickvals": list(range(len(words))),
                "ticktext": [escape(short(w)) for w in words],
            }
    layout["showlegend"] = False
    contour = {
        "type": "contour" if not (plot.x_words or plot.y_words) else "heatmap",
        "x": list(plot.xs), "y": list(plot.ys), "z": [list(line) for line in plot.z],
        "colorscale": SCALE, 
        "colorbar": {"title": {"text": escape(short(plot.value)), "side": "right"}, "thickness": 10},
        "hoverinfo": "x+y+z",
    }  # fmt: skip
    points = {
        "type": "scatter", "mode": "markers", "x": list(plot.points.x), "y": list(plot.points.y),
        "hovertext": [escape(t) for t in plot.points.text], "hoverinfo": "text",
        "marker": {"color": "#fff", "size": 6, "line": {"color": "#222", "width": 1}},
    }  # fmt: skip
    return {"data": [contour, points], "layout": layout}


def _matrix(plot: Matrix) -> dict[str, Any]:
    cells = {
        "type": "heatmap", "z": plot.shares(), "zmin": 0, "zmax": 1, "colorscale": SCALE, "showscale": False,
        "x": [escape(short(c)) for c in plot.columns], "y": [escape(short(r)) for r in plot.rows],
        "text": [[str(n) if n else "" for n in line] for line in plot.counts], "texttemplate": "%{text}",
        "hovertemplate": "%{y} → %{x}: %{text} (%{z:.1%})<extra></extra>", "xgap": 1, "ygap": 1,
    }  # fmt: skip
    layout = _layout(plot.title, plot.x, plot.y)
    layout["xaxis"] |= {"type": "category", "showgrid": False}
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "showgrid": False}
    layout |= {"showlegend": False, "height": max(HEIGHT - 60, 110 + 24 * len(plot.rows))}
    layout["xaxis"]["title"]["standoff"] = 12
    layout["wide"] = 90 + 30 * len(plot.columns)
    return {"data": [cells], "layout": layout}


def _layout(title: str, x: str, y: str) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "height": HEIGHT,
        "margin": {"l": 52, "r": 12, "t": 34, "b": 44},
        "xaxis": {"title": {"text": escape(x)}, "zeroline": False, "automargin": True},
        "yaxis": {"title": {"text": escape(y)}, "zeroline": False, "automargin": True},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#8a94a0", "activecolor": "#2563a8"},
    }
    if title:  # above the legend
        layout["title"] = {
            "text": escape(title),
            "font": {"size": 13},
            "x": 0,
            "xref": "paper",
            "y": 0.99,
            "yanchor": "top",
        }
        layout["margin"]["t"] += 24
    return layout


def escape(text: str) -> str:
    """Escapes `text` so that plotly shows it literally. Plotly interprets tags and entities."""
    return html.escape(str(text), quote=False)


def short(text: str, most: int = 22) -> str:
    """`text`, with its middle left out if it is too long for an axis."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"


def ramp(shade: float) -> str:
    """The colour of `shade`, 0 … 1, light to dark."""
    return RAMP[min(len(RAMP) - 1, max(0, int(shade * len(RAMP))))]
