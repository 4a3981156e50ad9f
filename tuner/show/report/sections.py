"""The sections of a report, for HTML and PDF."""

from __future__ import annotations

import contextlib
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from statistics import fmean

from tuner.base import plugins
from tuner.base.words import duration, in_words, slug
from tuner.claims import judge
from tuner.claims.encoding import word
from tuner.claims.material import Material, Study, Trial
from tuner.claims.verdict import WORDS
from tuner.claims.verdicts import Finding, findings
from tuner.show.report import cards as made
from tuner.show.report import claim_chart, figures, words
from tuner.show.report.blocks import Block, Card, Cards, Document, Section, Table, Text
from tuner.show.report.charts import MINOR, Bars, Chart, Plot, Spans

TOP = 10
ENVIRONMENT = ("optuna", "torch", "numpy", "scikit-learn", "matplotlib")


def document(material: Material) -> Document:
    """Builds the report: the answers first (a card for each study, verdicts on claims), then the studies.

    What a workload and the installed plugins add comes last. Plugins answer only for studies of their own.
    """
    alone = len(material.studies) == 1
    cards = [made.card(study, material) for study in material.studies]
    summary: list[Block] = [Text(words.campaign_sentences(material.studies, material)[:1]), Cards(cards)]
    if not alone:
        summary += [campaign_chart(material.studies, cards), overview(material)]
    sections = [Section("summary", "Summary", summary)]
    found = findings(material)
    if found:
        sections.append(Section("hypotheses", "Hypotheses", hypotheses(found)))
    sections += [study_section(study, material) for study in material.studies]
    sections += [section for added in plugins.hooks("sections") for section in added(material)]
    for study in material.studies:
        blocks = study.workload.sections(study, material.results)
        if blocks:
            sections.append(Section(f"errors-{slug(study.name)}", f"Errors of {study.name}'s winner", blocks))
    sections.append(Section("environment", "Environment", environment()))
    title = material.studies[0].name if alone else "Sweep summary"
    return Document(title, f"made {material.made:%Y-%m-%d %H:%M}", _joined(sections))


def campaign_chart(studies: Sequence[Study], cards: Sequence[Card]) -> Chart:
    """All studies in one figure: what each gained, and when its trials ran."""
    gains = [(f"{card.title} ({card.metric})", card.gain) for card in cards if card.gain is not None]
    plots: list[Plot] = []
    if gains:
        means = [mean for _, (mean, _, _) in gains]
        low = [mean if low is None else low for _, (mean, low, _) in gains]
        high = [mean if high is None else high for _, (mean, _, high) in gains]
        labels = [label for label, _ in gains]
        plots.append(
            Bars(labels, {"": means}, "gain over the default, in units of the metric", {"": low}, {"": high})
        )
    ran = [(i, t, stint) for i, s in enumerate(studies) for t in s.trials if t.ended for stint in t.stints]
    if ran:
        first = min(stint.started for _, _, stint in ran)
        start = [(stint.started - first).total_seconds() / 60 for _, _, stint in ran]
        length = [stint.minutes for _, _, stint in ran]
        text = [f"{studies[i].name}, trial {t.number} ({t.state})" for i, t, _ in ran]
        states = [t.state for _, t, _ in ran]
        plots.append(Spans([s.name for s in studies], [i for i, _, _ in ran], start, length, states, text))
    caption = (
        "Gain of each study's winner over the default configuration, with a 95 % interval where the noise "
        "between runs is known; and when its trials ran. Gains without an interval may be luck."
    )
    return Chart("campaign", "The campaign", caption, plots)


def _joined(sections: Sequence[Section]) -> list[Section]:
    """Joins sections with the same anchor, at the position of the first."""
    found: dict[str, Section] = {}
    for section in sections:
        before = found.get(section.anchor)
        blocks = [*(before.blocks if before else ()), *section.blocks]
        found[section.anchor] = replace(before or section, blocks=blocks)
    return list(found.values())


def study_section(study: Study, material: Material) -> Section:
    """The section of one study: text, best trials, charts and all trials."""
    blocks: list[Block] = [Text(words.study_sentences(study, material))]
    if study.ranked:
        blocks.append(best_table(study))
    for drawn in figures.charts(study) if study.trials else ():
        blocks.append(Text([drawn], aside=True) if isinstance(drawn, str) else drawn)
    if study.file.front and len(study.ranked) > 3:
        blocks.append(
            Table(
                ["parameter", "median objective (trials)", "PED-ANOVA", "fANOVA"],
                figures.sensitivity(study),
                "Sensitivity: medians over complete trials. The other parameters differ too.",
            )
        )
    if study.trials:
        blocks.append(trials_table(study))
    minor = sum(t.state in MINOR and t.value is not None for t in study.trials) if study.ranked else 0
    winner = None if study.winner is None else study.winner.number
    return Section(made.anchor(study), study.name, blocks, minor, winner)


