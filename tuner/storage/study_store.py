"""Making a study in the storage, and coming back to it: what it was made from, and what may change since."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from tuner.base.errors import InputError
from tuner.definition.study_file import StudyFile
from tuner.storage.allocate import STOPPED, TARGET
from tuner.storage.records import Records

FILE = "study_file"  # study attribute: the study file as plain values
DIGEST = "digest"
ORIGIN = "origin"  # where base values come from, overrides, data set: what a resumed study must share
TOTAL = "run_cap"
PRUNER = "pruner"
PATH = "path"
RETRAINED = (".confirm", ".verify")  # suffixes of the studies that retrain a study's best


@dataclass(frozen=True)
class Origin:
    """What a study's trials rest on besides its file.

    Attributes:
        base: values beneath the space's.
        base_from: where `base` comes from, in words ("winner of vocabulary_bucketing (trial 7)"), or "".
        overrides: values above the space's (`--set`).
        data: the data set's name and content hash, or "".
    """

    base: Mapping[str, Any]
    base_from: str = ""
    overrides: Mapping[str, Any] | None = None
    data: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "base": dict(self.base),
            "base_from": self.base_from,
            "overrides": dict(self.overrides or {}),
            "data": self.data,
        }


def open_study(
    records: Records,
    study_file: StudyFile,
    origin: Origin,
    *,
    trials: int | None = None,
    default: Mapping[str, Any] | None = None,
) -> tuple[optuna.Study, int | None]:
    """The study of `study_file` in the storage, made when it is not there yet.

    Args:
        trials: finished trials wanted; None: what the study already wants, or the file's run_cap.
        default: a configuration to try as trial 0 of a new study.

    Returns:
        The study, and the finished trials wanted (None: no end).

    Raises:
        InputError: the study was made from something else; the message is a diff.
    """
    with records.lock:
        if study_file.name in optuna.get_all_study_names(records):
            study = optuna.load_study(study_name=study_file.name, storage=records)
            _check_same(study, study_file, origin)
        else:
            study = _create(records, study_file, origin, default)
        stored = study.user_attrs
        total = trials if trials is not None else stored.get(TOTAL, study_file.run_cap)
        if trials is None and study_file.run_cap is not None and TOTAL in stored:
            total = max(filter(None, (stored[TOTAL], study_file.run_cap)), default=None)
        if stored.get(TOTAL) != total:
            study.set_user_attr(TOTAL, total)
        if stored.get(DIGEST) != study_file.digest():
            study.set_user_attr(FILE, dict(study_file.raw))
            study.set_user_attr(DIGEST, study_file.digest())
        stopped = str(stored.get(STOPPED) or "")
        if stopped and not stopped.startswith(TARGET):
            study.set_user_attr(STOPPED, None)  # asked to go on in spite of the failures
    return study, total


def _create(
    records: Records, study_file: StudyFile, origin: Origin, default: Mapping[str, Any] | None
) -> optuna.Study:
    fixed = None
    if default is not None and study_file.method != "grid":
        params = study_file.space.params_for(default, nearest=True)
        if params and not study_file.space.violated({**default, **study_file.space.config_of(params)}):
            fixed = params
    records.make_study(
        study_file.name,
        objectives=[(metric.name, metric.goal) for metric in study_file.objectives],
        user_attrs={
            FILE: dict(study_file.raw),
            DIGEST: study_file.digest(),
            PATH: str(study_file.path.resolve()),
            ORIGIN: origin.to_dict(),
            PRUNER: study_file.pruner.to_dict(),
        },
        first=fixed,
    )
    return optuna.load_study(study_name=study_file.name, storage=records)


def _check_same(study: optuna.Study, study_file: StudyFile, origin: Origin) -> None:
    stored = study.user_attrs
    if FILE not in stored:
        raise InputError(
            f"the storage has a study '{study.study_name}' that was not made here; "
            "rename yours, or set it aside with --fresh"
        )
    before, after = dict(stored[FILE]), dict(study_file.raw)
    if study_file.function is not None:  # given in Python: where it was defined is no setting
        before, after = _unnamed(before), _unnamed(after)
    widened = (after.get("run_cap") or 0) >= (before.get("run_cap") or 0)
    if widened:
        before.pop("run_cap", None)
        after.pop("run_cap", None)
    changes = _diff({"file": before}, {"file": after}) + _diff(stored.get(ORIGIN, {}), origin.to_dict())
    if changes:
        done = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        raise ChangedStudy(study.study_name, done, changes)


def _unnamed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study file without the name of what it runs."""
    own = {k: v for k, v in (raw.get("tuner") or {}).items() if k not in ("objective", "workload")}
    return {**raw, "tuner": own}


class ChangedStudy(InputError):
    """A study that was begun with something else; `changes` is the diff, line by line."""

    def __init__(self, name: str, done: int, changes: list[str]) -> None:
        self.changes = changes
        super().__init__(
            f"study '{name}' ({done} trials) was begun with other settings: {'; '.join(changes)}. "
            "Undo the change, or start over with --fresh (the old study is kept under another name)"
        )


def _diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The changed lines, as `- old` and `+ new`."""
    lines = difflib.unified_diff(_lines(before), _lines(after), lineterm="", n=0)
    return [line[0] + " " + line[1:].strip() for line in lines if line[:2] not in ("--", "++", "@@")]


def _lines(content: Any, path: str = "") -> list[str]:
    """Nested values as `a.b: value` lines."""
    if isinstance(content, Mapping) and content:
        prefix = f"{path}." if path else ""
        return [line for key in sorted(content) for line in _lines(content[key], f"{prefix}{key}")]
    return [f"{path}: {json.dumps(content, sort_keys=True)}"]


def set_aside(records: Records, name: str, results: Path, *, now: datetime | None = None) -> str | None:
    """Renames a study, its run folders and W&B runs, so that one of its name can start afresh.

    The studies that retrained its best go with it: they are of the old study's configurations.

    Returns:
        The new name; None when there is no such study.

    Raises:
        InputError: agents are running its trials.
    """
    names = optuna.get_all_study_names(records)
    if name not in names:
        return None
    ids = {n: records.get_study_id_from_name(n) for n in (name, *(name + s for s in RETRAINED)) if n in names}
    stamp = f"{(now or datetime.now()):%Y%m%d-%H%M%S}"
    marks = (stamp if count == 1 else f"{stamp}-{count}" for count in itertools.count(1))
    mark = next(mark for mark in marks if not any(f"{each}@{mark}" in names for each in ids))
    with records.lock:
        for each, study_id in ids.items():
            counts = records.counts(study_id)
            if counts[TrialState.RUNNING] and _someone_is_there(records, study_id):
                raise InputError(
                    f"study '{each}' is being run at this moment; stop its agents before --fresh"
                )
        for each, study_id in ids.items():
            kept = f"{each}@{mark}"
            for kind in ("runs", "wandb"):
                folder = results / kind / each
                if folder.exists():
                    folder.rename(results / kind / kept)
            records.rename_study(study_id, each, kept)
    return f"{name}@{mark}"


def _someone_is_there(records: Records, study_id: int) -> bool:
    from tuner.storage.leases import Observer

    observer = Observer()
    leases = [(trial_id, lease) for trial_id, _, lease in records.running(study_id) if lease]
    return any(observer.gone(trial_id, lease) is None for trial_id, lease in leases)
