"""Prints retrainings, planned pairs and verdicts on a terminal."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tuner.base.statistics import LEVEL
from tuner.base.words import duration, in_words
from tuner.claims import material as materials
from tuner.claims import pairs, verdicts
from tuner.claims.hypotheses import Prepared
from tuner.claims.material import PAIRED
from tuner.claims.verify import Verified
from tuner.run import probe
from tuner.run.executors.local import share
from tuner.run.plan import Plan
from tuner.show.report import terminal
from tuner.storage.records import Records


def show_verified(verified: Verified, console: Console) -> None:
    """Prints the result of `verify`: a table and its summary."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("trial", "in the study", "retrained", "spread", "first's lead", ""):
        table.add_column(heading, justify="left" if heading in ("", "first's lead") else "right")
    by_number = {lead.over: lead for lead in verified.leads}
    for candidate in verified.candidates:
        again = list(candidate.again.values())
        lead = by_number.get(candidate.number)
        table.add_row(
            str(candidate.number),
            f"{candidate.score:.4f}",
            f"{statistics.fmean(again):.4f}" if again else "failed",
            f"{statistics.stdev(again):.4f}" if len(again) > 1 else "",
            "" if lead is None else f"{lead.mean:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}]",
            "" if lead is None else lead.verdict,
        )
    console.print(table)
    curse = verified.curse
    if not math.isnan(curse):
        console.print(
            f"winner's curse: on average the study overrated them by {curse:+.4f} {verified.metric}",
            markup=False,
        )
    holding = sum(lead.verdict == "holds" for lead in verified.leads)
    if verified.leads:
        console.print(
            f"the first one's lead holds against {holding} of {len(verified.leads)} ({LEVEL:.0%} intervals)",
            markup=False,
        )


def show_plan(prepared: Prepared, console: Console) -> None:
    """Prints each claim with its two sides, and the claims without pairs with the reason."""
    plan, file = prepared.pairs, prepared.file
    if plan is None:
        assert file is not None
        console.print(f"{file.name}: started, {prepared.done} of {file.run_cap} runs finished", markup=False)
        return
    if plan.claims:
        console.print(
            f"{plan.name}: {len(plan.points)} runs, {pairs.PAIRS} matched pairs for each of "
            f"{len(plan.claims)} claims (a run serves every claim that it fits)",
            markup=False,
        )
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("study", "claim", "as claimed", "against"):
            table.add_column(heading)
        for claim in plan.claims:
            table.add_row(claim.study, claim.claim, in_words(claim.where), in_words(claim.against))
        console.print(table, markup=False)
    else:
        console.print("no claim needs matched pairs", markup=False)
    for study, text, reason in plan.left_out:
        console.print(f"left out: {study}: {text}: {reason}", markup=False, soft_wrap=True)


def show_pairs_cost(plan: Plan, console: Console) -> None:
    """Prints the estimated time, from a probe of the first point."""
    points = [{**plan.base, **point, **plan.overrides} for point in plan.file.grid()[: plan.request.trials]]
    agents = plan.agents(len(points))
    measured = probe.measure(plan.file, points[0], inputs=plan.inputs.folder, threads=share(agents))
    lengths = [int(point.get(plan.workload.length) or plan.length or 1) for point in points]
    seconds = sum(measured.trial(length) for length in lengths) / agents
    epochs = f"{min(lengths)} to {max(lengths)}" if len(set(lengths)) > 1 else f"{lengths[0]}"
    console.print(
        f"cost: {measured.epoch:.2f} s an epoch (measured now, one process); {len(points)} runs of {epochs} "
        f"epochs with {agents} agents: about {duration(seconds)}",
        markup=False,
    )


def verdicts_of(records: Records, results: Path) -> list[dict[str, Any]]:
    """The findings that rest on pairs run for them, for `--json`."""
    material = materials.load(records, (), results, made=datetime.now())
    return [asdict(finding) for finding in verdicts.findings(material) if finding.pairs_run]


def show_verdicts(records: Records, results: Path, console: Console) -> None:
    """Prints the findings that use pairs of the study `hypotheses`."""
    material = materials.load(records, (), results, made=datetime.now())
    found = [finding for finding in verdicts.findings(material) if finding.pairs_run]
    if not found:
        console.print(
            f"no claim has {verdicts.MIN_PAIRS} pairs yet: python -m tuner study {PAIRED} runs the rest",
            markup=False,
        )
        return
    terminal.show_findings(found, console)
    if any(finding.verdict == "undecided" for finding in found):
        console.print(
            f"still undecided: the difference is small compared with the noise; "
            f"--fresh runs {pairs.PAIRS} more pairs",
            markup=False,
        )
