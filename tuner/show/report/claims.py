"""Prints retrainings, planned rounds of pairs and verdicts on a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from rich.console import Console

from tuner.base.words import duration, in_words, number
from tuner.claims import design, hypotheses
from tuner.claims.evidence import Evidence
from tuner.claims.hypotheses import Prepared
from tuner.claims.material import Material
from tuner.claims.verify import Verified
from tuner.run import probe
from tuner.run.executors.local import share
from tuner.run.plan import Plan
from tuner.show.console import say, say_whole, show_answer, table
from tuner.stats.anytime import critical


def show_verified(verified: Verified, console: Console, places: Sequence[str] = ()) -> None:
    """Prints the result of `verify`: a table, and what it says of the study.

    Args:
        places: options of the command that would decide it, which name the storage and the results folder.
    """
    by_number = {lead.other.number: lead for lead in verified.leads if lead.other is not None}
    rows = []
    for candidate in verified.candidates:
        again, lead = list(candidate.again.values()), by_number.get(candidate.number)
        mean = number(statistics.fmean(again)) if again else "failed"
        spread = number(statistics.stdev(again)) if len(again) > 1 else ""
        compared = ("", "") if lead is None else (lead.interval_words, lead.verdict)
        rows.append((str(candidate.number), number(candidate.score), mean, spread, *compared))
    headings = ("trial", "in study", "retrained", "spread", "lead of the first", "")
    console.print(table(headings, rows, right=headings[:4], whole=headings, padding=(0, 1)))
    curse = verified.curse
    if not math.isnan(curse):
        said = f"Retrained, their {verified.metric} is"
        worse = f"{said} worse than in the study by {number(curse)} on average: the winner's curse."
        say(worse if curse > 0 else f"{said} as good as in the study or better: no winner's curse.", console)
    show_answer(verified.answer, console, places)


def show_plan(prepared: Prepared, material: Material, console: Console) -> None:
    """Prints a round: its runs, the sides of each claim, and the claims without pairs with the reason.

    Where the noise between seeds is known, also how small an effect it can tell from none.
    """
    planned, file = prepared.planned, prepared.file
    if planned is None:
        assert file is not None
        console.print(f"{file.name}: started, {prepared.done} of {file.run_cap} runs finished", markup=False)
        return
    if planned.points:
        say_whole(hypotheses.in_words(planned), console)
        rows = []
        for claim in planned.claims:
            sides = [in_words(claim.where), in_words(claim.against)]
            if planned.drawn:
                sides = [claim.hypothesis.where, claim.hypothesis.against or "the others"]
            rows.append((claim.study.name, claim.hypothesis.claim, *sides))
        console.print(table(("study", "claim", "as claimed", "against"), rows))
    else:
        console.print("no claim needs pairs of runs", markup=False)
    for study, text, reason in planned.left_out:
        say_whole(f"left out: {study}: {text}: {reason}", console)
    evidence, pairs = Evidence.of(material), len(planned.points) // 2
    metrics = {} if planned.drawn else {claim.metric: claim.study for claim in planned.claims}
    for metric, source in sorted(metrics.items()) if pairs else ():
        noise = evidence.noise(source, metric)
        if noise is not None:
            half = critical(pairs, pairs - 1) * noise * math.sqrt(2 / pairs)
            text = f"power: a seed changes {metric} by {noise:.4f} (standard deviation), so a claim with all "
            say_whole(f"{text}{pairs} pairs is known to ± {half:.4f}", console)


def show_pairs_cost(plan: Plan, console: Console) -> None:
    """Prints the estimated time of a round, from a probe of its first point."""
    points = [{**plan.base, **point, **plan.overrides} for point in plan.file.grid()[: plan.request.trials]]
    agents = plan.agents(len(points))
    measured = probe.measure(plan.file, points[0], inputs=plan.inputs.folder, threads=share(agents))
    lengths = [int(point.get(plan.workload.length) or plan.length or 1) for point in points]
    seconds = sum(measured.trial(length) for length in lengths) / agents
    epochs = f"{min(lengths)} to {max(lengths)}" if len(set(lengths)) > 1 else f"{lengths[0]}"
    text = (
        f"cost: {measured.epoch:.2f} s an epoch (measured now, one process); {len(points)} runs of {epochs} "
        f"epochs with {agents} agents: about {duration(seconds)}. Then rounds of {2 * design.ROWS} runs "
        "for the claims that are still open"
    )
    say_whole(text, console)
