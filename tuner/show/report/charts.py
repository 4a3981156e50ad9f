"""Charts as plain numbers. `charts.js` draws them in HTML, matplotlib in PDF, and they are written as CSV.

Series differ in colour and in marker or dash, so that they can be distinguished in grey.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from tuner.base.files import make_folder, whole_file

Mode = Literal["line", "faint line", "step", "points", "faint"]
MINOR = ("pruned", "failed", "interrupted", "paused")  # states of trials that were not completed


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        text: one text per point, shown on hover; one alone is for all.
        trials: the trial of each point; one alone is for all. Charts and tables of a study are linked by it.
        shade: 0 … 1 for each point, the best is 1; the points are coloured by it.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[float | None]
    mode: Mode = "points"
    text: Sequence[str] = ()
    trials: Sequence[int] = ()
    shade: Sequence[float] = ()

    @property
    def notes(self) -> Sequence[str]:
        """A text for each point; [] without any."""
        return list(self.text) * len(self.x) if len(self.text) == 1 else self.text

    @property
    def minor(self) -> bool:
        """Axes do not stretch for it, and it is hidden on the page until a reader asks for it."""
        return self.name in MINOR


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        logx, logy: the axis is logarithmic.
        words: the values of x are words, in this order.
        square: both axes go from 0 to 1, with a diagonal.
        equal: a unit has the same length on both axes.
    """

    series: Sequence[Series]
    x: str
    y: str
    title: str = ""
    logx: bool = False
    logy: bool = False
    words: Sequence[str] = ()
    square: bool = False
    equal: bool = False

    def span(self, of: Literal["x", "y"]) -> tuple[float, float] | None:
        """The smallest and largest number on an axis, of complete trials where there are some."""
        for some in ([s for s in self.series if not s.minor], self.series):
            values = [v for s in some for v in getattr(s, of) if isinstance(v, int | float) and v == v]
            if values:
                return min(values), max(values)
        return None


@dataclass(frozen=True)
class Bars:
    """Horizontal bars: one per label and group; points with intervals if `low` and `high` are given."""

    labels: Sequence[str]
    groups: Mapping[str, Sequence[float]]
    x: str
    low: Mapping[str, Sequence[float]] = field(default_factory=dict)
    high: Mapping[str, Sequence[float]] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True)
class Axis:
    """An axis of parallel coordinates, from `low` (height 0) to `high` (height 1).

    Attributes:
        words: what the axis has in place of numbers, at the same distances.
    """

    name: str
    low: float
    high: float
    log: bool = False
    words: Sequence[str] = ()

    @property
    def ends(self) -> tuple[str, str]:
        """The texts at both ends."""
        if self.words:
            return self.words[0], self.words[-1]
        return f"{self.low:.4g}", f"{self.high:.4g}"


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: line i crosses axis j at `heights[i][j]` in 0 … 1; None: it has no value there.

    Attributes:
        values: the values as text. text, trials: of each line.
        shade: 0 … 1 for each line; 1 is the best. ends: what the colours of 0 and 1 mean.
    """

    axes: Sequence[Axis]
    heights: Sequence[Sequence[float | None]]
    values: Sequence[Sequence[str]]
    shade: Sequence[float]
    text: Sequence[str]
    trials: Sequence[int]
    ends: tuple[str, str]


@dataclass(frozen=True)
class Spans:
    """A timeline: one bar per trial. `start` and `length` are in minutes."""

    lanes: Sequence[str]
    lane: Sequence[int]
    start: Sequence[float]
    length: Sequence[float]
    kind: Sequence[str]
    text: Sequence[str]
    trials: Sequence[int] = ()


@dataclass(frozen=True)
class Heatmap:
    """A function of two parameters on a grid, `z[j][i]` at `(xs[i], ys[j])`, with the trials behind it.

    Attributes:
        minimize: small values are the good ones.
    """

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
    minimize: bool = False


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


Plot = Panel | Bars | Parallel | Spans | Heatmap | Matrix


@dataclass(frozen=True)
class Chart:
    """One figure with its caption. Several plots are drawn side by side. `slug` names its CSV file.

    Attributes:
        half: two such charts may stand side by side.
    """

    slug: str
    title: str
    caption: str
    plots: Sequence[Plot]
    half: bool = False


def write_csv(chart: Chart, folder: Path) -> Path:
    """Writes the chart's numbers to `folder/<slug>.csv`."""
    make_folder(folder)
    path = folder / f"{chart.slug}.csv"
    with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for plot in chart.plots:
            writer.writerows([[safe_cell(cell) for cell in row] for row in rows(plot)])
    return path


def safe_cell(value: Any) -> Any:
    """The value of a cell, escaped so that spreadsheets do not read it as a formula."""
    text = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if text else value


def rows(plot: Plot) -> Iterator[Sequence[Any]]:
    """The plot's numbers, after a row of headings."""
    match plot:
        case Panel():
            yield "series", plot.x, plot.y, "note"
            for series in plot.series:
                points = zip_longest(series.x, series.y, series.notes, fillvalue="")
                yield from ((series.name, x, y, note) for x, y, note in points if y is not None)
        case Bars():
            yield plot.title or "label", "group", plot.x, "low", "high"
            for group, values in plot.groups.items():
                ends = (plot.low.get(group, ()), plot.high.get(group, ()))
                for label, value, low, high in zip_longest(plot.labels, values, *ends, fillvalue=""):
                    yield label, group, value, low, high
        case Parallel():
            yield "line", *(axis.name for axis in plot.axes), "shade"
            for text, words, shade in zip(plot.text, plot.values, plot.shade, strict=True):
                yield text, *words, round(shade, 4)
        case Spans():
            yield "lane", "start_minutes", "length_minutes", "state", "trial"
            for lane, start, length, kind, text in zip(
                plot.lane, plot.start, plot.length, plot.kind, plot.text, strict=True
            ):
                yield plot.lanes[lane], round(start, 4), round(length, 4), kind, text
        case Matrix():
            yield plot.y, plot.x, "times"
            for row, times in zip(plot.rows, plot.counts, strict=True):
                yield from ((row, column, n) for column, n in zip(plot.columns, times, strict=True) if n)
        case Heatmap():
            yield plot.x, plot.y, plot.value, "kind"
            for y, line in zip(plot.ys, plot.z, strict=True):
                yield from ((x, y, round(z, 6), "surface") for x, z in zip(plot.xs, line, strict=True))
            trials = plot.points
            yield from ((x, y, "", t) for x, y, t in zip(trials.x, trials.y, trials.text, strict=True))


def interval_bars(labels: Sequence[str], found: Sequence[Sequence[float | None]], x: str) -> Bars:
    """Means with their intervals, each `(mean, low, high)`; None: it is not known."""
    mean, low, high = ([one[0] if one[i] is None else one[i] for one in found] for i in range(3))
    return Bars(labels, {"": mean}, x, {"": low}, {"": high})  # type: ignore[dict-item]
