"""A study whose trials do nothing: all that is measured is the tuner's own. And studies filled at once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial, create_trial
from reliability.processes import environment

from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.storage import study_store
from tuner.storage.access import open_records
from tuner.storage.records import Records

NAME, PARAMETERS = "trivial", 8
LOG = "finished.txt"  # a line for each trial that ended: process, when it began, x0
OBJECTIVE = f"""
import os, time

def train(config, report):
    began, total = time.time(), sum(config[f"x{{i}}"] for i in range({PARAMETERS}))
    for epoch in range(REPORTS):
        report(epoch, {{"score": total * (epoch + 1) / REPORTS}})
    with open("{LOG}", "a") as file:  # one write of a short line: whole, whoever else writes
        file.write(f"{{os.getpid()}} {{began!r}} {{config['x0']!r}}\\n")
    return {{"score": total}}
"""


def write_study(folder: Path, trials: int, *, reports: int, pruner: str = "{type: none}") -> Path:
    """The study file and its objective."""
    (folder / "objective.py").write_text(OBJECTIVE.replace("REPORTS", str(reports)))
    (folder / LOG).touch()
    parameters = "".join(f"  x{i}: {{min: 0.0, max: 1.0}}\n" for i in range(PARAMETERS))
    path = folder / f"{NAME}.yaml"
    path.write_text(
        f"name: {NAME}\nmethod: bayes\nrun_cap: {trials}\nmetric: {{name: score, goal: maximize}}\n"
        f'parameters:\n{parameters}tuner:\n  objective: "objective.py:train"\n  max_epochs: {reports}\n'
        f"  pruner: {pruner}\n"
    )
    return path


def run_study(folder: Path, agents: int, **variables: str) -> None:
    """Runs `tuner study` to its end."""
    command = [sys.executable, "-m", "tuner", "study", f"{NAME}.yaml", "--agents", str(agents)]
    subprocess.run(
        [*command, "--wandb", "off"],
        cwd=folder,
        check=True,
        env=environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def finished(folder: Path) -> list[tuple[str, float, str]]:
    """Process, begin and x0 of each trial that ended, in order."""
    lines = (line.split() for line in (folder / LOG).read_text().splitlines())
    return [(process, float(began), x) for process, began, x in lines]


def opened(folder: Path, url: str, count: int, *, reports: int) -> tuple[StudyFile, Records, optuna.Study]:
    """A study in a database with so many complete trials at random places: its file, storage and study."""
    file = load_study_file(write_study(folder, count + 1000, reports=reports))
    records = open_records(url, create=True)
    study = study_store.open_study(records, file, study_store.Origin({}))
    fill(records, study, _random_trials(file.space.distributions(), count, reports))
    return file, records, study


def _random_trials(distributions: dict[str, BaseDistribution], count: int, reports: int) -> list[FrozenTrial]:
    """Complete trials at random places."""
    dice, made = random.Random(0), []
    for _ in range(count):
        params = {name: dice.random() for name in distributions}
        value = sum(params.values())
        curve = dict.fromkeys(range(1, reports + 1), value)
        made.append(
            create_trial(params=params, distributions=distributions, value=value, intermediate_values=curve)
        )
    return made


def fill(records: Any, study: Any, trials: Iterable[FrozenTrial]) -> None:
    """Writes finished trials straight into the tables of a database: thousands in seconds."""
    import sqlalchemy
    from optuna.storages._rdb import models

    rows: dict[Any, list[dict[str, Any]]] = {
        models.TrialModel: [],
        models.TrialParamModel: [],
        models.TrialValueModel: [],
        models.TrialIntermediateValueModel: [],
        models.TrialUserAttributeModel: [],
    }
    trial_rows, params, values, reports, attributes = rows.values()
    engine = records.optuna_storage._backend.engine
    with engine.begin() as connection:
        column = models.TrialModel.trial_id
        counted = sqlalchemy.select(sqlalchemy.func.max(column), sqlalchemy.func.count(column))
        highest, taken = connection.execute(counted).one()
        for index, trial in enumerate(trials):
            key = {"trial_id": (highest or 0) + 1 + index}
            about = {"number": taken + index, "study_id": study._study_id, "state": trial.state}
            times = {"datetime_start": trial.datetime_start, "datetime_complete": trial.datetime_complete}
            trial_rows.append({**key, **about, **times})
            values.append({**key, "objective": 0, "value": trial.value, "value_type": "FINITE"})
            for name, value in trial.params.items():
                written = distribution_to_json(trial.distributions[name])
                params.append({**key, "param_name": name, "param_value": value, "distribution_json": written})
            for step, value in trial.intermediate_values.items():
                report = {"intermediate_value": value, "intermediate_value_type": "FINITE"}
                reports.append({**key, "step": step, **report})
            for name, value in trial.user_attrs.items():
                attributes.append({**key, "key": name, "value_json": json.dumps(value)})
        for model, found in rows.items():
            if found:
                connection.execute(sqlalchemy.insert(model.__table__), found)
        if engine.name == "postgresql":
            connection.execute(
                sqlalchemy.text("SELECT setval('trials_trial_id_seq', (SELECT max(trial_id) FROM trials))")
            )