def best_table(study: Study) -> Table:
    """The best trials with all searched parameters, the winner marked; what they share is in the caption."""
    best = list(study.ranked[:TOP])
    if study.winner is not None and study.winner not in best:
        best.append(study.winner)
    names = [n for n in study.searched if len({word(t.params.get(n)) for t in best}) > 1]
    names = names or study.searched
    same = {n: best[0].params.get(n) for n in study.searched if n not in names}
    constrained = any(t.violation for t in best)
    test = study.metric.replace("val/", "test/", 1)
    tested = test != study.metric and any(test in t.test for t in best)
    again = {t.number: found for t in best if (found := study.retrained(t.number))}
    headings = [
        "trial", study.metric,
        *(["on other seeds"] if again else []),
        *(["misses by"] if constrained else []),
        *([test] if tested else []),
        *names,
    ]  # fmt: skip
    rows = [
        [
            f"{t.number} ★ winner" if t is study.winner else str(t.number),
            f"{t.value:.4f}",
            *([_retrained(again.get(t.number, []))] if again else []),
            *([f"{t.violation:.3g}"] if constrained else []),
            *([f"{t.test[test]:.4f}" if test in t.test else "–"] if tested else []),
            *(word(t.params.get(n)) for n in names),
        ]
        for t in best
    ]
    note = "The best complete trials and the parameters in which they differ."
    if same:
        note += f" All of them have {in_words(same)}."
    if tested:
        note += " Metrics on the held-out test part are only shown; nothing is chosen by them."
    marked = frozenset(i for i, t in enumerate(best) if t is study.winner)
    return Table(headings, rows, note, trials=[t.number for t in best], marked=marked)


def _retrained(values: Sequence[float]) -> str:
    return f"{fmean(values):.4f} ({len(values)})" if values else "–"


def trials_table(study: Study) -> Table:
    """All trials, with parameters, folder and reason."""
    headings = ["trial", "state", study.metric, "epochs", "seconds", *study.searched, "folder", "note"]
    trials = sorted((*study.trials, *study.outside), key=lambda trial: trial.number)
    rows = [_trial_row(study, trial) for trial in trials]
    marked = frozenset(i for i, t in enumerate(trials) if t is study.winner)
    return Table(headings, rows, "All trials", [t.state for t in trials], [t.number for t in trials], marked)


def _trial_row(study: Study, trial: Trial) -> list[str]:
    return [
        str(trial.number),
        trial.state,
        "–" if trial.value is None else f"{trial.value:.4f}",
        str(trial.epochs),
        f"{trial.seconds:.1f}",
        *(word(trial.params.get(name)) for name in study.searched),
        trial.folder,
        trial.note,
    ]


def overview(material: Material) -> Table:
    """A table with one row per study."""
    rows = []
    for study in material.studies:
        winner, spent = study.winner, words.cost(study)
        answer = judge.of_study(study, material)
        rows.append(
            [
                study.name,
                f"{len(study.finished)}"
                + (f"/{study.attrs['run_cap']}" if study.attrs.get("run_cap") else ""),
                str(study.count("pruned")),
                str(study.count("failed")),
                "–" if winner is None else f"trial {winner.number}",
                answer.headline,
                duration(spent.seconds),
                duration(spent.saved_seconds) if spent.saved_epochs else "–",
            ]
        )
    headings = ["study", "finished", "pruned", "failed", "winner", "result", "spent", "saved by pruning"]
    return Table(headings, rows)


def verdict_counts(found: Sequence[Finding]) -> str:
    """`24 of 30 claims are decided: 9 as claimed, 8 no difference that matters …; 6 open`."""
    counts = Counter(f.verdict for f in found)
    parts = [f"{counts[v]} {WORDS[v]}" for v in WORDS if counts[v] and v != "open"]
    total = len(found) - counts["open"]
    text = f"{total} of {len(found)} claims are decided" + (f": {', '.join(parts)}" if parts else "")
    return text + (f"; {counts['open']} open" if counts["open"] else "")


def hypotheses(found: Sequence[Finding]) -> list[Block]:
    """The verdicts: a text that explains them, a figure of all intervals, a table."""
    intro = (
        f"{verdict_counts(found)}. Effects are improvements in the metric's unit, with 95 % intervals. Pairs "
        "of runs that were made for a claim give the best answer: their intervals stay valid however often "
        "you look. Next best are matched pairs of a study (trials that differ only in the claim's "
        "parameters). Otherwise a regression estimates the effect. That is a model, not an experiment. "
        "Intervals are per claim, not for all claims together."
    )
    rows = [
        [f.study, f.claim, f.words, f.sentence, str(f.pairs or "–"), f"{f.matters:g}", f.next_run or "–"]
        for f in found
    ]
    headings = ["study", "claim", "verdict", "in words", "pairs", "matters from", "would decide"]
    chart = claim_chart.chart(found)
    return [Text([intro]), *([chart] if chart is not None else []), Table(headings, rows)]


def environment() -> list[Block]:
    """The machine and the package versions that made the report."""
    rows = [["python", platform.python_version()], ["system", platform.platform()]]
    for name in ENVIRONMENT:
        with contextlib.suppress(PackageNotFoundError):
            rows.append([name, version(name)])
    return [Table(["environment", ""], rows)]
