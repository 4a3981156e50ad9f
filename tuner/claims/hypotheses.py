"""`study hypotheses`: runs the matched pairs that would decide the undecided claims of finished studies.

A study as any other: it resumes, takes agents and other machines, and ends when every point was tried. What
it was begun with stays; `--fresh` makes new pairs, on new seeds, for what is undecided then, and the earlier
ones keep counting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from rich.table import Table

from model.config import Config
from tuner.base.errors import InputError
from tuner.base.words import duration, in_words
from tuner.claims import material as data
from tuner.claims import pairs
from tuner.claims import verdicts as ledger
from tuner.claims.material import PAIRED, Material
from tuner.definition.loading import from_plain
from tuner.definition.study_file import StudyFile
from tuner.run import probe
from tuner.run.launch import Request, agents_for, data_for
from tuner.show.live import View
from tuner.show.report import terminal
from tuner.storage import optuna_private
from tuner.storage.allocate import finished
from tuner.storage.records import Records
from tuner.storage.stored import load_study, stored_file
from tuner.storage.study_store import ORIGIN
from tuner.workloads.objective import ModelObjective


@dataclass(frozen=True)
class Prepared:
    """The study to run. `plan`: how it was made; None where it goes on with one that was begun.

    Attributes:
        file: None where no claim needs pairs, or none can have them.
        data: name of the data set that the claims' studies were run on.
    """

    file: StudyFile | None
    plan: pairs.Plan | None
    data: str
    done: int = 0


def prepare(
    records: Records, results: Path, *, chosen: Path | None, overrides: Mapping[str, Any], fresh: bool
) -> Prepared:
    """The study of pairs: the one that was begun, or a new one from the ledger.

    Args:
        chosen: the data set asked for; None: the one that the studies were run on.

    Raises:
        InputError: there is no study, or they were run on several data sets and none is chosen.
    """
    if PAIRED in optuna.get_all_study_names(records) and not fresh:
        begun = load_study(records, PAIRED)
        done = finished(records.queue.counts(optuna_private.study_id(begun)))
        return Prepared(stored_file(begun), None, _data_of(begun.user_attrs), done)
    material = data.load(records, (), results, made=datetime.now())
    material, name = _of_one_data_set(material, chosen)
    plan = pairs.plan(material, overrides=overrides, defaults=Config().to_dict())
    if not plan.points:
        return Prepared(None, plan, name)
    return Prepared(from_plain(plan.raw(), name=PAIRED, path=Path(f"{PAIRED}.yaml")), plan, name)


def _of_one_data_set(material: Material, chosen: Path | None) -> tuple[Material, str]:
    """The studies that were run on one data set (those that read none stay), and its name."""
    names = {study.name: _data_of(study.attrs) for study in material.studies}
    known = sorted({name for name in names.values() if name})
    if chosen is None and len(known) > 1:
        raise InputError(
            f"the studies were run on several data sets ({', '.join(known)}): "
            f"choose one with --data data/{known[0]}"
        )
    name = chosen.name if chosen is not None else (known[0] if known else "")
    kept = tuple(s for s in material.studies if names[s.name] in ("", name))
    if not kept:
        raise InputError(f"no study was run on {name} (there are: {', '.join(known)})")
    return Material(kept, (), {}, material.made, material.results, material.pairs), name


def _data_of(attrs: Mapping[str, Any]) -> str:
    return str((attrs.get(ORIGIN) or {}).get("data", "")).partition(" ")[0]


def show_plan(prepared: Prepared, console: Console) -> None:
    """The claims, the two sides of each, and those that get no pairs and why."""
    plan, file = prepared.plan, prepared.file
    if plan is None:
        assert file is not None
        console.print(f"{PAIRED}: begun, {prepared.done} of {file.run_cap} runs finished", markup=False)
        return
    if plan.claims:
        console.print(
            f"{PAIRED}: {len(plan.points)} runs, {pairs.PAIRS} matched pairs for each of {len(plan.claims)} "
            "claims (a run serves every claim that it fits)",
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


def show_cost(request: Request, console: Console, view: View) -> None:
    """Hours, from a measured probe of the first point."""
    base = request.study_file.base.config
    points = [{**base, **point} for point in request.study_file.space.grid()[: request.trials]]
    agents = agents_for(request, len(points))
    measured = probe.measure(
        ModelObjective(data_for(request, view)), {**points[0], **request.overrides}, agents=agents
    )
    lengths = [int({**point, **request.overrides}["epochs"]) for point in points]
    seconds = sum(measured.trial(length) for length in lengths) / agents
    epochs = f"{min(lengths)} to {max(lengths)}" if len(set(lengths)) > 1 else f"{lengths[0]}"
    console.print(
        f"cost: {measured.epoch:.2f} s an epoch (measured now, one process); {len(points)} runs of {epochs} "
        f"epochs with {agents} agents: about {duration(seconds)}",
        markup=False,
    )


def show_verdicts(records: Records, results: Path, console: Console) -> None:
    """The ledger's lines that rest on pairs run for them."""
    material = data.load(records, (), results, made=datetime.now())
    found = [finding for finding in ledger.ledger(material) if finding.pairs_run]
    if not found:
        console.print(
            f"no claim has {ledger.MIN_PAIRS} pairs yet: python -m tuner study {PAIRED} runs the rest",
            markup=False,
        )
        return
    terminal.show_ledger(found, console)
    if any(finding.verdict == "undecided" for finding in found):
        console.print(
            f"still undecided: a difference that is small beside its noise; "
            f"--fresh runs {pairs.PAIRS} more pairs",
            markup=False,
        )
