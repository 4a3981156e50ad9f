"""The sections of a report, for HTML and PDF."""

from __future__ import annotations

import contextlib
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from tuner.base import plugins
from tuner.base.words import duration, slug
from tuner.claims.encoding import word
from tuner.claims.material import Material, Study, Trial
from tuner.claims.verdict import WORDS
from tuner.claims.verdicts import Finding, findings
from tuner.show.report import claim_chart, figures, words
from tuner.show.report.blocks import Block, Document, Section, Table, Text

TOP = 10
ENVIRONMENT = ("optuna", "torch", "numpy", "scikit-learn", "matplotlib", "plotly")


def document(material: Material) -> Document:
    """Builds the report: what is known first (gains, verdicts on claims), then studies and plugins."""
    alone = len(material.studies) == 1
    summary: list[Block] = [Text(words.campaign_sentences(material.studies)), overview(material)]
    sections = [
        Section("summary", "Summary", summary),
        Section("hypotheses", "Hypotheses", hypotheses(findings(material))),
    ]
    sections += [study_section(study) for study in material.studies]
    sections += [section for added in plugins.hooks("sections") for section in added(material)]
    for study in material.studies:
        blocks = study.workload.sections(study, material.results)
        if blocks:
            sections.append(Section(f"errors-{slug(study.name)}", f"Errors of {study.name}'s winner", blocks))
    sections.append(Section("environment", "Environment", environment()))
    title = material.studies[0].name if alone else "Sweep summary"
    return Document(title, f"made {material.made:%Y-%m-%d %H:%M}", _joined(sections))


def _joined(sections: Sequence[Section]) -> list[Section]:
    """Joins sections with the same anchor, at the position of the first."""
    found: dict[str, Section] = {}
    for section in sections:
        before = found.get(section.anchor)
        blocks = [*(before.blocks if before else ()), *section.blocks]
        found[section.anchor] = replace(before or section, blocks=blocks)
    return list(found.values())


def study_section(study: Study) -> Section:
    """The section of one study: text, best trials, charts and all trials."""
    blocks: list[Block] = [Text(words.study_sentences(study))]
    if study.ranked:
        blocks.append(best_table(study))
    for made in figures.charts(study) if study.trials else ():
        blocks.append(Text([made], aside=True) if isinstance(made, str) else made)
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
    return Section(f"study-{slug(study.name)}", study.name, blocks)


def best_table(study: Study) -> Table:
    """The best trials with the parameters in which they differ."""
    best = study.ranked[:TOP]
    names = [n for n in study.searched if len({word(t.params.get(n)) for t in best}) > 1]
    names = names or study.searched
    constrained = any(t.violation for t in best)
    test = study.metric.replace("val/", "test/", 1)
    tested = test != study.metric and any(test in t.test for t in best)
    headings = [
        "trial",
        study.metric,
        *(["misses by"] if constrained else []),
        *([test] if tested else []),
        *names,
    ]
    rows = [
        [
            str(t.number),
            f"{t.value:.4f}",
            *([f"{t.violation:.3g}"] if constrained else []),
            *([f"{t.test[test]:.4f}" if test in t.test else "–"] if tested else []),
            *(word(t.params.get(n)) for n in names),
        ]
        for t in best
    ]
    note = "The best complete trials and the parameters in which they differ."
    if tested:
        note += " Metrics on test are only shown; they choose nothing."
    return Table(headings, rows, note)


def trials_table(study: Study) -> Table:
    """All trials, with parameters, folder and reason."""
    headings = ["trial", "state", study.metric, "epochs", "seconds", *study.searched, "folder", "note"]
    trials = sorted((*study.trials, *study.outside), key=lambda trial: trial.number)
    rows = [_trial_row(study, trial) for trial in trials]
    return Table(headings, rows, "All trials", [t.state for t in trials])


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
        lead = words.gain(study)
        rows.append(
            [
                study.name,
                f"{len(study.finished)}"
                + (f"/{study.attrs['run_cap']}" if study.attrs.get("run_cap") else ""),
                str(study.count("pruned")),
                str(study.count("failed")),
                "–" if winner is None else f"{study.metric} {winner.value:.4f}",
                "–" if winner is None else f"trial {winner.number}",
                "–" if lead is None else f"{lead.mean:+.4f}",
                _verified(study),
                duration(spent.seconds),
                duration(spent.saved_seconds) if spent.saved_epochs else "–",
            ]
        )
    headings = ["study", "finished", "pruned", "failed", "best", "winner", "over default", "verified",
                "spent", "saved by pruning"]  # fmt: skip
    return Table(headings, rows)


def _verified(study: Study) -> str:
    if study.workload.deterministic:
        return "–"  # nothing to retrain
    if study.attrs.get("verified"):
        return "yes"
    return "confirmed" if study.attrs.get("confirmed") else "no"


def verdict_counts(found: Sequence[Finding]) -> str:
    """`24 of 30 claims are decided: 9 as claimed, 8 no difference that matters …; 6 open`."""
    counts = Counter(f.verdict for f in found)
    parts = [f"{counts[v]} {WORDS[v]}" for v in WORDS if counts[v] and v != "open"]
    total = len(found) - counts["open"]
    text = f"{total} of {len(found)} claims are decided" + (f": {', '.join(parts)}" if parts else "")
    return text + (f"; {counts['open']} open" if counts["open"] else "")


def hypotheses(found: Sequence[Finding]) -> list[Block]:
    """The verdicts: a text that explains them, a figure of all intervals, a table."""
    if not found:
        return [Text(["No study in this report has a hypothesis."], aside=True)]
    intro = (
        f"{verdict_counts(found)}. Effects are improvements in the metric's unit, with 95 % intervals. Pairs "
        "of runs that were made for a claim give the best answer: their intervals hold however often one "
        "looks. Next best are matched pairs of a study (trials that differ only in the claim's parameters). "
        "Otherwise a regression estimates the effect. That is a model, not an experiment. Intervals are per "
        "claim, not for all claims together."
    )
    rows = [
        [f.study, f.claim, f.words, f.sentence, f"{f.metric} {f.interval()}", str(f.pairs or "–"),
         f"{f.matters:g}", _numbers(f.trials), f.next_run or "–"]
        for f in found
    ]  # fmt: skip
    headings = ["study", "claim", "verdict", "in words", "effect [interval]", "pairs", "matters from",
                "trials", "would decide"]  # fmt: skip
    chart = claim_chart.chart(found)
    return [Text([intro]), *([chart] if chart is not None else []), Table(headings, rows)]


def _numbers(trials: Sequence[int]) -> str:
    shown = ", ".join(map(str, trials[:12]))
    return f"{shown}, … ({len(trials)})" if len(trials) > 12 else shown or "–"


def environment() -> list[Block]:
    """The machine and the package versions that made the report."""
    rows = [["python", platform.python_version()], ["system", platform.platform()]]
    for name in ENVIRONMENT:
        with contextlib.suppress(PackageNotFoundError):
            rows.append([name, version(name)])
    return [Table(["environment", ""], rows)]
