"""Prints the sections of a report on a terminal: texts, tables, cards, and the charts that fit into lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tuner.base.words import number, sparkline
from tuner.claims.material import Material
from tuner.claims.verdicts import Finding
from tuner.show.console import fitting, say, say_whole, table
from tuner.show.report import blocks, figures, sections
from tuner.show.report.charts import Bars, Chart, Panel

TOP = 10  # trials
BAR = 24  # width of the longest bar
TONES = {"good": "bold green", "bad": "bold red"}


def show(material: Material, console: Console) -> None:
    """Prints the report."""
    document = sections.document(material, draw=figures.main_charts)
    console.print(Text(document.title, "bold").append(f"  {document.subtitle}", "dim not bold"))
    for section in document.sections:
        if not section.folded:
            console.print(Text(f"\n{section.title}", "bold"))
            show_blocks(section.blocks, console)


def show_findings(found: Sequence[Finding], console: Console) -> None:
    """Prints each claim with its verdict, its effect and the data behind it."""
    if found:
        show_blocks(sections.hypotheses(found), console)
    else:
        console.print("no study in this report has a hypothesis")


def show_blocks(shown: Sequence[blocks.Block], console: Console) -> None:
    """Prints the blocks of a section."""
    for block in shown:
        match block:
            case blocks.Text():
                for paragraph in block.paragraphs:
                    say(paragraph, console)
            case blocks.Table():
                _table(block.short(TOP), console)
            case blocks.Cards():
                for card in block.cards:
                    _card(card, console)
            case Chart():
                _chart(block, console)


def _table(shown: blocks.Table, console: Console) -> None:
    if shown.caption:
        say(shown.caption, console)
    if shown.rows:
        columns = list(zip(shown.headings, *shown.rows, strict=True))
        console.print(fitting(columns, console.width))


def _card(card: blocks.Card, console: Console) -> None:
    console.print(Text(card.verdict, TONES.get(card.tone, "bold")).append(f"  {card.state}", "dim not bold"))
    facts = table(("", "", ""), [(fact.title, fact.value, fact.note) for fact in card.facts])
    facts.show_header = False
    console.print(facts)
    say(card.real, console)
    say_whole(f"{card.todo}: {card.next}", console)
    if card.values:
        _table(card.values, console)


def _chart(chart: Chart, console: Console) -> None:
    """Bars, and the best value so far; other charts do not fit into lines."""
    for plot in chart.plots:
        if isinstance(plot, Bars) and not plot.low and len(plot.groups) <= 2:
            most = max((value for values in plot.groups.values() for value in values), default=0) or 1
            bars = ([_bar(value, most) for value in values] for values in plot.groups.values())
            say(f"{chart.title}. {chart.caption}", console)
            console.print(table(["", *plot.groups], zip(plot.labels, *bars, strict=True)))
        for series in plot.series if isinstance(plot, Panel) else ():
            known = [y for y in series.y if y is not None and not math.isnan(y)]
            if series.name == figures.BEST and known:
                best = f"{number(known[0])} → {number(known[-1])}, {len(series.y)} complete trials"
                say_whole(f"{series.name}  {sparkline(known)}  {best}", console)


def _bar(value: float, most: float) -> str:
    return f"{value:.3g} {'█' * round(BAR * value / most)}".ljust(BAR + 6)
