"""Prints the report on a terminal: tables and small charts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from tuner.base.words import number, sparkline
from tuner.claims.material import Material, Study
from tuner.claims.verdict import Verdict
from tuner.claims.verdicts import Finding, findings
from tuner.show.report import cards as made
from tuner.show.report import importance, sections, trial_series, words
from tuner.show.report.blocks import Table
from tuner.show.status import summary
from tuner.show.status.answer import say

TOP = 10
BAR = 24  # width of a full bar
STYLES: dict[Verdict, str] = {
    "larger": "green", "as claimed": "green", "smaller": "yellow", "no difference": "yellow",
    "opposite": "red", "open": "dim",
}  # fmt: skip


def show(material: Material, console: Console) -> None:
    """Prints the campaign, each study, and the verdicts."""
    for line in words.campaign_sentences(material.studies, material):
        say(line, console)
    found = findings(material)
    if found:
        console.print(f"claims: {sections.verdict_counts(found)}", markup=False, soft_wrap=True)
    console.print()
    cards = [made.card(study, material) for study in material.studies]
    console.print(_table(sections.overview(cards)))
    for study in material.studies:
        console.print()
        show_study(study, material, console)
    if found:
        console.print()
        show_findings(found, console)


def show_study(study: Study, material: Material, console: Console) -> None:
    """Prints one study: text, best values, top 10, importances, pruned trials by epoch."""
    console.print(f"[bold]{escape(study.name)}[/]")
    for line in words.study_sentences(study, material):
        say(line, console)
    if not study.ranked:
        return
    complete = [t for t in study.trials if t.complete and t.value is not None]
    best = trial_series.best_so_far(study, complete)
    known = [value for value in best if not math.isnan(value)]
    spark = f"best so far  {sparkline(known)}  {number(known[0])} → {number(known[-1])}"
    console.print(f"{spark}, {len(best)} complete trials", markup=False, soft_wrap=True)
    ranks = [summary.Rank(i, t.frozen, t.params, t.config) for i, t in enumerate(study.ranked[:TOP], 1)]
    console.print(summary.best_table(ranks, study.file, width=console.width))
    found = importance.importances(study)
    if found.reason:
        console.print(f"no importances: {found.reason}", markup=False)
    else:
        console.print(_importances(found))
        if found.left_out:
            console.print(found.left_out, markup=False)
    pruned = _pruned_at(study)
    if pruned:
        console.print(f"pruned: {pruned}", markup=False)


def show_findings(found: Sequence[Finding], console: Console) -> None:
    """Prints each claim with its verdict, its effect and the data behind it."""
    console.print("[bold]hypotheses[/]")
    if not found:
        console.print("no study in this report has a hypothesis")
        return
    console.print(sections.verdict_counts(found), markup=False, soft_wrap=True)
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("study", "claim", "verdict", "effect [95 % interval]", "from"):
        table.add_column(heading)
    for f in found:
        effect = f"{f.interval()}\n[dim]{escape(f.metric)}[/]"
        basis = f"{escape(f.basis)}" + (f"\n[dim]to decide it: {escape(f.next_run)}[/]" if f.next_run else "")
        table.add_row(escape(f.study), escape(f.claim), f"[{STYLES[f.verdict]}]{f.words}[/]", effect, basis)
    console.print(table)


def _importances(found: importance.Importances) -> RichTable:
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="bold")
    columns = {"PED-ANOVA": found.ped_anova, **({} if found.left_out else {"fANOVA": found.fanova})}
    for heading in ("parameter", *columns):
        table.add_column(heading)
    for name in found.names:
        cells = [_bar(values.get(name)) for values in columns.values()]
        table.add_row(escape(name), *cells)
    return table


def _bar(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} {'█' * round(BAR * value)}".ljust(BAR + 5)


def _pruned_at(study: Study) -> str:
    ends = Counter(t.epochs for t in study.trials if t.state == "pruned")
    return summary.pruned_words(dict(sorted(ends.items())))


def _table(content: Table) -> RichTable:
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in content.headings:
        table.add_column(escape(heading))
    for row in content.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table
