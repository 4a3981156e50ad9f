"""A second copy of what the database knows of finished trials, in their run folders.

A study's settings lie in `runs/STUDY/study.json`, a finished trial in `runs/STUDY/NUMBER/trial.json` under
`record`. `repair` makes a database of them. Run folders of older versions have no record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.base.errors import InputError
from tuner.base.files import make_folder, read_object, write_json
from tuner.base.run_folder import TRIAL
from tuner.storage.attributes import LEASE
from tuner.storage.optuna_private import METRIC_NAMES

STUDY = "study.json"
RECORD = "record"  # key of trial.json


@dataclass
class StudyRecord:
    """A study as it is stored. `trials`: by number."""

    name: str
    directions: list[StudyDirection]
    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]
    trials: dict[int, FrozenTrial] = field(default_factory=dict)


def write_study(study: optuna.Study, results: Path) -> None:
    """Writes the study's settings beside its run folders."""
    folder = results / "runs" / study.study_name
    make_folder(folder)
    content = {
        "directions": [direction.name for direction in study.directions],
        "metric_names": study.metric_names or [],
        "user_attrs": study.user_attrs,
    }
    write_json(folder / STUDY, content)


def of_trial(trial: FrozenTrial) -> dict[str, Any]:
    """A finished trial as `trial.json` keeps it."""
    return {
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": {name: distribution_to_json(d) for name, d in trial.distributions.items()},
        "user_attrs": {name: value for name, value in trial.user_attrs.items() if name != LEASE},
        "system_attrs": trial.system_attrs,
        "reports": list(trial.intermediate_values.items()),
        "started": trial.datetime_start and trial.datetime_start.isoformat(),
        "ended": (trial.datetime_complete or datetime.now()).isoformat(),
    }


def studies(results: Path) -> list[StudyRecord]:
    """The studies whose settings lie in the results folder, named as their folders are, without trials."""
    return [_study(path) for path in sorted((results / "runs").glob(f"*/{STUDY}"))]


def trials(results: Path, study: str) -> Iterator[FrozenTrial | InputError]:
    """The study's finished trials; in place of one that cannot be read, why."""
    for path in _ended(results, study):
        try:
            yield _trial(path)
        except InputError as error:
            yield error


def count(results: Path, study: str) -> int:
    """How many run folders of ended trials the study has."""
    return len(_ended(results, study))


def _ended(results: Path, study: str) -> list[Path]:
    paths = (results / "runs" / study).glob(f"*/{TRIAL}")
    return sorted(path for path in paths if path.parent.name.isdigit())


def _study(path: Path) -> StudyRecord:
    content = read_object(path)
    try:
        directions = [StudyDirection[name] for name in content["directions"]]
        metrics = list(content["metric_names"])
        own = {METRIC_NAMES: metrics} if metrics else {}
        return StudyRecord(path.parent.name, directions, dict(content["user_attrs"]), own)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no settings of a study ({error!r})") from None


def _trial(path: Path) -> FrozenTrial:
    content = read_object(path).get(RECORD)
    if content is None:
        raise InputError(f"{path}: has no record of the trial (an older version wrote it)")
    try:
        begun, ended = content["started"], content["ended"]
        return FrozenTrial(
            number=int(path.parent.name),
            trial_id=-1,
            state=TrialState[content["state"]],
            value=None,
            values=content["values"],
            params=dict(content["params"]),
            distributions={n: json_to_distribution(text) for n, text in content["distributions"].items()},
            user_attrs=dict(content["user_attrs"]),
            system_attrs=dict(content["system_attrs"]),
            intermediate_values={int(step): float(value) for step, value in content["reports"]},
            datetime_start=begun and datetime.fromisoformat(begun),
            datetime_complete=ended and datetime.fromisoformat(ended),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no record of a trial ({error!r})") from None
