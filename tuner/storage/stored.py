"""Loads a study and its study file from a storage, and checks their attributes.

Other programs and people may have written to a storage. An attribute of the wrong type is an error in one
line here, not an exception later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from tuner.base.errors import InputError, nearest
from tuner.definition.loading import from_plain
from tuner.definition.study_file import StudyFile
from tuner.storage.queue import LEASE, STINTS, WHY
from tuner.storage.records import Records
from tuner.storage.study_store import CONFIRMED as CONFIRMED
from tuner.storage.study_store import FILE, ORIGIN, PATH, SCORE, TOTAL, score_of
from tuner.storage.study_store import VERIFIED as VERIFIED

NUMBER = (int, float)
STUDY: Mapping[str, tuple[type, ...]] = {
    FILE: (dict,),
    PATH: (str,),
    SCORE: (str,),
    ORIGIN: (dict,),
    TOTAL: (int, type(None)),
    CONFIRMED: (dict, type(None)),
    VERIFIED: (dict, type(None)),
}
TRIAL: Mapping[str, tuple[type, ...]] = {
    "metrics": (dict,),
    "parameters": NUMBER,
    "ms_per_window": NUMBER,
    "seconds": NUMBER,
    "violation": NUMBER,
    "run_folder": (str,),
    "repeats": (list,),
    LEASE: (dict, type(None)),
    "error": (str,),
    "pruned_because": (str,),
    WHY: (str,),
    STINTS: (list,),
}


def check(study: optuna.Study) -> None:
    """Raises InputError with study, trial and attribute for the first attribute of the wrong type."""
    _check(f"study '{study.study_name}'", study.user_attrs, STUDY)
    for trial in study.get_trials(deepcopy=False):
        where = f"study '{study.study_name}', trial {trial.number}"
        _check(where, trial.user_attrs, TRIAL)
        for name, value in trial.user_attrs.get("metrics", {}).items():
            if not isinstance(value, NUMBER):
                _fail(where, "metrics", f"a number for {name}", value)


def _check(where: str, attributes: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> None:
    for name, kind in kinds.items():
        if name in attributes and not isinstance(attributes[name], kind):
            _fail(where, name, " or ".join(k.__name__ for k in kind), attributes[name])


def _fail(where: str, name: str, expected: str, value: Any) -> None:
    raise InputError(
        f"{where}: attribute '{name}': expected {expected}, got {str(value)[:60]!r}; something else has "
        "written to this storage: restore a copy, or begin the study anew with --fresh"
    )


def training_seconds(trial: FrozenTrial) -> float:
    """What a trial has trained, as it says; else the time that it ran, without its pauses; 0 at first."""
    told = trial.user_attrs.get("seconds")
    if isinstance(told, int | float):
        return float(told)
    stints = [tuple(map(datetime.fromisoformat, stint[1:])) for stint in trial.user_attrs.get(STINTS, ())]
    if not stints and trial.datetime_start and trial.datetime_complete:
        stints = [(trial.datetime_start, trial.datetime_complete)]
    return sum(max(0.0, (end - begin).total_seconds()) for begin, end in stints)  # a clock may be set back


def load_study(records: Records, name: str) -> optuna.Study:
    """The study `name`; raises InputError with the names of all studies if there is no such study."""
    names = optuna.get_all_study_names(records)
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise InputError(f"no study named '{name}'{nearest(name, names)} (studies here: {known})")
    return optuna.load_study(study_name=name, storage=records)


def stored_file(study: optuna.Study) -> StudyFile:
    """The study file that a study was made from, from the study's attributes.

    Raises:
        InputError: the study was not made by this tuner, or its attributes were changed since.
    """
    raw = study.user_attrs.get(FILE)
    if raw is None:
        raise InputError(f"study '{study.study_name}' was not made by this tuner")
    check(study)
    path = Path(study.user_attrs.get(PATH, f"{study.study_name}.yaml"))
    try:
        file = from_plain(raw, name=study.study_name, path=path)
        return file.scored_by(score_of(study.user_attrs, file))
    except InputError as error:
        reason = str(error).partition(".yaml:")[2] or str(error)
        raise InputError(
            f"study '{study.study_name}': attribute '{FILE}': no study file of ours (line {reason})"
        ) from None
