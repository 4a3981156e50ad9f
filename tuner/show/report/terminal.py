"""Prints the report on a terminal: tables and small charts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tuner.base.words import number, sparkline
from tuner.claims.material import Material, Study
from tuner.claims.verdict import Verdict
from tuner.claims.verdicts import Finding, findings
from tuner.show.console import say, say_whole, table
from tuner.show.report import cards as made
from tuner.show.report import importance, sections, trial_series, words
from tuner.show.status import Rank, best_table
from tuner.show.summary import pruned_words

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
        say_whole(f"claims: {sections.verdict_counts(found)}", console)
    console.print()
    overview = sections.overview([made.card(study, material) for study in material.studies])
    console.print(table(overview.headings, overview.rows))
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
    best = trial_series.best_so_far(study, [t for t in study.trials if t.complete and t.value is not None])
    known = [value for value in best if not math.isnan(value)]
    spark = f"best so far  {sparkline(known)}  {number(known[0])} → {number(known[-1])}"
    say_whole(f"{spark}, {len(best)} complete trials", console)
    ranks = [Rank(i, t.frozen, t.params, t.config) for i, t in enumerate(study.ranked[:TOP], 1)]
    console.print(best_table(ranks, study.file, width=console.width))
    found = importance.importances(study)
    if found.reason:
        console.print(f"no importances: {found.reason}", markup=False)
    else:
        console.print(_importances(found))
        if found.left_out:
            console.print(found.left_out, markup=False)
    ends = Counter(t.epochs for t in study.trials if t.state == "pruned")
    if ends:
        console.print(f"pruned: {pruned_words(dict(sorted(ends.items())))}", markup=False)


def show_findings(found: Sequence[Finding], console: Console) -> None:
    """Prints each claim with its verdict, its effect and the data behind it."""
    console.print("[bold]hypotheses[/]")
    if not found:
        console.print("no study in this report has a hypothesis")
        return
    say_whole(sections.verdict_counts(found), console)
    rows = []
    for f in found:
        effect = Text(f.interval()).append(f"\n{f.metric}", "dim")
        basis = Text(f.basis).append(f"\nto decide it: {f.next_run}" if f.next_run else "", "dim")
        rows.append((f.study, f.claim, Text(f.words, STYLES[f.verdict]), effect, basis))
    console.print(table(("study", "claim", "verdict", "effect [95 % interval]", "from"), rows))


def _importances(found: importance.Importances) -> Table:
    columns = {"PED-ANOVA": found.ped_anova, **({} if found.left_out else {"fANOVA": found.fanova})}
    rows = ([name, *(_bar(values.get(name)) for values in columns.values())] for name in found.names)
    return table(["parameter", *columns], rows)


def _bar(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} {'█' * round(BAR * value)}".ljust(BAR + 5)
