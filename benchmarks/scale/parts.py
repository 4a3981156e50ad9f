"""The parts of what a trial costs, each alone in one process."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scale.study import (
    REPORTS,
    write_study,
)

PARTS = (
    "allocation: look for dead agents, count trials, claim one",
    "loading: trials that other agents finished in the meantime",
    "suggestion by TPE, and storing it",
    "four reports and the end",
)


@dataclass(frozen=True)
class Cost:
    """Median milliseconds of each of PARTS, and of a first reading: wall, and this process's CPU."""

    wall: list[float]
    cpu: list[float]
    first: float


def parts(url: str, folder: Path, *, finished: int, repeats: int = 12) -> Cost:
    """What a trial costs in a study of so many finished trials."""
    import optuna
    from optuna.trial import Trial

    from tuner.definition.loading import load_study_file
    from tuner.search import samplers
    from tuner.storage import study_store
    from tuner.storage.access import open_records
    from tuner.storage.allocate import Allocator
    from tuner.storage.leases import Observer, Owner

    file = load_study_file(write_study(folder, finished + 1000))
    records, other = open_records(url, create=True), open_records(url)
    study = study_store.open_study(records, file, study_store.Origin({}))
    fill(records, study, file, finished)
    study.sampler = samplers.make(file, 0)
    theirs = optuna.load_study(study_name=study.study_name, storage=other)
    allocator = Allocator(study, owner=Owner.this_process(), observer=Observer(), total=None)
    began = time.perf_counter()
    study.get_trials(deepcopy=False)
    first = 1000 * (time.perf_counter() - began)
    rows = []
    for _ in range(repeats):
        foreign = other.claim(study._study_id, user_attrs={})
        file.space.suggest(Trial(theirs, foreign._trial_id))
        theirs.tell(foreign.number, 1.0)
        times = [_now()]
        claimed: Any = allocator.next()
        times.append(_now())
        study.get_trials(deepcopy=False)
        times.append(_now())
        trial = Trial(study, claimed._trial_id)
        file.space.suggest(trial)
        records.flush(claimed._trial_id)
        times.append(_now())
        for epoch in range(REPORTS):
            trial.report(0.5, epoch + 1)
        study.tell(trial, 1.0)
        times.append(_now())
        rows.append([[1000 * (b - a) for a, b in zip(*pair, strict=True)] for pair in pairwise(times)])
    wall, cpu = np.median(rows[2:], axis=0).T.tolist()
    return Cost(wall, cpu, first)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def fill(records: Any, study: Any, file: Any, count: int) -> None:
    """Writes finished trials straight into the tables: thousands in seconds."""
    import sqlalchemy
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models
    from optuna.trial import TrialState

    numbers = random.Random(0)
    distributions = {name: distribution_to_json(d) for name, d in file.space.distributions().items()}
    engine = records.optuna_storage._backend.engine
    with engine.begin() as connection:
        start = datetime(2026, 1, 1)
        highest = connection.execute(
            sqlalchemy.select(sqlalchemy.func.max(models.TrialModel.trial_id))
        ).scalar()
        taken = connection.execute(
            sqlalchemy.select(sqlalchemy.func.count(models.TrialModel.trial_id))
        ).scalar()
        first_id, first_number = (highest or 0) + 1, int(taken or 0)
        trials, params, values, reports = [], [], [], []
        for index in range(count):
            trial_id, drawn = first_id + index, {name: numbers.random() for name in distributions}
            trials.append(
                {
                    "trial_id": trial_id,
                    "number": first_number + index,
                    "study_id": study._study_id,
                    "state": TrialState.COMPLETE,
                    "datetime_start": start,
                    "datetime_complete": start + timedelta(seconds=index),
                }
            )
            values.append(
                {"trial_id": trial_id, "objective": 0, "value": sum(drawn.values()), "value_type": "FINITE"}
            )
            for name, value in drawn.items():
                params.append(
                    {
                        "trial_id": trial_id,
                        "param_name": name,
                        "param_value": value,
                        "distribution_json": distributions[name],
                    }
                )
            for step in range(1, REPORTS + 1):
                reports.append(
                    {
                        "trial_id": trial_id,
                        "step": step,
                        "intermediate_value": 0.5,
                        "intermediate_value_type": "FINITE",
                    }
                )
        for model, rows in (
            (models.TrialModel, trials),
            (models.TrialParamModel, params),
            (models.TrialValueModel, values),
            (models.TrialIntermediateValueModel, reports),
        ):
            connection.execute(sqlalchemy.insert(model.__table__), rows)
        if engine.name == "postgresql":
            connection.execute(
                sqlalchemy.text("SELECT setval('trials_trial_id_seq', (SELECT max(trial_id) FROM trials))")
            )
