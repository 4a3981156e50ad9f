"""Writes the report as a PDF with A4 pages: vector figures in the page's colours, embedded fonts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages
from matplotlib.figure import Figure

from tuner.base.files import make_folder, whole_file
from tuner.show.report import matplotlib_charts
from tuner.show.report.blocks import Card, Cards, Document, Fact, Section, Table, Text
from tuner.show.report.charts import Chart, Heatmap, write_csv
from tuner.show.report.html import data_folder
from tuner.show.report.palette import LIGHT, short

PAPER = (8.27, 11.69)  # A4, inches
LEFT, RIGHT, TOP, BOTTOM = 0.75, 0.6, 0.7, 0.7  # margins, inches
WIDTH = PAPER[0] - LEFT - RIGHT
POINT = 1 / 72  # inches
TABLE_SIZE = 6.5  # points
LETTER = TABLE_SIZE * 0.6 * POINT  # average width of a letter in a table, in inches
LETTERS = int(WIDTH / LETTER)
BOLD = 1.2  # width of a bold letter, relative to a normal one
CHARACTERS = 112  # letters in a line of text
MOST_ROWS = 40  # longest table of trials; the HTML page and the CSV files have all rows
TURNED = 2  # a wide table is transposed if it has at most this many more rows than columns
MOST_CELL = 40  # lines of a cell
LEAST_TABLE = 0.9  # with less space (inches) on a page, a table begins on the next one
STYLE: Any = {
    "pdf.fonttype": 42,  # TrueType, embedded
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
}


def write(document: Document, path: Path) -> list[Path]:
    """Writes the PDF to `path` and the numbers of its charts to `<stem>_data/`. Returns all files."""
    folder = data_folder(path)
    written = [write_csv(chart, folder) for chart in document.charts()]
    make_folder(path.parent)
    with whole_file(path) as beside, mpl.rc_context(STYLE):  # noqa: SIM117
        with PdfPages(beside, metadata={"Title": document.title}) as pages:
            Pages(pages, document, folder.name).write()
    return [path, *written]


class Pages:
    """Places blocks on pages from top to bottom. `y`: the distance to the lower edge, in inches."""

    def __init__(self, pages: PdfPages, document: Document, data: str) -> None:
        self._pages = pages
        self._document = document
        self._data = data
        self._number = 0
        self.y = 0.0
        self._begin()

    def write(self) -> None:
        """Writes the whole document."""
        self._text(self._document.title, size=18, weight="bold")
        self._text(self._document.subtitle, colour="0.35")
        for section in self._document.sections:
            self._section(section)
        self._end()

    def _section(self, section: Section) -> None:
        if self.y < 3.5:
            self._turn()
        self.y -= 0.15
        self._text(section.title, size=13, weight="bold")
        for block in section.blocks:
            if isinstance(block, Text):
                for paragraph in block.paragraphs:
                    self._text(paragraph, colour="0.35" if block.aside else "black")
            elif isinstance(block, Table):
                self._table(block)
            elif isinstance(block, Cards):
                for card in block.cards:
                    self._card(card)
            else:
                self._chart(block)

    def _card(self, card: Card) -> None:
        if self.y < BOTTOM + 2.5:
            self._turn()
        verdict = f"{card.verdict[0].upper()}{card.verdict[1:]}"
        self._text(verdict, size=12, weight="bold", colour=LIGHT.get(card.tone, "black"), before=0.05)
        self._text(card.state, colour="0.35")
        self._facts(card.facts)
        self._text(card.real)
        if card.next:
            self._text(f"{card.todo}: {card.next}", weight="bold")
        if card.values:
            self._table(card.values)
        others = [f"{s.name} {s.value}" for s in card.settings if not (s.changed or s.searched)]
        if others:
            self._text(f"Not searched: {', '.join(others)}", size=6.5, colour="0.3")

    def _facts(self, facts: Sequence[Fact]) -> None:
        """The figures of a card, side by side."""
        self.y -= 0.08
        wide = WIDTH / max(4, len(facts))
        letters = int(wide / (7 * 0.58 * POINT))
        deepest = 1
        for i, fact in enumerate(facts):
            x, top, note = LEFT + i * wide, self.y, textwrap.wrap(fact.note, letters)
            self._put(x, fact.title, size=7, weight="normal", colour="0.35")
            self.y -= 0.14
            self._put(x, fact.value, size=15, weight="bold")
            self.y -= 0.26
            self._put(x, "\n".join(note), size=7, weight="normal", colour="0.35")
            self.y, deepest = top, max(deepest, len(note))
        self.y -= 0.5 + deepest * 7 * 1.2 * POINT

    def _chart(self, chart: Chart) -> None:
        height = matplotlib_charts.height(chart)
        if self.y - BOTTOM < height + 0.8:
            self._turn()
        self._text(chart.title, size=9.5, weight="bold", before=0.12)
        self._text(chart.caption, colour="0.3", size=7.5)
        columns = min(2, len(chart.plots))
        each = height / -(-len(chart.plots) // columns)
        wide = WIDTH / columns
        for i, plot in enumerate(chart.plots):
            row, column = divmod(i, columns)
            pad, under, over = matplotlib_charts.margins(plot, wide)
            left, bottom = LEFT + column * wide + 0.55, self.y - (row + 1) * each + under
            scale = 0.3 if isinstance(plot, Heatmap) else 0.0  # the numbers beside the colours
            box = np.array([left + pad, bottom, wide - 0.75 - pad - scale, each - under - over])
            axes = self._page.add_axes(tuple(box / (*PAPER, *PAPER)))
            matplotlib_charts.draw(plot, axes, wide=wide)
        self.y -= height
        self._text("numbers (CSV)", size=6.5, colour=LIGHT["link"], url=f"{self._data}/{chart.slug}.csv")

    def _table(self, table: Table) -> None:
        table = table.short(MOST_ROWS)
        headings, rows = list(table.headings), [[str(c) for c in row] for row in table.rows]
        note, marked = table.caption, table.marked
        if not rows:
            return
        wide = sum(_least(headings, rows)) > LETTERS and len(rows) <= len(headings) + TURNED
        if wide and not table.states:  # transposed
            headings, *rows = [list(column) for column in zip(headings, *rows, strict=True)]
            marked = frozenset()
        for part in _parts(headings, rows):
            self._columns([headings[i] for i in part], [[row[i] for i in part] for row in rows], note, marked)
            note = ""

    def _columns(
        self, headings: Sequence[str], rows: Sequence[Sequence[str]], note: str, marked: frozenset[int]
    ) -> None:
        if self.y - BOTTOM < LEAST_TABLE:
            self._turn()
        if note:
            self._text(note, colour="0.3", size=7.5, before=0.08)
        for line, cells in enumerate(_wrapped(headings, rows)):
            deepest = max(len(lines) for _, lines in cells)
            need = deepest * 8.2 * POINT + 0.045
            if self.y - need < BOTTOM:
                self._turn()
            weight = "bold" if line == 0 or line - 1 in marked else "normal"
            for x, lines in cells:
                self._put(LEFT + x, "\n".join(lines), size=TABLE_SIZE, weight=weight)
            self.y -= need
        self.y -= 0.06

    def _text(
        self, text: str, *, size: float = 8.5, weight: str = "normal", colour: str = "black",
        before: float = 0.0, url: str | None = None,
    ) -> None:  # fmt: skip
        lines = textwrap.wrap(text, int(CHARACTERS * 8.5 / size), break_long_words=True) or [""]
        step = size * 1.35 * POINT
        self.y -= before
        for line in lines:
            if self.y - step < BOTTOM:
                self._turn()
            self._put(LEFT, line, size=size, weight=weight, colour=colour, url=url)
            self.y -= step
        self.y -= 0.03

    def _put(
        self, x: float, text: str, *, size: float, weight: str, colour: str = "black", url: str | None = None
    ) -> None:
        self._page.text(
            x / PAPER[0], self.y / PAPER[1], text, fontsize=size, fontweight=weight, color=colour,
            va="top", linespacing=1.15, url=url, parse_math=False,
        )  # fmt: skip

    def _begin(self) -> None:
        self._page: Any = Figure(figsize=PAPER)
        FigureCanvasPdf(self._page)
        self._number += 1
        self.y = PAPER[1] - TOP

    def _turn(self) -> None:
        self._end()
        self._begin()

    def _end(self) -> None:
        foot = {"fontsize": 7, "color": "0.4"}
        right = 1 - RIGHT / PAPER[0]
        self._page.text(right, 0.35 / PAPER[1], str(self._number), ha="right", **foot)
        self._page.text(LEFT / PAPER[0], 0.35 / PAPER[1], self._document.title, **foot)
        self._pages.savefig(self._page)


def _wrapped(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[tuple[float, list[str]]]]:
    """The cells of each row as `(x in inches, lines)`. Column widths depend on the content."""
    widths = _widths(headings, rows)
    starts = [sum(widths[:j]) * LETTER for j in range(len(widths))]
    found = []
    for row, bold in [([short(text, 40) for text in headings], BOLD), *((row, 1.0) for row in rows)]:
        letters = [max(3, int((width - 1) / bold)) for width in widths]
        lines = [
            textwrap.wrap(cell, most)[:MOST_CELL] or [""] for cell, most in zip(row, letters, strict=True)
        ]
        found.append(list(zip(starts, lines, strict=True)))
    return found


def _parts(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[int]]:
    """The columns in parts that fit the page, each with the first column."""
    least = _least(headings, rows)
    parts = [[0]]
    for i in range(1, len(headings)):
        if len(parts[-1]) > 1 and sum(least[j] for j in parts[-1]) + least[i] > LETTERS:
            parts.append([0])
        parts[-1].append(i)
    return parts


def _least(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The smallest width of each column in letters: its longest word, or 12 for longer texts."""
    found = []
    for heading, *cells in zip(headings, *rows, strict=True):
        word = max((len(word) for cell in cells for word in cell.split()), default=0)
        title = max((len(word) for word in heading.split()), default=0)
        longest = max(map(len, cells), default=0)
        found.append(min(max(word, round(title * BOLD), min(longest, 12)), 30) + 2)
    return found


def _widths(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column in letters: its smallest width, plus a share of the rest by its content."""
    least = _least(headings, rows)
    longest = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    wanted = [max(n, min(most, 150) + 2) for n, most in zip(least, longest, strict=True)]
    if sum(wanted) <= LETTERS:
        return wanted
    room = LETTERS - sum(least)
    if room <= 0:
        return [max(5, int(n * LETTERS / sum(least))) for n in least]
    more = [w - n for w, n in zip(wanted, least, strict=True)]
    return [n + int(room * m / sum(more)) for n, m in zip(least, more, strict=True)]
