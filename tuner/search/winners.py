"""A study's winner, and what the next study takes over from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from model.errors import InputError, nearest
from model.run_folder import CONFIG, read_json
from tuner.definition.study_file import StudyFile
from tuner.search import ranking
from tuner.storage.records import Records
from tuner.storage.stored import CONFIRMED, check
from tuner.storage.study_store import FILE, ORIGIN, PATH

NOT_INHERITED = frozenset({"epochs", "seed", "split_seed", "device", "track"})


@dataclass(frozen=True)
class Winner:
    """The best trial of a study. `inherits`: its values that differ from our model's defaults."""

    study: str
    number: int
    value: float
    confirmed: bool
    inherits: Mapping[str, Any]

    def describe(self) -> str:
        kind = "confirmed winner" if self.confirmed else "winner"
        return f"{kind} of {self.study} (trial {self.number}, {self.value:.4g})"


def inherited(records: Records, name: str, results: Path) -> Winner | None:
    """The winner of study `name`, confirmed if it was; None when it has no complete trial."""
    if name not in optuna.get_all_study_names(records):
        return None
    study = optuna.load_study(study_name=name, storage=records)
    trial = winning_trial(study)
    if trial is None:
        return None
    confirmed = study.user_attrs.get(CONFIRMED)
    config = config_of(study, trial, results)
    value = confirmed["mean"] if confirmed else trial.values[0]
    return Winner(name, trial.number, value, bool(confirmed), _differing(config))


def winning_trial(study: optuna.Study) -> FrozenTrial | None:
    """The confirmed winner where the campaign confirmed one, else the best complete trial."""
    best = ranking.ranked(study.get_trials(deepcopy=False), stored_file(study))
    confirmed = study.user_attrs.get(CONFIRMED)
    return next((t for t in best if confirmed and t.number == confirmed["number"]), best[0] if best else None)


def config_of(study: optuna.Study, trial: FrozenTrial, results: Path) -> dict[str, Any]:
    """Every value that a trial was run with, as its run folder tells, or else the study."""
    path = results / "runs" / study.study_name / str(trial.number) / CONFIG
    if path.exists():
        return dict(read_json(path))
    own = stored_file(study).space.config_of(trial.params)
    origin = study.user_attrs.get(ORIGIN) or {}
    return {**(origin.get("base") or {}), **own, **(origin.get("overrides") or {})}


def stored_file(study: optuna.Study) -> StudyFile:
    """The study file that a study was made from, as the storage keeps it.

    Raises:
        InputError: the study was not made by this tuner, or its attributes were changed since.
    """
    raw = study.user_attrs.get(FILE)
    if raw is None:
        raise InputError(f"study '{study.study_name}' was not made by this tuner")
    check(study)
    path = Path(study.user_attrs.get(PATH, f"{study.study_name}.yaml"))
    try:
        return file_of(raw, name=study.study_name, path=path)
    except InputError as error:
        reason = str(error).partition(".yaml:")[2] or str(error)
        raise InputError(
            f"study '{study.study_name}': attribute '{FILE}': no study file of ours (line {reason})"
        ) from None


def file_of(raw: Mapping[str, Any], *, name: str, path: Path) -> StudyFile:
    """The study file that the plain values `raw` make, as if read from `path`."""
    from tuner.definition.parse import parse_study

    with TemporaryDirectory() as folder:
        written = Path(folder) / f"{name}.yaml"
        written.write_text(json.dumps(raw), encoding="utf-8")  # JSON is YAML
        return replace(parse_study(written), name=name, path=path)


def load_study(records: Records, name: str) -> optuna.Study:
    """The study `name`; InputError names the ones that there are."""
    names = optuna.get_all_study_names(records)
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise InputError(f"no study '{name}' in the storage{nearest(name, names)} (there are: {known})")
    return optuna.load_study(study_name=name, storage=records)


def finished(counts: Mapping[TrialState, int]) -> int:
    """Trials that count towards a study's number."""
    return counts[TrialState.COMPLETE] + counts[TrialState.PRUNED]


def in_words(values: Mapping[str, Any]) -> str:
    """`learning_rate=0.0012, scheduler=cosine`, or "nothing that differs from the defaults"."""
    if not values:
        return "nothing that differs from the defaults"
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())


def _differing(config: Mapping[str, Any]) -> dict[str, Any]:
    from model.config import Config

    defaults = Config().to_dict()
    return {
        name: value
        for name, value in config.items()
        if name not in NOT_INHERITED and (name not in defaults or defaults[name] != value)
    }
