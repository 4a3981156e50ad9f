"""`study --dry-run`: prints the space, the rules, the first configurations and the cost of a study."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from rich.console import Console
from rich.table import Table

from tuner.base.words import duration, in_words, short_duration
from tuner.campaign import confirm
from tuner.campaign.campaign import Campaign
from tuner.definition.campaign_file import HYPOTHESES
from tuner.definition.sampler import FREEZE_THAW
from tuner.definition.study_file import StudyFile
from tuner.run import plan as plans
from tuner.run import probe
from tuner.run.agent import station
from tuner.run.executors.local import share
from tuner.run.plan import Plan
from tuner.run.probe import Probe
from tuner.search import samplers
from tuner.storage import study_store
from tuner.storage.access import find_records, storage_errors
from tuner.storage.stored import load_study
from tuner.workloads import repeats
from tuner.workloads.registry import workload_of

FIRST = 3  # number of configurations to show


@dataclass(frozen=True)
class Cost:
    """What a study will take, estimated from the first epochs of one trial.

    Attributes:
        seconds_an_epoch: measured now, in one process.
        epochs: expected of a trial, as the pruner ends some early. longest: of a whole trial.
        seconds_a_trial: of `epochs`, in one process.
        seconds: of all trials with all agents; None where the study has no number of trials.
    """

    seconds_an_epoch: float
    epochs: float
    longest: int
    seconds_a_trial: float
    seconds: float | None


@dataclass(frozen=True)
class DryRun:
    """What a study would do.

    Attributes:
        first: the configurations of the first trials.
        changes: what has changed since the study was begun, in words.
        cost: None where it was not measured.
    """

    plan: Plan
    first: Sequence[Mapping[str, Any]]
    changes: Sequence[str]
    cost: Cost | None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        file, request = self.plan.file, self.plan.request
        total = request.trials or file.run_cap
        return {
            "study": file.name,
            "method": file.method,
            "sampler": file.sampler,
            "pruner": self.plan.pruner.describe(),
            "trials": total,
            "agents": self.plan.agents(total),
            "score": _score(self.plan),
            "objectives": [{"name": metric.name, "goal": metric.goal} for metric in file.objectives],
            "parameters": [
                {"name": name, "values": values, "when": when or None}
                for name, values, when in file.space.describe()
            ],
            "requires": list(file.requires),
            "constraints": [str(constraint) for constraint in file.constraints],
            "changes": list(self.changes),
            "first": list(self.first),
            "cost": None if self.cost is None else asdict(self.cost),
        }


def look(plan: Plan, *, probed: bool = False) -> DryRun:
    """What a study would do. `probed`: run the first epochs of a trial to estimate the cost.

    Raises:
        InputError: a change since the study was begun would be refused.
    """
    changes, configs = _changes(plan), first_configurations(plan)
    measured = probed or plan.workload.quick_probe
    cost = _cost(plan, {**plan.base, **configs[0]}) if measured else None
    return DryRun(plan, [{**config, **plan.overrides} for config in configs], changes, cost)


def show(found: DryRun, console: Console) -> None:
    """Prints the plan of a study."""
    plan, file, cost = found.plan, found.plan.file, found.cost
    _heading(plan, console)
    console.print(_space_table(file))
    for line in found.changes:
        console.print(f"changed: {line}", markup=False)
    for text in file.requires:
        console.print(f"requires: {text}", markup=False)
    for constraint in file.constraints:
        console.print(f"constraint: {constraint}", markup=False)
    for index, config in enumerate(found.first):
        console.print(f"trial {index}: {in_words(config)}", markup=False)
    if cost is not None:
        total, agents = plan.request.trials or file.run_cap, plan.agents(plan.request.trials or file.run_cap)
        in_all = (
            ""
            if cost.seconds is None
            else f"; {total} trials with {agents} agents: about {duration(cost.seconds)}"
        )
        console.print(
            f"cost: {cost.seconds_an_epoch:.2f} s an epoch (measured now, one process), about "
            f"{cost.epochs:.1f} of {cost.longest} epochs a trial, {duration(cost.seconds_a_trial)} a trial"
            f"{in_all}",
            markup=False,
        )
    elif not plan.workload.deterministic:
        console.print("cost: not measured; --probe runs the first epochs of one trial", markup=False)


def _changes(plan: Plan) -> list[str]:
    """What has changed since the study was begun, and what would become of its trials.

    Raises:
        InputError: the change would be refused.
    """
    if not plan.begun:
        return []
    with storage_errors(plan.request.url):
        records = find_records(plan.request.url)
        if records is None:
            return []
        try:
            study = load_study(records, plan.file.name)
            change = study_store.change_of(study, plan.file, plan.origin, plan.default)
        finally:
            records.queue.close()
    return [] if change is None else list(change.lines)


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
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "study", "runs", "epochs a run", "estimate", "question"):
        table.add_column(heading, no_wrap=heading in ("study", "runs", "estimate"))
    for number, step in enumerate(campaign.file.steps, 1):
        if step.study is None:
            table.add_row(str(number), " ".join(step.run[:3]), "", "", "", step.why or "a command")
            continue
        if step.study == HYPOTHESES:
            limit = (
                "until all are decided" if step.budget is None else f"at most {short_duration(step.budget)}"
            )
            hours += (step.budget or 0) / 3600
            table.add_row(str(number), step.study, "", "", limit, step.why or "decides open claims")
            continue
        file = campaign.study(step)
        runs, workload = file.run_cap or 0, workload_of(file)
        if plan is None or workload.deterministic:
            table.add_row(str(number), file.name, str(runs), "none", "minutes", file.purpose)
            continue
        length = (int(plan.overrides.get(workload.length, 0)) or file.max_epochs or 1) * file.repeats.count
        mean = probe.expected_epochs(file.pruner, length)
        estimate = "not measured (--probe)"
        if measured is not None and isinstance(workload, type(plan.workload)):
            confirming = confirm.runs(file) * measured.trial(length)
            seconds = (runs * measured.trial(mean) + confirming) / plan.agents(None)
            hours += seconds / 3600
            estimate = duration(seconds)
        table.add_row(str(number), file.name, str(runs), f"{mean:.1f} of {length}", estimate, file.purpose)
    console.print(table)
    if measured is not None:
        console.print(
            f"total: about {hours:.1f} hours ({measured.epoch:.1f} s an epoch, measured now)", markup=False
        )


def _heading(plan: Plan, console: Console) -> None:
    file, request = plan.file, plan.request
    for text in (file.purpose, file.expectation):
        if text:
            console.print(text, markup=False)
    total = request.trials or file.run_cap
    aims = ", ".join(f"{metric.goal} {metric.name}" for metric in file.objectives)
    console.print(
        f"{file.name}: {file.method} ({file.sampler}), {total or 'unlimited'} trials, {aims}",
        markup=False,
    )
    console.print(f"score: {_score(plan)}", markup=False)
    console.print(_ends(plan, total), markup=False)
    if plan.file.stop.no_gain is not None:
        text = f"stops: after {plan.file.stop.no_gain} finished trials without a better one"
        console.print(text, markup=False)
    for name, confidence in plan.file.stop.levels.items():
        console.print(
            f"stops: further points of a value of {name} when it is {confidence:.0%} sure that it cannot win",
            markup=False,
        )
    if plan.file.stop.lead is not None:
        console.print(
            f"stops: when the best trial leads every other with {plan.file.stop.lead:.0%} confidence, after "
            f"{plan.file.stop.after} finished trials",
            markup=False,
        )
    if file.repeats.count > 1:
        known = {**plan.base, **repeats.constants_of(plan.workload), **plan.overrides}
        names = ", ".join(part.name for part in repeats.parts_of(plan.workload, known))
        console.print(
            f"a trial: {file.repeats.in_words()}, {file.repeats.count} runs ({names}); its value is their "
            f"{file.repeats.aggregate}",
            markup=False,
        )
    if plan.inputs.name:
        console.print(f"reads: {plan.inputs.in_words()}", markup=False)
    if file.base.winner_of:
        console.print(f"starts from the winner of {file.base.winner_of}", markup=False)


def _score(plan: Plan) -> str:
    """Which value of a run counts."""
    return plan.workload.score_in_words({**plan.base, **plan.overrides})


def _ends(plan: Plan, total: int | None) -> str:
    """How poor trials are ended, in a line."""
    if plan.file.sampler != FREEZE_THAW or plan.length is None:
        return f"pruner: {plan.pruner.describe()}"
    from tuner.search.thawing import budget_of, rungs_for  # as above

    *pauses, _ = rungs_for(plan.file, plan.length)
    budget = budget_of(plan.file, plan.length, total)
    in_all = "" if budget is None else f"; {budget} epochs in all"
    return f"pauses: after epochs {', '.join(map(str, pauses))}; the most promising go on{in_all}"


def _space_table(study_file: StudyFile) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    rows = study_file.space.describe()
    for heading in (
        ("parameter", "values", "when") if any(row[2] for row in rows) else ("parameter", "values")
    ):
        table.add_column(heading)
    for row in rows:
        table.add_row(*row[: len(table.columns)])
    return table


def first_configurations(plan: Plan) -> list[dict[str, Any]]:
    """The configurations that the first agent of a new study would try first."""
    file = plan.file
    if file.method == "grid":
        return file.grid()[:FIRST]
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


def _cost(plan: Plan, config: dict[str, Any]) -> Cost:
    """The estimated time, from a probe of the first configuration with one agent."""
    total = plan.request.trials or plan.file.run_cap
    agents = plan.agents(total)
    measured = _probe(plan, config, agents)
    longest = plan.length or 1
    epochs = probe.expected_epochs(plan.pruner, longest)
    if plan.file.sampler == FREEZE_THAW:
        from tuner.search.thawing import budget_of  # scipy.optimize, for these studies alone

        budget = budget_of(plan.file, longest, total)
        epochs = epochs if budget is None or total is None else budget / total
    each = measured.trial(epochs)
    return Cost(measured.epoch, epochs, longest, each, None if total is None else each * total / agents)
