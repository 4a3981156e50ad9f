"""`study --dry-run`: what a study would search, how, at what cost, starting with what."""

from __future__ import annotations

import logging
from typing import Any

import optuna
from rich.console import Console
from rich.table import Table

from tuner.base.words import duration, in_words
from tuner.definition.study_file import StudyFile
from tuner.run import launch, probe
from tuner.run.agent import agent
from tuner.run.launch import Request
from tuner.search import samplers
from tuner.show.live import PlainView
from tuner.workloads import objective

FIRST = 3  # configurations shown


def show(request: Request, console: Console) -> None:
    """Prints the plan of a study."""
    study_file = request.study_file
    view = PlainView(console)
    data = launch.data_for(request, view)
    base = {**dict(request.base or study_file.base.config), **launch.epochs_of(study_file)}
    _heading(study_file, request, console)
    console.print(_space_table(study_file))
    for text in study_file.requires:
        console.print(f"requires: {text}", markup=False)
    for constraint in study_file.constraints:
        console.print(f"constraint: {constraint}", markup=False)
    configs = first_configurations(study_file, base, request.seed)
    for index, config in enumerate(configs):
        console.print(f"trial {index}: {in_words({**config, **request.overrides})}", markup=False)
    if study_file.on == "train":
        _cost(study_file, request, objective.resolve(study_file, data=data), {**base, **configs[0]}, console)


def _heading(study_file: StudyFile, request: Request, console: Console) -> None:
    for text in (study_file.purpose, study_file.expectation):
        if text:
            console.print(text, markup=False)
    metric = study_file.metric
    total = request.trials or study_file.run_cap
    console.print(
        f"{study_file.name}: {study_file.method} ({study_file.sampler}), "
        f"{'no end of' if total is None else total} trials, {metric.goal} {metric.name}",
        markup=False,
    )
    console.print(f"pruner: {study_file.pruner.describe()}", markup=False)
    if study_file.base.winner_of:
        console.print(f"starts from the winner of {study_file.base.winner_of}", markup=False)


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


def first_configurations(study_file: StudyFile, base: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """What the first agent of a new study would try first."""
    if study_file.method == "grid":
        return study_file.space.grid()[:FIRST]
    logging.getLogger("optuna").setLevel(logging.ERROR)
    study = optuna.create_study(
        sampler=samplers.make(study_file, agent.seed_of(study_file.name, seed, 0)),
        directions=[metric.goal for metric in study_file.objectives],
    )
    default = launch.default_of(study_file, base)
    if default:
        study.enqueue_trial(study_file.space.params_for(default, nearest=True))
    return [study_file.space.suggest(study.ask()) for _ in range(FIRST)]


def _cost(
    study_file: StudyFile,
    request: Request,
    run: objective.Objective,
    config: dict[str, Any],
    console: Console,
) -> None:
    """Hours, from a measured probe of the first configuration on one agent."""
    total = request.trials or study_file.run_cap
    agents = launch.agents_for(request, total)
    measured = probe.measure(run, {**config, **request.overrides}, agents=agents)
    epochs = int(request.overrides.get("epochs", 0)) or study_file.max_epochs or 1
    mean = probe.expected_epochs(study_file.pruner, epochs)
    a_trial = measured.trial(mean)
    console.print(
        f"cost: {measured.epoch:.2f} s an epoch (measured now, one process), "
        f"about {mean:.1f} of {epochs} epochs a trial, {duration(a_trial)} a trial"
        + (
            ""
            if total is None
            else f"; {total} trials with {agents} agents: about {duration(a_trial * total / agents)}"
        ),
        markup=False,
    )
