"""A page with the decoded tool path in XY and XYZ, and a slider over time; and the same for print.

The page needs no network: plotly.js is inside. Colours show the probability of each line. What was expected
lies below in grey, and rows that deviate are marked.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader

from inference.check import Checked, sentence
from inference.toolpath import Track, moves_of, track_of
from inference.whole import WholeRecording
from inference.whole_output import headline
from model.library import STEPS, Library
from model.matching import Query
from model.recordings import Recordings
from tuner.base.errors import InputError
from tuner.base.files import whole_file

HERE = Path(__file__).parent
TRACES = 4  # channels drawn below the path: those that agree most with the known recording
SCALE = ((0.0, "#c0392b"), (0.5, "#d97706"), (0.8, "#8fb1d3"), (1.0, "#0d447c"))
FAINT, BAD = "#9aa3ad", "#c0392b"


@dataclass(frozen=True, eq=False)
class Picture:
    """What is drawn of one recording.

    Attributes:
        title: in a line; track: the decoded path; expected: `(points, 3)` of the path that was expected, or
            None.
        seconds: `(rows,)`; traces: channel → its shape in each row, of this and of the known recording.
        sure: `(rows,)` probability; deviating: `(rows,)` bool.
    """

    title: str
    track: Track
    expected: np.ndarray | None
    seconds: np.ndarray
    traces: dict[str, tuple[np.ndarray, np.ndarray]]
    lines: tuple[str, ...]
    sure: np.ndarray
    deviating: np.ndarray


def picture_of(
    one: WholeRecording,
    data: Recordings,
    recording: int,
    library: Library,
    *,
    check: Checked | None = None,
    expected: list[str] | None = None,
) -> Picture:
    """The picture of a recording that was read, and checked.

    Args:
        expected: the lines of the expected program.

    Raises:
        InputError: its program is unknown, or has no moves.
    """
    track = track_of(one)
    if track is None:
        raise InputError(f"{one.name}: no tool path to draw: its program is unknown, or has no line numbers")
    rows = len(one.lines)
    meta = data.recordings[recording]
    seconds = np.asarray(data.log["seconds"][meta.start : meta.start + rows], dtype=np.float64)
    deviating = np.zeros(rows, dtype=bool)
    if check is not None and check.deviation is not None:
        deviating[check.deviation.row : check.deviation.row + check.deviation.rows] = True
    path = None
    if expected is not None and (moves := moves_of(expected)):
        path = np.concatenate([move.points for move in moves])
    return Picture(
        title=headline(one) if check is None else sentence(check),
        track=track,
        expected=path,
        seconds=seconds if np.isfinite(seconds).all() else np.arange(rows, dtype=np.float64),
        traces=_traces(Query.of(data, recording).shape, one, library, rows),
        lines=one.lines,
        sure=np.nan_to_num(one.probability),
        deviating=deviating,
    )


def _traces(
    shape: np.ndarray, one: WholeRecording, library: Library, rows: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The channels that agree most with the known recording, in its time."""
    k = library.named(one.like)
    assert k is not None, "it is in the library"
    other = library.shapes[library.known[k].span]
    at = np.arange(len(shape)) - one.delay
    inside = (at >= 0) & (at < len(other))
    there = np.where(inside[:, None], other[np.clip(at, 0, len(other) - 1)].astype(np.float32), np.nan)
    agree = (
        np.nan_to_num(np.nanmean(shape[inside] * there[inside], axis=0))
        if inside.any()
        else shape.std(axis=0)
    )
    best = np.argsort(-agree, kind="stable")[:TRACES]
    padding = np.full(rows - len(shape), np.nan)
    return {
        library.channels[c]: (
            np.concatenate([shape[:, c] / STEPS, padding]),
            np.concatenate([there[:, c] / STEPS, padding]),
        )
        for c in best
    }


def write_pictures(picture: Picture, *, page: Path | None, plot: Path | None) -> None:
    """Writes the page and the drawing that are asked for."""
    if page is not None:
        write_page(picture, page)
    if plot is not None:
        draw(picture, plot)


