"""Makes a study in the storage or opens it again, and takes over what has changed in its study file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.base.errors import InputError
from tuner.base.words import slug
from tuner.definition.loading import FOLDER, from_plain
from tuner.definition.study_file import StudyFile
from tuner.storage import changes, file_changes, second_record
from tuner.storage.allocate import Allocator
from tuner.storage.attributes import (
    ASKED,
    CHANGES,
    CONFIRMED,
    DIGEST,
    FILE,
    FROM_RESULTS,
    ORIGIN,
    PATH,
    PRUNER,
    SCORE,
    STOPPED,
    TOTAL,
)
from tuner.storage.changes import Change, Settings
from tuner.storage.leases import Observer, Owner
from tuner.storage.records import Records
from tuner.storage.study import GOOD_ENDS, TARGET, OpenStudy, find_study, score_of

ALL_FAILED = "all trials before the change failed, so the study begins anew"
RETRAINED = (".confirm", ".verify")  # name suffixes of the studies that train a study's best trials again


@dataclass(frozen=True)
class Origin:
    """The settings of a study's trials that are not in its study file.

    Attributes:
        base: values that the space replaces.
        base_from: where `base` comes from, in words ("winner of vocabulary_bucketing (trial 7)"), or "".
        overrides: values that replace those of the space (`--set`).
        data: the data set's name and content hash, or "".
    """

    base: Mapping[str, Any]
    base_from: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""


def open_study(
    records: Records,
    study_file: StudyFile,
    origin: Origin,
    *,
    trials: int | None = None,
    default: Mapping[str, Any] | None = None,
    results: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> OpenStudy:
    """Opens the study of `study_file`; makes it if it does not exist, and changes it if the file has changed.

    Args:
        trials: how many finished trials are wanted; None: as before, or the file's run_cap.
        default: the configuration of trial 0 of a new study; what old trials of a changed one had where the
            space said nothing.
        results: the results folder; where the study file lies from there tells it from others of its name.
        say: told in lines what has changed, and what becomes of old trials.

    Raises:
        InputError: the study was made from another file of the same name, or agents run it as it was.
        ChangedStudy: old results and new ones could not be compared.
    """
    here = _places(study_file.path, results)

    def opened() -> OpenStudy:
        before: Mapping[str, Any] | None = None
        study = find_study(records, study_file.name)
        if study is None:
            if results is not None:
                _keep_unknown_runs(study_file.name, results, say)
            study = _create(records, study_file, origin, default)
        else:
            _check_file(study, here)
            _check_name(study, study_file)
            change = change_of(study, study_file, origin, default)
            if change is not None:
                before = study.user_attrs[FILE]
                if change.disturbs:
                    _check_unattended(study)
                    change = change_of(study, study_file, origin, default) or change
                _take_over(study, study_file, change)
                for line in change.lines:
                    say(line)
            study.file = study_file
        stored = study.user_attrs
        wanted: dict[str, Any] = {
            **here,
            SCORE: study_file.metric.scored,
            TOTAL: _total(study_file, stored, trials, before),
        }
        changed = before is not None or DIGEST.of(stored) != study_file.digest()
        if changed:
            wanted |= {FILE: dict(study_file.raw), DIGEST: study_file.digest()}
        stopped = STOPPED.of(stored)
        if not (stopped.startswith(TARGET) or (stopped.startswith(GOOD_ENDS) and not changed)):
            wanted[STOPPED] = None  # the user starts it again in spite of the failures
        study.asked_before = ASKED.of(stored)  # or after it was stopped from another terminal
        for name, value in wanted.items():
            if stored.get(name) != value:
                study.set_user_attr(name, value)
        return study

    return records.together(opened)


def _places(path: Path, results: Path | None) -> dict[str, str]:
    """Where a study file lies: its path, and that from the results folder, which survives a copy."""
    here: dict[str, str] = {PATH: str(path.resolve())}
    if results is not None and path.parent != FOLDER:  # a shipped study is the same wherever it is installed
        here[FROM_RESULTS] = os.path.relpath(path.resolve(), results.resolve())
    return here


def named_apart(records: Records | None, file: StudyFile, results: Path) -> StudyFile:
    """`file`, called after its folder too where a study of another file has its name.

    W&B tells sweeps apart by an id. Here two folders, each with a `sweep.yaml` without `name:`, may share a
    results folder.
    """
    folders = [] if file.raw.get("name") else list(file.path.resolve().parts[1:-1])
    found = file
    while folders and is_of_another_file(records, found.name, file.path, results):
        found = replace(found, name=slug(f"{folders.pop()}-{found.name}"))
    return found


def is_of_another_file(records: Records | None, name: str, path: Path, results: Path) -> bool:
    """Whether a study of this name was made from another file than `path`, which is still there."""
    study = find_study(records, name)
    return study is not None and _other_file(study, _places(path, results)) is not None


def _other_file(study: OpenStudy, here: Mapping[str, str]) -> str | None:
    """The other file that the study was made from, if that is still there.

    A file that was moved, or copied together with the results folder, is the same study.
    """
    before, other = PATH.of(study), FROM_RESULTS.of(study)
    same = before == here[PATH] or not other or other == here.get(FROM_RESULTS)
    return before if not same and before and Path(before).is_file() else None


def _check_file(study: OpenStudy, here: Mapping[str, str]) -> None:
    """Raises InputError if the study was made from another file, which is still there."""
    before = _other_file(study, here)
    if before is not None:
        raise InputError(
            f"{before} and {here[PATH]} are both named '{study.study_name}': give one of them a 'name:' of "
            "its own, or another results folder (--results)"
        )


def _check_name(study: OpenStudy, study_file: StudyFile) -> None:
    """Raises InputError if the study was begun under another name that is written the same way in folders."""
    before, now = (FILE.of(study) or {}).get("name"), study_file.raw.get("name")
    if before != now and isinstance(before, str) and isinstance(now, str) and slug(before) == slug(now):
        raise InputError(
            f"'{now}' and '{before}' would both be the study '{study.study_name}': give one of them another "
            f"name, or write '{before}' to continue that study"
        )


def _keep_unknown_runs(name: str, results: Path, say: Callable[[str], None]) -> None:
    """Renames run folders of a study that the storage does not know: new trials would take their places."""
    ended = second_record.count(results, name)
    if not ended:
        return
    folder = results / "runs" / name
    kept = next(path for mark in _marks() if not (path := folder.with_name(f"{name}@{mark}")).exists())
    folder.rename(kept)
    say(
        f"{folder} held {ended} trials that the storage does not know; they are kept in {kept}, and "
        f"tuner doctor --repair makes the study '{kept.name}' of them"
    )


def _marks(now: datetime | None = None) -> Iterator[str]:
    """What tells names of the same study apart: a time, then numbered."""
    stamp = f"{(now or datetime.now()):%Y%m%d-%H%M%S}"
    return (stamp if count == 1 else f"{stamp}-{count}" for count in itertools.count(1))


def _create(
    records: Records, study_file: StudyFile, origin: Origin, default: Mapping[str, Any] | None
) -> OpenStudy:
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
            ORIGIN: asdict(origin),
            PRUNER: asdict(study_file.pruner),
            SCORE: study_file.metric.scored,
        },
        first=fixed,
        then=[params for params in map(study_file.space.params_for, study_file.first) if params != fixed],
    )
    return OpenStudy(records, study_file.name, study_file)


def change_of(
    study: OpenStudy, study_file: StudyFile, origin: Origin, default: Mapping[str, Any] | None
) -> Change | None:
    """How the study file differs from the one that the study was begun with; None: it does not.

    Args:
        default: what a trial has that the space says nothing about, as far as it is known.

    Raises:
        InputError: the study was not made by this tuner.
        ChangedStudy: its results and new ones could not be compared.
    """
    stored = study.user_attrs
    if FILE not in stored:
        raise InputError(
            f"the storage has a study '{study.study_name}' that was not made here; "
            "rename yours, or set it aside with --fresh"
        )
    before, after = _comparable(stored[FILE], study_file)
    names = [parameter.name for parameter in study_file.space.parameters]
    differences = file_changes.refused(before, after, names)
    differences += file_changes.diff(ORIGIN.of(stored), asdict(origin))
    scores = score_of(stored, study_file), study_file.metric.scored
    differences += file_changes.diff(*({"file": {"tuner": {"score": score}}} for score in scores))
    if before == after and not differences:
        return None
    try:
        old = from_plain(stored[FILE], name=study_file.name, path=study_file.path)
    except InputError:  # this version does not read it any more
        differences += file_changes.diff({"file": before}, {"file": after})
        old = study_file
    if differences:
        raise ChangedStudy(study.study_name, study.get_trials(deepcopy=False), differences)
    known = {**(default or {}), **study_file.base.config, **origin.base, **study_file.defaults}
    return changes.find(study.everything(), old, study_file, Settings(known, origin.overrides))


def _take_over(study: OpenStudy, study_file: StudyFile, change: Change) -> None:
    """Writes a change into the storage, whole or not at all."""
    stored = study.attrs
    attrs: dict[str, Any] = {
        FILE: dict(study_file.raw),
        DIGEST: study_file.digest(),
        PRUNER: asdict(study_file.pruner),
    }
    if change.disturbs:
        attrs[CHANGES] = CHANGES.of(stored) + 1
    if CONFIRMED.of(stored).get("number") in change.left:
        attrs[CONFIRMED] = None
    study.records.amend(study.id, change.amendments, attrs)


def _check_unattended(study: OpenStudy) -> None:
    """Raises InputError where agents run trials; queues those of agents that died."""
    Allocator(study, owner=Owner.this_process(), observer=Observer(), total=None).reap()
    if study.running():
        raise InputError(
            f"study '{study.study_name}' is being run at this moment with the file as it was; "
            "stop its agents, then change it"
        )


def _total(
    study_file: StudyFile, stored: Mapping[str, Any], trials: int | None, before: Mapping[str, Any] | None
) -> int | None:
    """How many finished trials are wanted: what was asked for, else the file's number where that is new.

    Args:
        before: the study file as it was, where it has changed.
    """
    known, cap = TOTAL.of(stored), study_file.run_cap
    if trials is not None:
        return trials
    if TOTAL not in stored or (before is not None and before.get("run_cap") != study_file.raw.get("run_cap")):
        return cap
    if cap is None:
        return known
    if before is not None and study_file.method == "grid":  # its points are others now
        return cap
    return max(known or 0, cap)


def _comparable(before: Mapping[str, Any], study_file: StudyFile) -> list[dict[str, Any]]:
    """The study file as it was and as it is, to be compared.

    Files made before 0.2 name no workload: the name alone is no change. When a study stops may be changed as
    well: its trials are the same. `score` is an attribute of the study.
    """
    left_out = {"stop", "score"}
    if "workload" not in (before.get("tuner") or {}):
        left_out |= {"workload", "on"}
    if study_file.function is not None:  # given in Python: where it was defined is no setting
        left_out |= {"objective", "workload"}
    owns = [(file, (file.get("tuner") or {}).items()) for file in (before, study_file.raw)]
    return [{**file, "tuner": {k: v for k, v in own if k not in left_out}} for file, own in owns]


class ChangedStudy(InputError):
    """Results of the study as it is now could not be compared with its old ones; `changes` says why.

    `only_failures`: each of its trials failed before its first value, so there is nothing to compare.
    """

    def __init__(self, name: str, trials: Sequence[FrozenTrial], changes: list[str]) -> None:
        self.changes = changes
        done = sum(trial.state.is_finished() for trial in trials)
        failed = sum(trial.state is TrialState.FAIL for trial in trials)
        begun = sum(bool(trial.intermediate_values) or trial.state is TrialState.RUNNING for trial in trials)
        self.only_failures = 0 < failed == done and not begun
        super().__init__(
            f"study '{name}' ({done} trials) was started with other settings: {'; '.join(changes)}. "
            "Undo the change, or start over with --fresh (the old study is kept under another name)"
        )


def set_aside(records: Records, name: str, results: Path, *, now: datetime | None = None) -> str | None:
    """Renames a study, its run folders, checkpoints and W&B runs, so that a new study can have the name.

    Also renames the studies that trained its best trials again: they belong to the old study.

    Returns:
        The new name; None if there is no such study.

    Raises:
        InputError: agents are running its trials.
    """
    studies = [
        study for each in (name, *(name + s for s in RETRAINED)) if (study := find_study(records, each))
    ]
    if not studies or studies[0].study_name != name:
        return None
    known = optuna.get_all_study_names(records)
    mark = next(mark for mark in _marks(now) if not any(f"{s.study_name}@{mark}" in known for s in studies))

    def renamed() -> str:
        for study in studies:
            if study.running():
                raise InputError(
                    f"study '{study.study_name}' is being run at this moment; stop its agents before --fresh"
                )
        for study in studies:
            kept = f"{study.study_name}@{mark}"
            for kind in ("runs", "wandb", "checkpoints"):
                folder = results / kind / study.study_name
                if folder.exists():
                    folder.rename(results / kind / kept)
            records.rename_study(study.id, study.study_name, kept)
        return f"{name}@{mark}"

    return records.together(renamed)
