"""Draws charts with matplotlib, in the page's colours. Markers, dashes and hatches make grey prints work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import ListedColormap
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from tuner.show.report import palette
from tuner.show.report.charts import Bars, Chart, Heatmap, Matrix, Panel, Parallel, Plot, Series, Spans
from tuner.show.report.palette import FAINT, INK, ramp

HATCHES = ("", "///", "...", "xxx", "---")
MARKERS = ("o", "D", "s", "^", "X")
DASHES = ("-", "--", ":", "-.")
MANY = 60  # so many bars of a timeline have no edges
FEW = 20  # lines with at most this many points get markers
LETTER = 0.058  # width of a letter of a tick label, in inches
TICK = 0.5  # inches that a tick label of numbers needs
GAP = 2.0  # least distance of two tick labels, in points


def short(text: str, most: int = 22) -> str:
    """`text`, its middle left out if it is too long, and escaped so that matplotlib reads no mathematics."""
    return palette.short(text, most).replace("$", r"\$")


def height(chart: Chart) -> float:
    """The height of the chart's plots in inches."""
    rows, first = -(-len(chart.plots) // 2), chart.plots[0]
    if isinstance(first, Bars):
        most = max(len(p.labels) * (1 + len(p.groups)) for p in chart.plots if isinstance(p, Bars))
        return rows * min(8.0, max(1.7, 0.85 + 0.075 * most))
    if isinstance(first, Spans):
        return 1.2 + 0.25 * len(first.lanes)
    if isinstance(first, Matrix):
        most = max(len(p.rows) for p in chart.plots if isinstance(p, Matrix))
        return rows * min(4.5, max(1.8, 1.0 + 0.17 * most))
    return rows * 2.6


def letters(wide: float) -> int:
    """The longest label of a bar in a plot that is `wide` inches, in letters."""
    return int(0.5 * wide / LETTER)


def margins(plot: Plot, wide: float) -> tuple[float, float, float]:
    """Margins around the axes in inches: left (more for long labels), bottom, top (title and legend)."""
    labels: Sequence[str] = ()
    slanted, over = False, 0.2
    match plot:
        case Bars():
            labels = plot.labels
        case Spans():
            labels = plot.lanes
        case Heatmap():
            labels = plot.y_words
        case Matrix():
            labels, slanted = plot.rows, len(plot.columns) > 6
        case Parallel():
            slanted = True
        case Panel():
            slanted, over = _slanted(plot), 0.32 if _legend_columns(plot) == 2 else 0.2
    most = letters(wide) if isinstance(plot, Bars) else 22
    longest = max((len(short(label, most)) for label in labels), default=0)
    over += 0.14 if getattr(plot, "title", "") else 0
    return max(0.0, LETTER * longest - 0.3), 0.72 if slanted else 0.5, over


def _legend_columns(panel: Panel) -> int:
    """The number of legend columns: all names in a row, or two if names are long."""
    names = dict.fromkeys(series.name for series in panel.series)
    return 2 if sum(len(name) + 6 for name in names) > 58 else len(names)


def _slanted(panel: Panel) -> bool:
    return len(panel.words) > 4 or sum(len(short(w, 14)) for w in panel.words) > 30


def draw(plot: Plot, axes: Any, *, wide: float) -> None:
    """Draws the plot on `axes`, in a space that is `wide` inches. No tick label overlaps another."""
    axes.tick_params(labelsize=6.5, width=0.5)
    room = axes.get_position().width * axes.figure.get_figwidth()
    axes.xaxis.set_major_locator(MaxNLocator(max(2, int(room / TICK))))
    if isinstance(plot, Bars):
        _bars(plot, axes, wide)
    else:
        DRAW[type(plot)](plot, axes)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log" or isinstance(axis.get_major_locator(), FixedLocator):
            thin(axis)


def thin(axis: Any) -> None:
    """Hides tick labels that would overlap the label before them."""
    renderer = RendererAgg(8, 8, axis.figure.dpi)  # type: ignore[no-untyped-call]
    end = -np.inf
    boxes = [
        (label, label.get_window_extent(renderer)) for label in axis.get_ticklabels() if label.get_text()
    ]
    flat = axis.axis_name == "x"
    if flat and any(label.get_rotation() for label, _ in boxes):
        return  # slanted labels stand side by side
    for label, box in sorted(boxes, key=lambda pair: pair[1].x0 if flat else pair[1].y0):
        low, high = (box.x0, box.x1) if flat else (box.y0, box.y1)
        if low < end + GAP:
            label.set_visible(False)
        else:
            end = high


def _panel(panel: Panel, axes: Any) -> None:
    named: set[str] = set()
    words = list(panel.words)
    for series in panel.series:
        label = None if series.name in named else series.name
        named.add(series.name)
        xs = [words.index(str(x)) for x in series.x] if words else list(series.x)
        _series(series, xs, axes, label, place=len(named) - 1)
    if panel.logx:
        _log(axes.xaxis)
    elif not words and all(isinstance(x, int) for series in panel.series for x in series.x):
        axes.xaxis.get_major_locator().set_params(integer=True)  # trials, epochs, members
    if panel.logy:
        _log(axes.yaxis)
    if words:
        slant = {"rotation": 25, "ha": "right"} if _slanted(panel) else {}
        axes.set_xticks(range(len(words)), [short(w, 14) for w in words], **slant)
    if panel.square:
        axes.plot([0, 1], [0, 1], ":", color=FAINT, lw=0.7, zorder=0)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    if panel.equal:
        axes.set_aspect("equal", adjustable="datalim")
    if not (panel.square or panel.equal):
        if not words:
            _limit(axes.set_xlim, panel.span("x"), log=panel.logx)
        _limit(axes.set_ylim, panel.span("y"), log=panel.logy)
    _named(axes, panel.x, panel.y, panel.title)
    if len(named) > 1 or palette.MISSES in named:
        _legend(axes, _legend_columns(panel))


def _limit(limits: Callable[[float, float], object], span: tuple[float, float] | None, *, log: bool) -> None:
    """Sets the ends of an axis, with a margin."""
    low, high = span or (0.0, 0.0)
    if log and 0 < low < high:
        limits(low / (high / low) ** 0.04, high * (high / low) ** 0.04)
    elif not log and low < high:
        limits(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _series(series: Series, xs: list[Any], axes: Any, label: str | None, *, place: int) -> None:
    colour = palette.LIGHT[palette.of_series(series.name, place)]
    marker = "*" if series.name == "winner" else MARKERS[palette.mark(series.name, place)]
    ys = [np.nan if y is None else y for y in series.y]
    told = series.name in palette.STATES or series.name in palette.GREY  # many lines of one kind
    dot = marker if len(xs) == 1 or (len(xs) <= FEW and not told) else None
    dash = ":" if series.name == palette.MISSES else "-" if told else DASHES[place % len(DASHES)]
    if series.mode == "line":
        width = 1.8 if series.name == "winner" else 0.9
        axes.plot(xs, ys, marker=dot, color=colour, ls=dash, lw=width, ms=2.5, label=label)
    elif series.mode == "faint line":
        axes.plot(xs, ys, marker=dot, color=colour, ls=dash, lw=0.5, ms=2, alpha=0.7, label=label, zorder=1)
    elif series.mode == "step":
        axes.step(xs, ys, where="post", color=colour, lw=1.3, label=label)
    elif series.mode == "faint":
        axes.plot(xs, ys, "o", mfc="none", mec=colour, mew=0.6, ms=3, label=label, zorder=1)
    elif series.shade:
        colours = [ramp(shade) for shade in series.shade]
        axes.scatter(xs, ys, c=colours, s=14, marker=marker, edgecolors="0.4", linewidths=0.3, label=label)
    elif series.name == "winner":
        axes.plot(xs, ys, "*", color=colour, mec=INK, mew=0.5, ms=9, label=label, zorder=4)
    else:
        axes.plot(xs, ys, marker=marker, color=colour, ms=3.2, ls="", label=label)


def _bars(bars: Bars, axes: Any, wide: float) -> None:
    count = max(1, len(bars.groups))
    thick = 0.8 / count
    places = np.arange(len(bars.labels))
    for i, (group, values) in enumerate(bars.groups.items()):
        colour = palette.LIGHT[palette.of_series(group, i)]
        here = places + (i - (count - 1) / 2) * thick
        if group in bars.low:
            errors = np.abs(np.array([bars.low[group], bars.high[group]], dtype=float) - np.array(values))
            axes.errorbar(
                values, here, xerr=errors, fmt=MARKERS[i % len(MARKERS)], color=colour, ms=3, lw=0.9,
                capsize=1.8, label=short(group) or None,
            )  # fmt: skip
        else:
            axes.barh(here, values, thick * 0.92, color=colour, label=short(group) or None,
                      hatch=HATCHES[i % len(HATCHES)], edgecolor="white", lw=0)  # fmt: skip
    if bars.low:
        axes.axvline(0, color="0.6", lw=0.6, zorder=0)
    most = letters(wide)
    axes.set_yticks(places, [short(label, most) for label in bars.labels])
    axes.set_ylim(-0.6, len(places) - 0.4)
    axes.invert_yaxis()
    _named(axes, bars.x, "", bars.title)
    if count > 1:
        _legend(axes, min(count, 6))


def _parallel(plot: Parallel, axes: Any) -> None:
    for heights, shade in zip(plot.heights, plot.shade, strict=True):
        ys = [np.nan if h is None else h for h in heights]
        axes.plot(range(len(ys)), ys, color=ramp(shade), lw=0.4 + 0.9 * shade**4, alpha=0.9)
    for i in range(len(plot.axes)):
        axes.axvline(i, color="0.5", lw=0.5, zorder=0)
        low, high = plot.axes[i].ends
        axes.text(i, -0.03, short(low, 11), fontsize=5.5, ha="center", va="top")
        axes.text(i, 1.03, short(high, 11), fontsize=5.5, ha="center", va="bottom")
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([])
    axes.set_xticks(range(len(plot.axes)), [short(a.name, 18) for a in plot.axes], rotation=20, ha="right")
    axes.tick_params(axis="x", pad=9, length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _spans(plot: Spans, axes: Any) -> None:
    for kind in dict.fromkeys(plot.kind):
        some = [i for i, k in enumerate(plot.kind) if k == kind]
        colour = palette.LIGHT[palette.of_series(kind, 0)]
        axes.barh(
            [plot.lane[i] for i in some], [plot.length[i] for i in some], left=[plot.start[i] for i in some],
            height=0.7, color=colour, edgecolor="white", lw=0.3 if len(plot.kind) < MANY else 0, label=kind,
        )  # fmt: skip
    axes.set_yticks(range(len(plot.lanes)), [short(lane) for lane in plot.lanes])
    axes.invert_yaxis()
    _named(axes, "minutes", "", "")
    _legend(axes, 3)


def _surface(plot: Heatmap, axes: Any) -> None:
    z = np.array(plot.z)
    mesh = axes.pcolormesh if min(z.shape) < 2 or plot.x_words or plot.y_words else axes.contourf
    options = {"shading": "nearest"} if mesh == axes.pcolormesh else {"levels": 10}
    colours = ListedColormap(palette.RAMP[::-1] if plot.minimize else palette.RAMP)
    drawn = mesh(plot.xs, plot.ys, z, cmap=colours, **options)
    axes.plot(plot.points.x, plot.points.y, "o", mfc="white", mec="black", mew=0.5, ms=2.8)
    if plot.logx:
        _log(axes.xaxis)
    if plot.logy:
        _log(axes.yaxis)
    if plot.x_words:
        axes.set_xticks(range(len(plot.x_words)), [short(w, 14) for w in plot.x_words])
    if plot.y_words:
        axes.set_yticks(range(len(plot.y_words)), [short(w, 14) for w in plot.y_words])
    bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=5.5, width=0.4)
    _named(axes, plot.x, plot.y, plot.title)


def _matrix(plot: Matrix, axes: Any) -> None:
    shares = np.array(plot.shares())
    axes.pcolormesh(
        shares, cmap=ListedColormap(palette.RAMP), vmin=0, vmax=1, edgecolors="white", linewidth=0.5
    )
    for i, line in enumerate(plot.counts):
        for j, count in enumerate(line):
            if count:
                colour = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j + 0.5, i + 0.5, str(count), ha="center", va="center", fontsize=5, color=colour)
    places = np.arange(len(plot.columns)) + 0.5
    axes.set_xticks(places, [short(c, 14) for c in plot.columns], rotation=45 if len(places) > 6 else 0)
    axes.set_yticks(np.arange(len(plot.rows)) + 0.5, [short(r) for r in plot.rows])
    axes.invert_yaxis()
    _named(axes, plot.x, plot.y, plot.title)


def _log(axis: Any) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5."""
    axis._set_axes_scale("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(axes: Any, columns: int) -> None:
    axes.legend(fontsize=6, frameon=False, ncols=columns, loc="lower right", bbox_to_anchor=(1, 0.99))


def _named(axes: Any, x: str, y: str, title: str) -> None:
    axes.set_xlabel(short(x, 60), fontsize=7)
    axes.set_ylabel(short(y, 40), fontsize=7)
    if title:
        pad = 13 if len(axes.get_legend_handles_labels()[1]) > 1 else 4  # above the legend
        axes.set_title(short(title, 60), fontsize=7.5, loc="left", pad=pad)


DRAW: dict[type[Plot], Callable[[Any, Any], None]] = {
    Panel: _panel, Parallel: _parallel, Spans: _spans, Matrix: _matrix, Heatmap: _surface,
}  # fmt: skip