def write_page(picture: Picture, path: Path) -> None:
    """Writes the page to `path`."""
    from plotly.offline import get_plotlyjs

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True)
    content = {
        "flat": flat(picture),
        "solid": solid(picture),
        "time": over_time(picture),
        "rows": picture.track.rows.tolist(),
        "lines": list(picture.lines),
        "seconds": picture.seconds.tolist(),
        "sure": picture.sure.tolist(),
    }
    page = environment.get_template("picture.html.j2").render(
        title=picture.title, content=_json(content), plotly=get_plotlyjs()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_text(page, encoding="utf-8")


def flat(picture: Picture) -> dict[str, Any]:
    """The path in XY: traces of the expected one, the decoded one, deviations, and last the tool."""
    x, y, _ = picture.track.points.T
    colours = {"color": picture.track.sure, "colorscale": SCALE, "cmin": 0, "cmax": 1}
    shown = {"x": x, "y": y, "type": "scatter", "text": _escaped(picture.track.text)}
    data: list[dict[str, Any]] = []
    if picture.expected is not None:
        data.append({"x": picture.expected[:, 0], "y": picture.expected[:, 1], "type": "scatter",
                     "mode": "lines", "name": "expected", "line": {"color": FAINT, "width": 7},
                     "opacity": 0.5, "hoverinfo": "skip"})  # fmt: skip
    data += [
        {**shown, "mode": "lines", "name": "decoded", "line": {"color": "#417cb4", "width": 1}},
        {**shown, "mode": "markers", "name": "probability", "showlegend": False,
         "marker": {**colours, "size": 5, "colorbar": {"title": {"text": "probability"}, "thickness": 10}}},
    ]  # fmt: skip
    bad = picture.track.rows[picture.deviating]
    if len(bad):
        data.append({"x": bad[:, 0], "y": bad[:, 1], "type": "scatter", "mode": "markers",
                     "name": "deviates", "marker": {"color": BAD, "size": 9, "symbol": "x"}})  # fmt: skip
    data.append({"x": [None], "y": [None], "type": "scatter", "mode": "markers", "name": "tool",
                 "marker": {"color": "black", "size": 13, "symbol": "circle-open"}})  # fmt: skip
    axis = {"title": {"text": "Y"}, "scaleanchor": "x"}
    return {
        "data": data,
        "layout": {**_layout("Tool path, XY"), "yaxis": axis, "xaxis": {"title": {"text": "X"}}},
    }


def solid(picture: Picture) -> dict[str, Any]:
    """The path in XYZ; last the tool."""
    x, y, z = picture.track.points.T
    line = {"color": picture.track.sure, "colorscale": SCALE, "cmin": 0, "cmax": 1, "width": 4}
    data: list[dict[str, Any]] = []
    if picture.expected is not None:
        ex, ey, ez = picture.expected.T
        data.append({"x": ex, "y": ey, "z": ez, "type": "scatter3d", "mode": "lines", "name": "expected",
                     "line": {"color": FAINT, "width": 8}, "opacity": 0.4, "hoverinfo": "skip"})  # fmt: skip
    data.append({"x": x, "y": y, "z": z, "type": "scatter3d", "mode": "lines", "name": "decoded",
                 "text": _escaped(picture.track.text), "line": line})  # fmt: skip
    data.append({"x": [None], "y": [None], "z": [None], "type": "scatter3d", "mode": "markers",
                 "name": "tool", "marker": {"color": "black", "size": 5}})  # fmt: skip
    return {"data": data, "layout": {**_layout("Tool path, XYZ"), "showlegend": False}}


def over_time(picture: Picture) -> dict[str, Any]:
    """Sensor traces of this recording over those of the known one, and the probability of each row."""
    data: list[dict[str, Any]] = []
    layout = {
        **_layout("Sensors (grey: the known recording), and the probability of each row"),
        "height": 130,
    }
    for place, (channel, (own, other)) in enumerate(picture.traces.items(), start=1):
        axis = "y" if place == 1 else f"y{place}"
        common = {
            "x": picture.seconds,
            "type": "scatter",
            "mode": "lines",
            "yaxis": axis,
            "showlegend": False,
        }
        data.append({**common, "y": other, "line": {"color": FAINT, "width": 1}, "hoverinfo": "skip"})
        data.append(
            {**common, "y": own, "line": {"color": "#2563a8", "width": 1}, "name": html.escape(channel)}
        )
    place = len(picture.traces) + 1
    data.append({"x": picture.seconds, "y": picture.sure, "type": "scatter", "mode": "lines",
                 "line": {"color": "#0f8a5f", "width": 1.5}, "yaxis": f"y{place}", "name": "probability",
                 "showlegend": False})  # fmt: skip
    share = 1 / place
    names = [*picture.traces, "probability"]
    for i, name in enumerate(names):
        low = 1 - (i + 1) * share
        key = "yaxis" if i == 0 else f"yaxis{i + 1}"
        title = {"text": html.escape(name).replace(".", "<br>"), "font": {"size": 10}}
        layout[key] = {
            "domain": [low + 0.02, low + share],
            "title": title,
            "anchor": "x",
            "showticklabels": False,
        }
    layout[f"yaxis{place}"] |= {"range": [0, 1.05], "showticklabels": True}
    layout["xaxis"] = {"title": {"text": "seconds"}, "anchor": f"y{place}"}
    layout["height"] = 90 * place + 90
    bad = np.flatnonzero(picture.deviating)
    layout["shapes"] = [_bar(0.0, 0.0, "black")]
    if len(bad):
        first, last = picture.seconds[bad[0]], picture.seconds[bad[-1]]
        layout["shapes"].append({**_bar(first, last, BAD), "type": "rect", "fillcolor": BAD, "opacity": 0.15})
    return {"data": data, "layout": layout}


def draw(picture: Picture, path: Path) -> None:
    """Draws XY and XYZ to a PNG, SVG or PDF file, by its ending."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    colours = LinearSegmentedColormap.from_list("probability", [(float(at), colour) for at, colour in SCALE])
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    flat_axes = figure.add_subplot(1, 2, 1)
    solid_axes = figure.add_subplot(1, 2, 2, projection="3d")
    points, sure = picture.track.points, picture.track.sure
    if picture.expected is not None:
        flat_axes.plot(
            *picture.expected[:, :2].T, color="0.8", linewidth=5, solid_capstyle="round", label="expected"
        )
        solid_axes.plot(*picture.expected.T, color="0.85", linewidth=3)
    pieces = np.stack([points[:-1, :2], points[1:, :2]], axis=1)
    lines = LineCollection(list(pieces), array=sure[1:], cmap=colours, clim=(0, 1), linewidth=1.2)
    flat_axes.add_collection(lines)
    flat_axes.autoscale()
    flat_axes.set_aspect("equal")
    flat_axes.set(xlabel="X", ylabel="Y")
    for start, stop in zip(*_stretches(sure), strict=True):
        solid_axes.plot(*points[start : stop + 1].T, color=colours(sure[start]), linewidth=0.9)
    bad = picture.track.rows[picture.deviating]
    if len(bad):
        flat_axes.plot(*bad[:, :2].T, "x", color=BAD, markersize=4, label="deviates")
    if picture.expected is not None or len(bad):
        flat_axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    solid_axes.set(xlabel="X", ylabel="Y", zlabel="Z")
    figure.colorbar(lines, ax=flat_axes, label="probability", shrink=0.8)
    figure.suptitle(picture.title, fontsize=7, wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def _stretches(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last indices of stretches of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    return np.concatenate([[0], edges]), np.concatenate([edges, [len(values) - 1]])


def _layout(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 14}, "x": 0.01, "xanchor": "left"},
        "margin": {"l": 60, "r": 10, "t": 40, "b": 40},
        "legend": {"orientation": "h", "y": -0.15, "yanchor": "top", "x": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "height": 460,
    }


def _bar(first: float, last: float, colour: str) -> dict[str, Any]:
    return {"type": "line", "x0": first, "x1": last, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": colour, "width": 1}}  # fmt: skip


def _escaped(texts: tuple[str, ...]) -> list[str]:
    return [html.escape(text) for text in texts]


def _json(content: Any) -> str:
    """JSON that can stand in a script; numbers that are not finite become null."""
    return json.dumps(_plain(content), separators=(",", ":")).replace("</", "<\\/")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
