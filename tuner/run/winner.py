"""A study's winner, and the configuration that the next study inherits from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from tuner.base.errors import InputError
from tuner.base.files import read_object
from tuner.base.nested import merged
from tuner.base.run_folder import CONFIG, if_readable
from tuner.search import ranking
from tuner.storage.attributes import CONFIRMED
from tuner.storage.study import OpenStudy
from tuner.workloads.registry import workload_if_known


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


def winner_from(study: OpenStudy, trial: FrozenTrial, results: Path) -> Winner:
    """The trial as a winner, with what it hands on."""
    raced = CONFIRMED.of(study)
    confirmed = raced if raced.get("number") == trial.number else {}
    config = config_of(study, trial, results)
    if confirmed.get("default"):  # no gain was shown: nothing of the study is handed on
        config = dict(study.origin.get("base") or {})
    value = confirmed["mean"] if confirmed else trial.values[0]
    workload = workload_if_known(study.file)
    try:
        plain = workload.defaults() or {}
    except InputError:  # the code that ran is not here any more
        plain = {}
    inherits = {
        name: value
        for name, value in config.items()
        if name not in workload.not_inherited and (name not in plain or plain[name] != value)
    }
    default = bool(confirmed.get("default"))
    return Winner(study.study_name, trial.number, value, bool(confirmed), inherits, default)


def winning_trial(study: OpenStudy) -> FrozenTrial | None:
    """The trial that the study hands on (`ranking.winner`); None if no trial is feasible."""
    best = ranking.ranked(study.get_trials(deepcopy=False), study.file)
    return ranking.winner(best, study.attrs, study.file)


def config_of(study: OpenStudy, trial: FrozenTrial, results: Path) -> dict[str, Any]:
    """Every value that a trial was run with: as its run folder tells, and what the study knows beside that.

    A parameter that was added to the study later is not in the folder, but the trial has its value.
    """
    found = if_readable(read_object, results / "runs" / study.study_name / str(trial.number) / CONFIG)
    own, origin = study.file.space.config_of(trial.params), study.origin
    known = {**(origin.get("base") or {}), **own, **(origin.get("overrides") or {})}
    return merged(known, found or {})
