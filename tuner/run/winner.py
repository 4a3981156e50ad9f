"""A study's winner, and the configuration that the next study inherits from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from tuner.base.errors import InputError
from tuner.base.files import read_object
from tuner.base.run_folder import CONFIG, if_readable
from tuner.search import ranking
from tuner.storage.attributes import CONFIRMED, ORIGIN
from tuner.storage.records import Records
from tuner.storage.study import find_study, stored_file
from tuner.workloads.registry import workload_if_known
from tuner.workloads.workload import Workload


@dataclass(frozen=True)
class Winner:
    """The best trial of a study.

    Attributes:
        inherits: its values that differ from a plain run's.
        default: no gain over the default configuration was shown, so `inherits` has nothing of the study.
    """

    study: str
    number: int
    value: float
    confirmed: bool
    inherits: Mapping[str, Any]
    default: bool = False

    def describe(self) -> str:
        if self.default:
            return f"default configuration of {self.study} (no gain found, {self.value:.4g})"
        kind = "confirmed winner" if self.confirmed else "winner"
        return f"{kind} of {self.study} (trial {self.number}, {self.value:.4g})"


def inherited(records: Records, name: str, results: Path) -> Winner | None:
    """The winner of study `name`, confirmed if it was; None when no trial is complete and feasible."""
    study = find_study(records, name)
    trial = None if study is None else winning_trial(study)
    return None if study is None or trial is None else winner_from(study, trial, results)


def winner_from(study: optuna.Study, trial: FrozenTrial, results: Path) -> Winner:
    """The trial as a winner, with what it hands on."""
    raced = CONFIRMED.of(study)
    confirmed = raced if raced.get("number") == trial.number else {}
    config = config_of(study, trial, results)
    if confirmed.get("default"):  # no gain was shown: nothing of the study is handed on
        config = dict(ORIGIN.of(study).get("base") or {})
    value = confirmed["mean"] if confirmed else trial.values[0]
    inherits = _inherited(config, workload_if_known(stored_file(study)))
    default = bool(confirmed.get("default"))
    return Winner(study.study_name, trial.number, value, bool(confirmed), inherits, default)


def winning_trial(study: optuna.Study) -> FrozenTrial | None:
    """The trial that the study hands on (`ranking.winner`); None if no trial is feasible."""
    file = stored_file(study)
    best = ranking.ranked(study.get_trials(deepcopy=False), file)
    return ranking.winner(best, study.user_attrs, file)


def config_of(study: optuna.Study, trial: FrozenTrial, results: Path) -> dict[str, Any]:
    """Every value that a trial was run with, as its run folder tells, or else the study."""
    found = if_readable(read_object, results / "runs" / study.study_name / str(trial.number) / CONFIG)
    if found is not None:
        return found
    own = stored_file(study).space.config_of(trial.params)
    origin = ORIGIN.of(study)
    return {**(origin.get("base") or {}), **own, **(origin.get("overrides") or {})}


def _inherited(config: Mapping[str, Any], workload: Workload) -> dict[str, Any]:
    """The values that a winner hands on: those that a plain run would not have anyway."""
    try:
        defaults = workload.defaults() or {}
    except InputError:  # the code that ran is not here any more
        defaults = {}
    return {
        name: value
        for name, value in config.items()
        if name not in workload.not_inherited and (name not in defaults or defaults[name] != value)
    }
