"""Prints retrainings, planned rounds of pairs and verdicts on a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.base.words import duration, in_words, number
from tuner.claims import design, hypotheses
from tuner.claims.evidence import Evidence
from tuner.claims.hypotheses import Prepared
from tuner.claims.material import PAIRED, Material
from tuner.claims.verdicts import Finding
from tuner.claims.verify import Verified
from tuner.run import probe
from tuner.run.executors.local import share
from tuner.run.plan import Plan
from tuner.show.report import terminal
from tuner.show.status.answer import say, show_answer
from tuner.stats.anytime import critical


def show_verified(verified: Verified, console: Console, places: Sequence[str] = ()) -> None:
    """Prints the result of `verify`: a table, and what it says of the study.

    Args:
        places: options of the command that would decide it, which name the storage and the results folder.
    """
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for heading in ("trial", "in study", "retrained", "spread", "lead of the first", ""):
        left = heading in ("", "lead of the first")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    by_number = {lead.other.number: lead for lead in verified.leads if lead.other is not None}
    for candidate in verified.candidates:
        again = list(candidate.again.values())
        lead = by_number.get(candidate.number)
        table.add_row(
            str(candidate.number),
            number(candidate.score),
            number(statistics.fmean(again)) if again else "failed",
            number(statistics.stdev(again)) if len(again) > 1 else "",
            "" if lead is None else lead.interval_words,
            "" if lead is None else lead.verdict,
        )
    console.print(table)
    curse = verified.curse
    if not math.isnan(curse):
        said = f"Retrained, their {verified.metric} is"
        worse = f"{said} worse than in the study by {number(curse)} on average: the winner's curse."
        say(worse if curse > 0 else f"{said} as good as in the study or better: no winner's curse.", console)
    show_answer(verified.answer, console, places)


def show_plan(prepared: Prepared, console: Console) -> None:
    """Prints a round: its runs, the sides of each claim, and the claims without pairs with the reason."""
    planned, file = prepared.planned, prepared.file
    if planned is None:
        assert file is not None
        console.print(f"{file.name}: started, {prepared.done} of {file.run_cap} runs finished", markup=False)
        return
    if planned.points:
        console.print(hypotheses.in_words(planned), markup=False, soft_wrap=True)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("study", "claim", "as claimed", "against"):
            table.add_column(heading)
        for claim in planned.claims:
            sides = (claim.where, claim.against)
            if planned.drawn:
                cells = [claim.hypothesis.where, claim.hypothesis.against or "the others"]
            else:
                cells = [in_words(side) for side in sides]
            table.add_row(*(escape(text) for text in (claim.study.name, claim.hypothesis.claim, *cells)))
        console.print(table)
    else:
        console.print("no claim needs pairs of runs", markup=False)
    for study, text, reason in planned.left_out:
        console.print(f"left out: {study}: {text}: {reason}", markup=False, soft_wrap=True)


def show_power(material: Material, prepared: Prepared, console: Console) -> None:
    """Prints how small an effect the round can tell from none, where the noise between seeds is known."""
    if prepared.planned is None or not prepared.planned.points:
        return
    evidence, pairs = Evidence.of(material), len(prepared.planned.points) // 2
    by_metric = {claim.metric: claim.study for claim in prepared.planned.claims}
    for metric, study in sorted(by_metric.items()):
        noise = evidence.noise(study, metric)
        if noise is not None and not prepared.planned.drawn:
            half = critical(pairs, pairs - 1) * noise * math.sqrt(2 / pairs)
            console.print(
                f"power: a seed changes {metric} by {noise:.4f} (standard deviation), so a claim with all "
                f"{pairs} pairs is known to ± {half:.4f}",
                markup=False, soft_wrap=True,
            )  # fmt: skip


def show_pairs_cost(plan: Plan, console: Console) -> None:
    """Prints the estimated time of a round, from a probe of its first point."""
    points = [{**plan.base, **point, **plan.overrides} for point in plan.file.grid()[: plan.request.trials]]
    agents = plan.agents(len(points))
    measured = probe.measure(plan.file, points[0], inputs=plan.inputs.folder, threads=share(agents))
    lengths = [int(point.get(plan.workload.length) or plan.length or 1) for point in points]
    seconds = sum(measured.trial(length) for length in lengths) / agents
    epochs = f"{min(lengths)} to {max(lengths)}" if len(set(lengths)) > 1 else f"{lengths[0]}"
    console.print(
        f"cost: {measured.epoch:.2f} s an epoch (measured now, one process); {len(points)} runs of {epochs} "
        f"epochs with {agents} agents: about {duration(seconds)}. Then rounds of {2 * design.ROWS} runs "
        "for the claims that are still open",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def show_verdicts(found: Sequence[Finding], console: Console) -> None:
    """Prints the findings that rest on pairs that were run for them."""
    shown = [finding for finding in found if finding.pairs_run]
    if not shown:
        console.print(f"no claim has two pairs yet: tuner study {PAIRED} runs the rest", markup=False)
        return
    terminal.show_findings(shown, console)
