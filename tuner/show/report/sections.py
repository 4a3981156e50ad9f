"""The sections of a report, for HTML and PDF."""

from __future__ import annotations

import contextlib
import math
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from tuner.base import plugins
from tuner.base.words import number, slug
from tuner.claims.encoding import word
from tuner.claims.material import Material, Study, Trial
from tuner.claims.verdict import WORDS
from tuner.claims.verdicts import Finding, findings
from tuner.show.report import cards as made
from tuner.show.report import figures, over_time, words
from tuner.show.report.blocks import Block, Card, Cards, Document, Fact, Section, Table, Text
from tuner.show.report.charts import MINOR, Chart, Plot, Spans, interval_bars
from tuner.show.report.trial_series import Made
from tuner.show.summary import mean_words

ENVIRONMENT = ("optuna", "torch", "numpy", "scikit-learn", "matplotlib")


def document(material: Material, *, draw: Callable[[Study], Sequence[Made]] = figures.charts) -> Document:
    """Builds the report: the answers first (one study: its card; several: a table), then verdicts on claims.

    Then the studies, and what their workloads and the installed plugins add about them. Plugins answer only
    for studies of their own. Page, PDF and terminal show these sections.

    Args:
        draw: the charts of a study.
    """
    studies = material.studies
    cards = [made.card(study, material) for study in studies]
    if len(studies) == 1:
        title, first = studies[0].name, Section("summary", "Result", [_purpose(studies[0]), Cards(cards)])
    else:
        title = "Sweep summary"
        size = Text([words.campaign_sentence(studies)])
        first = Section("summary", "Results", [size, overview(cards), campaign_chart(studies, cards)])
    sections = [first]
    found = findings(material)
    if found:
        sections.append(Section("hypotheses", "Claims and hypotheses", hypotheses(found)))
    for study, card in zip(studies, cards, strict=True):
        alone = len(studies) == 1
        head: list[Block] = [] if alone else [_purpose(study), Cards([card])]
        charts = draw(study) if study.trials else ()
        sections.append(study_section(study, "Trials and charts" if alone else study.name, head, charts))
        blocks = study.workload.sections(study, material.results)
        if blocks:
            sections.append(Section(f"errors-{slug(study.name)}", f"Errors of {study.name}'s winner", blocks))
    sections += [section for added in plugins.hooks("sections") for section in added(material)]
    sections.append(Section("environment", "Environment", environment(), folded=True))
    return Document(title, f"made {material.made:%Y-%m-%d %H:%M}", _joined(sections))


def _purpose(study: Study) -> Text:
    return Text([study.file.purpose] if study.file.purpose else [])


def campaign_chart(studies: Sequence[Study], cards: Sequence[Card]) -> Chart:
    """All studies in one figure: what each gained, and when its trials ran."""
    gains = {f"{card.title} ({card.metric})": card.gain for card in cards if card.gain is not None}
    plots: list[Plot] = []
    if gains:
        plots.append(interval_bars(list(gains), list(gains.values()), "gain, in units of the metric"))
    ran = [(i, t, stint) for i, s in enumerate(studies) for t in s.trials if t.ended for stint in t.stints]
    if ran:
        start, length = over_time.minutes([stint for _, _, stint in ran])
        text = [f"{studies[i].name}, trial {t.number} ({t.state})" for i, t, _ in ran]
        lanes, states = [s.name for s in studies], [t.state for _, t, _ in ran]
        plots.append(Spans(lanes, [i for i, _, _ in ran], start, length, states, text))
    caption = (
        "The gain of each study as in the table, with a 95 % interval where the noise between runs is known, "
        "and when its trials ran. Gains without an interval may be luck."
    )
    return Chart("campaign", "The campaign", caption, plots)


def _joined(sections: Sequence[Section]) -> list[Section]:
    """Joins sections with the same anchor, at the position of the first."""
    found: dict[str, Section] = {}
    for section in sections:
        before = found.get(section.anchor)
        blocks = [*(before.blocks if before else ()), *section.blocks]
        found[section.anchor] = replace(before or section, blocks=blocks)
    return [section for section in found.values() if section.blocks]


def study_section(study: Study, heading: str, head: Sequence[Block], charts: Sequence[Made]) -> Section:
    """The section of one study: `head`, what explains its result, all trials, charts."""
    blocks: list[Block] = [*head, Text(words.background(study))]
    if study.trials or study.outside:
        blocks.append(trials_table(study))
    blocks += [chart for chart in charts if not isinstance(chart, str)]
    if study.file.front and len(study.ranked) > 3:
        blocks.append(
            Table(
                ["parameter", "median objective (trials)", "PED-ANOVA", "fANOVA"],
                figures.sensitivity(study),
                "Sensitivity: medians over complete trials. The other parameters differ too.",
            )
        )
    reasons = [chart for chart in charts if isinstance(chart, str)]
    if reasons:
        blocks.append(Text(reasons, aside=True))
    minor = sum(t.state in MINOR and t.value is not None for t in study.trials) if study.ranked else 0
    winner = None if study.winner is None else study.winner.number
    return Section(made.anchor(study), heading, blocks, minor, winner)


