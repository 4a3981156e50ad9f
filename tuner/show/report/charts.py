"""Charts as plain numbers. plotly draws them in HTML, matplotlib in PDF, and they are written as CSV.

Series differ in lightness and in marker or dash, so that they can be distinguished in grey.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Mode = Literal["line", "faint line", "step", "points", "faint"]


@dataclass(frozen=True)
class Series:
    """Points of one kind. `text`: one text per point, shown on hover."""

    name: str
    x: Sequence[Any]
    y: Sequence[float | None]
    mode: Mode = "points"
    text: Sequence[str] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        logx, logy: the axis is logarithmic.
        words: the values of x are words, in this order.
        square: both axes go from 0 to 1, with a diagonal.
    """

    series: Sequence[Series]
    x: str
    y: str
    title: str = ""
    logx: bool = False
    logy: bool = False
    words: Sequence[str] = ()
    square: bool = False


@dataclass(frozen=True)
class Bars:
    """Horizontal bars: one per label and group, with intervals if `low` and `high` are given."""

    labels: Sequence[str]
    groups: Mapping[str, Sequence[float]]
    x: str
    low: Mapping[str, Sequence[float]] = field(default_factory=dict)
    high: Mapping[str, Sequence[float]] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: line i crosses axis j at `heights[i][j]` in 0 … 1; None: it has no value there.

    Attributes:
        low, high: texts at the ends of each axis.
        values: the values as text.
        shade: 0 … 1 for each line; 1 is the best.
    """

    axes: Sequence[str]
    low: Sequence[str]
    high: Sequence[str]
    heights: Sequence[Sequence[float | None]]
    values: Sequence[Sequence[str]]
    shade: Sequence[float]
    text: Sequence[str]


@dataclass(frozen=True)
class Spans:
    """A timeline: one lane per agent, one bar per trial. `start` and `length` are in minutes."""

    lanes: Sequence[str]
    lane: Sequence[int]
    start: Sequence[float]
    length: Sequence[float]
    kind: Sequence[str]
    text: Sequence[str]


@dataclass(frozen=True)
class Surface:
    """A function of two parameters on a grid, `z[j][i]` at `(xs[i], ys[j])`, with the trials behind it."""

    xs: Sequence[float]
    ys: Sequence[float]
    z: Sequence[Sequence[float]]
    points: Series
    x: str
    y: str
    value: str
    title: str = ""
    logx: bool = False
    logy: bool = False
    x_words: Sequence[str] = ()
    y_words: Sequence[str] = ()


@dataclass(frozen=True)
class Matrix:
    """A table of counts: `counts[i][j]` for row i and column j. Shaded by the share within the row."""

    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[Sequence[int]]
    x: str
    y: str
    title: str = ""

    def shares(self) -> list[list[float]]:
        """Each count as a share of its row."""
        return [[n / max(1, sum(line)) for n in line] for line in self.counts]


Plot = Panel | Bars | Parallel | Spans | Surface | Matrix


@dataclass(frozen=True)
class Chart:
    """One figure with its caption. Several plots are drawn side by side. `slug` names its CSV file."""

    slug: str
    title: str
    caption: str
    plots: Sequence[Plot]


def write_csv(chart: Chart, folder: Path) -> Path:
    """Writes the chart's numbers to `folder/<slug>.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{chart.slug}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for plot in chart.plots:
            writer.writerows([[safe_cell(cell) for cell in row] for row in rows(plot)])
    return path


def safe_cell(value: Any) -> Any:
    """The value of a cell, escaped so that spreadsheets do not read it as a formula."""
    text = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if text else value


def rows(plot: Plot) -> Iterator[list[Any]]:
    """The plot's numbers, after a row of headings."""
    if isinstance(plot, Panel):
        yield ["series", plot.x, plot.y, "note"]
        for series in plot.series:
            yield from _series_rows(series)
    elif isinstance(plot, Bars):
        yield [plot.title or "label", "group", plot.x, "low", "high"]
        for group, values in plot.groups.items():
            low, high = plot.low.get(group, ()), plot.high.get(group, ())
            for i, (label, value) in enumerate(zip(plot.labels, values, strict=True)):
                yield [label, group, value, low[i] if low else "", high[i] if high else ""]
    elif isinstance(plot, Parallel):
        yield ["line", *plot.axes, "shade"]
        for text, words, shade in zip(plot.text, plot.values, plot.shade, strict=True):
            yield [text, *words, round(shade, 4)]
    elif isinstance(plot, Spans):
        yield ["agent", "start_minutes", "length_minutes", "state", "trial"]
        for i, lane in enumerate(plot.lane):
            yield [
                plot.lanes[lane],
                round(plot.start[i], 4),
                round(plot.length[i], 4),
                plot.kind[i],
                plot.text[i],
            ]
    elif isinstance(plot, Matrix):
        yield [plot.y, plot.x, "times"]
        for row, times in zip(plot.rows, plot.counts, strict=True):
            yield from ([row, column, n] for column, n in zip(plot.columns, times, strict=True) if n)
    else:
        yield [plot.x, plot.y, plot.value, "kind"]
        for y, line in zip(plot.ys, plot.z, strict=True):
            yield from ([x, y, round(z, 6), "surface"] for x, z in zip(plot.xs, line, strict=True))
        for i, text in enumerate(plot.points.text):
            yield [plot.points.x[i], plot.points.y[i], "", text]


def _series_rows(series: Series) -> Iterator[list[Any]]:
    for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        if y is None:
            continue
        yield [series.name, x, y, series.text[i] if series.text else ""]


def intervals(
    slug_: str, title: str, caption: str, labels: Sequence[str], found: Sequence[Mapping[str, Any]], x: str,
    *, scale: float = 1,
) -> Chart:  # fmt: skip
    """Means with their intervals as bars."""
    means = [scale * f["mean"] for f in found]
    low = [scale * (f["mean"] if f.get("low") is None else f["low"]) for f in found]
    high = [scale * (f["mean"] if f.get("high") is None else f["high"]) for f in found]
    return Chart(slug_, title, caption, [Bars(labels, {"": means}, x, {"": low}, {"": high})])
