"""A page with the decoded tool path in XY and XYZ, and a slider over time; and the same for print.

The page needs no network and no library: `picture.js` draws. Colours show the probability of each line. What
was expected lies below in grey, and rows that deviate are marked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader

from inference.check import Checked, sentence
from inference.check import short_title as short_answer
from inference.toolpath import Track, moves_of, track_of
from inference.whole import WholeRecording
from inference.whole_output import headline, short_title
from model.library import STEPS, Library
from model.matching import Query
from model.recordings import Recordings
from tuner.base.errors import InputError
from tuner.base.files import whole_file

HERE = Path(__file__).parent
TRACES = 4  # channels drawn below the path: those that agree most with the known recording
SCALE = ((0.0, "#c0392b"), (0.5, "#d97706"), (0.8, "#8fb1d3"), (1.0, "#0d447c"))
BAD = "#c0392b"
UNITS = {"G20": "in", "G21": "mm"}


@dataclass(frozen=True, eq=False)
class Picture:
    """What is drawn of one recording.

    Attributes:
        title: in a line; short: the same without reasons.
        unit: of the path, "" if unknown; track: the decoded path.
        expected: `(points, 3)` of the path that was expected, or None.
        seconds: `(rows,)`; traces: channel → its shape in each row, of this and of the known recording.
        sure: `(rows,)` probability; deviating: `(rows,)` bool.
    """

    title: str
    short: str
    unit: str
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
        short=short_title(one) if check is None else short_answer(check),
        unit=_unit(one),
        track=track,
        expected=path,
        seconds=seconds if np.isfinite(seconds).all() else np.arange(rows, dtype=np.float64),
        traces=_traces(Query.of(data, recording).shape, one, library, rows),
        lines=one.lines,
        sure=np.nan_to_num(one.probability),
        deviating=deviating,
    )


def _unit(one: WholeRecording) -> str:
    """The unit of the program's coordinates, by G20 or G21."""
    assert one.program is not None, "it has a path"
    words = [*one.program.setup.split(), *(word for line in one.program.lines for word in line.line.split())]
    return next((UNITS[word] for word in words if word in UNITS), "")


def _traces(
    shape: np.ndarray, one: WholeRecording, library: Library, rows: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The channels that agree most with the known recording, in its time."""
    k = library.named(one.like)
    assert k is not None, "it is in the library"
    other = library.shapes[library.known[k].span]
    at = np.round(one.clock.sensors_at(np.arange(len(shape)))).astype(int) + one.clock.before - one.delay
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
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True)
    page = environment.get_template("picture.html.j2").render(
        title=picture.title,
        content=_json(content(picture)),
        script=(HERE / "picture.js").read_text(encoding="utf-8"),
        scale=SCALE,
        expected=picture.expected is not None,
        deviates=bool(picture.deviating.any()),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_text(page, encoding="utf-8")


def content(picture: Picture) -> dict[str, Any]:
    """What `picture.js` draws."""
    return {
        "path": picture.track.points,
        "unit": picture.unit,
        "sure": picture.track.sure,
        "text": picture.track.text,
        "expected": picture.expected,
        "rows": picture.track.rows,
        "lines": picture.lines,
        "seconds": picture.seconds,
        "probability": picture.sure,
        "deviating": np.flatnonzero(picture.deviating),
        "traces": [(channel, own, other) for channel, (own, other) in picture.traces.items()],
        "scale": SCALE,
    }


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
    x, y, z = (f"{axis} ({picture.unit})" if picture.unit else axis for axis in "XYZ")
    flat_axes.set(xlabel=x, ylabel=y)
    for start, stop in zip(*_stretches(sure), strict=True):
        solid_axes.plot(*points[start : stop + 1].T, color=colours(sure[start]), linewidth=0.9)
    bad = picture.track.rows[picture.deviating]
    if len(bad):
        flat_axes.plot(*bad[:, :2].T, "x", color=BAD, markersize=4, label="deviates")
    if picture.expected is not None or len(bad):
        flat_axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    solid_axes.set(xlabel=x, ylabel=y, zlabel=z)
    limits = (solid_axes.get_xlim(), solid_axes.get_ylim(), solid_axes.get_zlim())
    solid_axes.set_box_aspect([high - low for low, high in limits], zoom=0.9)  # else the label of Z is cut
    solid_axes.locator_params(nbins=5)
    solid_axes.locator_params(axis="z", nbins=2)
    figure.colorbar(lines, ax=flat_axes, label="probability", shrink=0.8)
    figure.suptitle(picture.short, fontsize=9, wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def _stretches(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last indices of stretches of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    return np.concatenate([[0], edges]), np.concatenate([edges, [len(values) - 1]])


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