def trials_table(study: Study) -> Table:
    """All trials, the winner first, then the other complete ones by rank, then the rest by value."""
    sign, place = (-1.0 if study.maximize else 1.0), {t.number: i for i, t in enumerate(study.ranked)}
    trials = sorted(
        (*study.trials, *study.outside),
        key=lambda t: (
            t is not study.winner,
            place.get(t.number, len(place)),
            math.inf if t.value is None else sign * t.value,
            t.number,
        ),
    )
    test = study.metric.replace("val/", "test/", 1)
    columns = [
        ("trial", [_number(study, t) for t in trials]),
        (study.metric, ["–" if t.value is None else number(t.value) for t in trials]),
        ("state", [t.state for t in trials]),
        *((name, [word(t.params.get(name)) for t in trials]) for name in study.searched),
        ("epochs", [str(t.epochs) for t in trials]),
        ("seconds", [f"{t.seconds:.1f}" for t in trials]),
    ]
    optional = {
        "retrained": [mean_words(study.retrained(t.number)) for t in trials],
        "misses by": [f"{t.violation:.3g}" if t.violation else "–" for t in trials],
        test: [number(t.test[test]) if test != study.metric and test in t.test else "–" for t in trials],
    }
    columns[2:2] = [(name, cells) for name, cells in optional.items() if set(cells) != {"–"}]
    last = {"note": [t.note for t in trials], "folder": [t.folder for t in trials]}
    columns += [(name, cells) for name, cells in last.items() if any(cells)]
    names, cells = zip(*columns, strict=True)
    rows = list(zip(*cells, strict=True))
    marked = frozenset(i for i, t in enumerate(trials) if t is study.winner)
    states, numbers = [t.state for t in trials], [t.number for t in trials]
    return Table(names, rows, "All trials, the best first", states, numbers, marked)


def _number(study: Study, trial: Trial) -> str:
    name = "winner" if trial is study.winner else "default" if trial is study.default else ""
    return f"{trial.number} {'★ ' if name == 'winner' else ''}{name}".strip()


def overview(cards: Sequence[Card]) -> Table:
    """A table with one row per study."""
    headings = ["study", "verdict", "winner", "against", "gain [95 % interval]", "cost", "next"]
    rows = []
    for card in cards:
        facts = {fact.label: fact for fact in card.facts}
        against = facts.get("Default", facts.get("Next best"))
        rows.append(
            [
                card.title,
                card.verdict,
                f"{card.metric} {_cell(facts['Winner'])}" if "Winner" in facts else "–",
                _cell(against),
                card.interval or "–",
                f"{card.state}; {facts['Cost'].value}" if "Cost" in facts else card.state,
                card.next,
            ]
        )
    return Table(headings, rows, links=[card.anchor for card in cards])


def _cell(fact: Fact | None) -> str:
    return "–" if fact is None else f"{fact.value} ({fact.name})".replace("trial ", "trial\N{NO-BREAK SPACE}")


def verdict_counts(found: Sequence[Finding]) -> str:
    """`24 of 30 claims are decided: 9 as claimed, 8 no difference that matters …; 6 open`."""
    counts = Counter(f.verdict for f in found)
    parts = ", ".join(f"{counts[v]} {WORDS[v]}" for v in WORDS if counts[v] and v != "open")
    decided = f"{len(found) - counts['open']} of {len(found)} claims are decided"
    return decided + (f": {parts}" if parts else "") + (f"; {counts['open']} open" if counts["open"] else "")


def notes_on_pairs(found: Sequence[Finding]) -> list[str]:
    """How pairs that were run for claims differ from runs of their studies, each way once."""
    return sorted({f.note for f in found if f.note})


def hypotheses(found: Sequence[Finding]) -> list[Block]:
    """The verdicts: a text that explains them, a figure of all intervals, a table."""
    notes = "".join(f" These are {note}." for note in notes_on_pairs(found))
    intro = (
        f"{verdict_counts(found)}. Effects are improvements in the metric's unit, with 95 % intervals. Pairs "
        "of runs that were made for a claim give the best answer: their intervals stay valid however often "
        f"you look.{notes} Next best are matched pairs of a study (trials that differ only in the claim's "
        "parameters). Otherwise a regression estimates the effect, with pruned trials at the epoch they "
        "reached. That is a model, not an experiment. Intervals are per claim, not for all claims together."
    )
    rows = [
        [
            f.study,
            f.claim,
            f.words,
            f"{f.interval()} {f.metric}",
            f.basis,
            f"{f.matters:g}",
            f.next_run or "–",
        ]
        for f in found
    ]
    headings = ["study", "claim", "verdict", "effect", "data", "matters above", "next run"]
    chart = figures.claims(found)
    return [Text([intro]), *([chart] if chart is not None else []), Table(headings, rows)]


def environment() -> list[Block]:
    """The machine and the package versions that made the report."""
    rows = [["python", platform.python_version()], ["system", platform.platform()]]
    for name in ENVIRONMENT:
        with contextlib.suppress(PackageNotFoundError):
            rows.append([name, version(name)])
    return [Table(["environment", ""], rows)]
