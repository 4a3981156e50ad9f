"""`study --dry-run`: prints the space, the rules, the first configurations and the cost of a study."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import optuna
from rich.console import Console

from tuner.base.words import counted, duration, in_words, short_duration
from tuner.campaign import confirm
from tuner.campaign.campaign import Campaign
from tuner.definition.campaign_file import HYPOTHESES
from tuner.definition.sampler import FREEZE_THAW
from tuner.run import plan as plans
from tuner.run import probe
from tuner.run.agent import repeats, station
from tuner.run.executors.local import share
from tuner.run.plan import Plan
from tuner.run.probe import Probe
from tuner.search import samplers
from tuner.show.console import table
from tuner.storage import study_store
from tuner.storage.access import find_records
from tuner.storage.study import load_study
from tuner.storage.study_store import ALL_FAILED, ChangedStudy
from tuner.workloads.registry import workload_of

FIRST = 3  # number of configurations to show


def look(plan: Plan, *, probed: bool = False) -> dict[str, Any]:
    """What a study would do, as `--json` gives it. `probed`: run the first epochs of a trial for its cost.

    `cost` has seconds_an_epoch (measured now, in one process), the epochs that are expected of a trial, those
    of the longest, seconds_a_trial (in one process), and the seconds of all trials with all agents, or None.

    Raises:
        InputError: a change since the study was begun would be refused.
    """
    file, total, configs = plan.file, _total(plan), first_configurations(plan)
    so_far, changes = _begun(plan)
    measured = probed or plan.workload.quick_probe
    return {
        "study": file.name,
        "method": file.method,
        "sampler": file.sampler,
        "pruner": plan.pruner.describe(),
        "trials": total,
        "so_far": so_far,
        "agents": plan.agents(total),
        "score": plan.workload.score_in_words({**plan.base, **plan.overrides}),
        "objectives": [{"name": metric.name, "goal": metric.goal} for metric in file.objectives],
        "parameters": [
            {"name": name, "values": values, "when": when or None}
            for name, values, when in file.space.describe()
        ],
        "requires": list(file.requires),
        "constraints": [str(constraint) for constraint in file.constraints],
        "changes": changes,
        "first": [] if so_far else [{**config, **plan.overrides} for config in configs],
        "cost": _estimate(plan, {**plan.base, **next(iter(configs), {})}) if measured else None,
    }


def show(plan: Plan, found: Mapping[str, Any], console: Console) -> None:
    """Prints what a study would do (`look`)."""
    rows = plan.file.space.describe()
    count = 3 if any(when for _, _, when in rows) else 2
    for line in _heading(plan, found):
        console.print(line, markup=False)
    headings = ("parameter", "values", "when")[:count]
    if rows:
        console.print(table(headings, [row[:count] for row in rows], padding=(0, 2)))
    else:
        console.print("parameters: those that the objective asks for as it runs")
    for line in _details(plan, found):
        console.print(line, markup=False)


def _heading(plan: Plan, found: Mapping[str, Any]) -> Iterator[str]:
    """What the study asks, how it searches, and when it ends."""
    file, total = plan.file, found["trials"]
    yield from filter(None, (file.purpose, file.expectation))
    declared = [metric for metric in file.objectives if metric.declared]
    aims = ", ".join(f"{metric.goal} {metric.name}" for metric in declared) or "no metric"
    yield f"{file.name}: {file.method} ({file.sampler}), {total or 'unlimited'} trials, {aims}"
    if declared:
        yield f"score: {found['score']}"
    if file.sampler == FREEZE_THAW and plan.length is not None:
        from tuner.search.thawing import budget_of, rungs_for  # scipy.optimize, for these studies alone

        *pauses, _ = rungs_for(file, plan.length)
        budget = budget_of(file, plan.length, total)
        in_all = "" if budget is None else f"; {budget} epochs in all"
        yield f"pauses: after epochs {', '.join(map(str, pauses))}; the most promising go on{in_all}"
    else:
        yield f"pruner: {found['pruner']}"
    if file.stop.no_gain is not None:
        yield f"stops: after {file.stop.no_gain} finished trials without a better one"
    for name, sure in file.stop.levels.items():
        yield f"stops: further points of a value of {name} when it is {sure:.0%} sure that it cannot win"
    if file.stop.lead is not None:
        yield (
            f"stops: when the best trial leads every other with {file.stop.lead:.0%} confidence, after "
            f"{file.stop.after} finished trials"
        )
    if file.repeats.count > 1:
        known = {**plan.base, **repeats.constants_of(plan.workload), **plan.overrides}
        names = ", ".join(part.name for part in repeats.parts_of(plan.workload, known))
        runs = f"{file.repeats.in_words()}, {file.repeats.count} runs ({names})"
        yield f"a trial: {runs}; its value is their {file.repeats.aggregate}"
    if plan.reads:
        yield f"reads: {', '.join(dict.fromkeys(plan.reads))}"
    if file.base.winner_of:
        yield f"starts from the winner of {file.base.winner_of}"


def _details(plan: Plan, found: Mapping[str, Any]) -> Iterator[str]:
    """What was changed, what configurations must meet, the first of them in a new study, and the cost."""
    if found["so_far"]:
        yield f"begun: it has {counted(found['so_far'], 'trial')} and goes on"
    yield from (f"changed: {line}" for line in found["changes"])
    yield from (f"requires: {text}" for text in found["requires"])
    yield from (f"constraint: {constraint}" for constraint in found["constraints"])
    yield from (f"trial {index}: {in_words(config)}" for index, config in enumerate(found["first"]))
    if cost := found["cost"]:
        text = (
            f"cost: {cost['seconds_an_epoch']:.2f} s an epoch (measured now, one process), about "
            f"{cost['epochs']:.1f} of {cost['longest']} epochs a trial, "
            f"{duration(cost['seconds_a_trial'])} a trial"
        )
        if cost["seconds"] is not None:
            crew = f"{counted(found['trials'], 'trial')} with {counted(found['agents'], 'agent')}"
            text += f"; {crew}: about {duration(cost['seconds'])}"
        yield text
    elif not plan.workload.deterministic:
        yield "cost: not measured; --probe runs the first epochs of one trial"


def _total(plan: Plan) -> int | None:
    return plan.request.trials or plan.file.run_cap


def _begun(plan: Plan) -> tuple[int, list[str]]:
    """The trials that the study has, and what has changed since it was begun, and what would become of them.

    Raises:
        InputError: the change would be refused.
    """
    records = find_records(plan.request.url) if plan.begun else None
    if records is None:
        return 0, []
    try:
        study = load_study(records, plan.file.name)
        change = study_store.change_of(study, plan.file, plan.origin, plan.default)
        return len(study.get_trials(deepcopy=False)), [] if change is None else list(change.lines)
    except ChangedStudy as changed:
        if not changed.only_failures:
            raise
        return 0, [ALL_FAILED]
    finally:
        records.close()


def first_configurations(plan: Plan) -> list[dict[str, Any]]:
    """The configurations that the first agent of a new study would try first."""
    file = plan.file
    if file.method == "grid":
        return file.grid()[:FIRST]
    if file.space.open or file.scheduler.optimizer:
        return [dict(config) for config in (plan.default, *file.first) if config][:FIRST]
    logging.getLogger("optuna").setLevel(logging.ERROR)
    seed = station.seed_of(file.name, plan.request.seed, 0)
    study = optuna.create_study(
        sampler=samplers.make(file, seed, known_start=plan.default is not None),
        directions=[metric.goal for metric in file.objectives],
    )
    if plan.default:
        study.enqueue_trial(file.space.params_for(plan.default, nearest=True))
    for config in file.first:
        study.enqueue_trial(file.space.params_for(config))
    return [file.space.suggest(study.ask()) for _ in range(FIRST)]


def _probe(plan: Plan, config: dict[str, Any], agents: int) -> Probe:
    whole = {**config, **plan.overrides}
    whole |= repeats.parts_of(plan.workload, whole)[0].changes
    return probe.measure(plan.file, whole, inputs=plan.inputs.folder, threads=share(agents))


def _estimate(plan: Plan, config: dict[str, Any]) -> dict[str, Any]:
    """The estimated time, from a probe of the first configuration with one agent."""
    total = _total(plan)
    agents = plan.agents(total)
    measured = _probe(plan, config, agents)
    longest = plan.length or 1
    epochs = probe.expected_epochs(plan.pruner, longest)
    if plan.file.sampler == FREEZE_THAW:
        from tuner.search.thawing import budget_of  # as above

        budget = budget_of(plan.file, longest, total)
        epochs = epochs if budget is None or total is None else budget / total
    each = measured.trial(epochs)
    return {
        "seconds_an_epoch": measured.epoch,
        "epochs": epochs,
        "longest": longest,
        "seconds_a_trial": each,
        "seconds": None if total is None else each * total / agents,
    }


def show_campaign(campaign: Campaign, console: Console, say: Callable[[str], None], *, probed: bool) -> None:
    """Prints a campaign's steps, with an estimate from a probe of its first study."""
    begun, hours = campaign.begun(), 0.0
    first = next((step for step in campaign.file.steps if step.study in campaign.file.studies), None)
    plan = measured = None
    if first is not None:
        request = campaign.request(first, campaign.study(first), begun)
        plan = plans.make(replace(request, base={}), say)
        if probed or plan.workload.quick_probe:
            measured = _probe(plan, dict(plan.default or {}), plan.agents(None))
    rows = []
    for step in campaign.file.steps:
        if step.study is None:
            rows.append((" ".join(step.run[:3]), "", "", "", step.why or "a command"))
            continue
        if step.study == HYPOTHESES:
            limit = f"at most {short_duration(step.budget)}" if step.budget else "until all are decided"
            hours += (step.budget or 0) / 3600
            rows.append((step.study, "", "", limit, step.why or "decides open claims"))
            continue
        file = campaign.study(step)
        runs, workload = file.run_cap or 0, workload_of(file)
        epochs, estimate = "none", "minutes"
        if plan is not None and not workload.deterministic:
            length = int(plan.overrides.get(workload.length, 0)) or file.max_epochs or 1
            length *= file.repeats.count
            mean = probe.expected_epochs(file.pruner, length)
            epochs, estimate = f"{mean:.1f} of {length}", "not measured (--probe)"
            if measured is not None and isinstance(workload, type(plan.workload)):
                confirming = confirm.runs(file) * measured.trial(length)
                seconds = (runs * measured.trial(mean) + confirming) / plan.agents(None)
                hours += seconds / 3600
                estimate = duration(seconds)
        rows.append((file.name, str(runs), epochs, estimate, file.purpose))
    headings = ("", "study", "runs", "epochs a run", "estimate", "question")
    numbered = ((str(number), *row) for number, row in enumerate(rows, 1))
    console.print(table(headings, numbered, whole=("study", "runs", "estimate")))
    if measured is not None:
        console.print(
            f"total: about {hours:.1f} hours ({measured.epoch:.1f} s an epoch, measured now)", markup=False
        )
