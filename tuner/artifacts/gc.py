"""Finds and removes files that no study, bundle or resumed run needs any more.

Only files of studies in this storage are removed. Folders of other studies, data sets, and objects of other
studies in the artefact store stay. Studies that are running are skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.artifacts import checkpoints, weights
from tuner.artifacts.artifact_store import StoreFailed
from tuner.artifacts.run_store import RunStore, StoreLocation
from tuner.base import plugins
from tuner.base.errors import InputError, reason_of
from tuner.base.files import read_json, size_of
from tuner.base.run_folder import TRIAL
from tuner.storage.allocate import is_paused
from tuner.storage.attributes import CHECKPOINT, FILE
from tuner.storage.leases import process_start
from tuner.storage.records import Records
from tuner.storage.study import OpenStudy, stored_file
from tuner.workloads.registry import workload_if_known

KINDS = ("weights", "unfinished runs", "checkpoints", "partial files", "runs in the store")
OLD_SECONDS = 3600.0
_PARTIAL = re.compile(r"\.partial(-(?P<pid>\d+))?$|^\.[\w.-]+\.(old-)?(?P<writer>\d+)$")


@dataclass(frozen=True)
class Item:
    """Something to remove: a path, or an object in the store (`key`)."""

    kind: str
    size: int
    path: Path | None = None
    key: str | None = None
    store: RunStore | None = None


@dataclass
class Found:
    """What can be removed, and what was skipped and why."""

    items: list[Item] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Kind → number of items and bytes."""
        return {
            kind: (len(mine), sum(item.size for item in mine))
            for kind in KINDS
            if (mine := [item for item in self.items if item.kind == kind])
        }


def find(records: Records | None, results: Path, *, keep: int = weights.KEEP) -> Found:
    """Everything that can be removed from `results` and from the studies' stores.

    Args:
        records: None if there is no storage (yet). Then only partial files are found.
    """
    found = Found()
    busy: set[str] = set()
    known: set[str] = set()
    if records is not None:
        members: dict[str, set[int]] = {}  # of studies: trials whose run folders are in use (in an ensemble)
        for needed_runs in plugins.hooks("needed_runs"):
            for name, numbers in needed_runs(results).items():
                members.setdefault(name, set()).update(numbers)
        known = set(optuna.get_all_study_names(records))
        for name in sorted(known):
            study = OpenStudy(records, name)
            if running := study.running():
                busy.add(name)
                found.skipped.append(f"{name}: is running now ({running[0]})")
            elif FILE not in study.user_attrs:
                found.skipped.append(f"{name}: was not made by this tuner")
            else:
                _of_study(study, results, members.get(name, set()), keep, found)
        for folder in _folders(results / "runs"):
            if folder.name not in known:
                found.skipped.append(f"{folder}: its study is not in this storage")
    found.items += _partial(results, busy, known - busy)
    return found


def remove(found: Found) -> list[str]:
    """Removes the items. Returns one line for each item that could not be removed."""
    failed = []
    for item in found.items:
        try:
            if item.path is not None and item.path.is_dir() and not item.path.is_symlink():
                shutil.rmtree(item.path)
            elif item.path is not None:
                item.path.unlink(missing_ok=True)
            elif item.store is not None and item.key is not None:
                item.store.store.remove(item.key)
        except (OSError, StoreFailed) as error:
            failed.append(f"{item.path or item.key}: {reason_of(error)}")
    return failed


def _of_study(study: OpenStudy, results: Path, members: Set[int], keep: int, found: Found) -> None:
    trials = study.get_trials(deepcopy=False)
    file = stored_file(study)
    kept, patterns = weights.kept(trials, file, keep=keep), workload_if_known(file).weights
    by_number = {trial.number: trial for trial in study.everything()}
    foreign = []
    for folder in _folders(results / "runs" / study.study_name):
        if not folder.name.isdigit():
            continue
        trial = by_number.get(int(folder.name))
        if trial is None or not _is_of(folder, trial):
            foreign.append(folder.name)
        elif is_paused(trial):
            continue
        elif trial.state in (TrialState.WAITING, TrialState.FAIL) and not (folder / TRIAL).exists():
            found.items.append(Item("unfinished runs", size_of(folder), folder))
        elif trial.number not in kept | members:
            for path in weights.files(folder, patterns):
                found.items.append(Item("weights", path.stat().st_size, path))
    if foreign:
        more = " …" if len(foreign) > 5 else ""
        found.skipped.append(
            f"{study.study_name}: run folders {', '.join(foreign[:5])}{more} have no trials in this storage"
        )
    going_on = {
        str(trial.user_attrs[CHECKPOINT])
        for trial in trials
        if not trial.state.is_finished() and CHECKPOINT in trial.user_attrs
    }
    for folder in _folders(results / checkpoints.FOLDER / study.study_name):
        if folder.name not in going_on and not folder.name.startswith("."):
            found.items.append(Item("checkpoints", size_of(folder), folder))
    _in_store(study, kept, going_on, found)


def _is_of(folder: Path, trial: FrozenTrial) -> bool:
    """Whether `folder` belongs to this trial, not to a study with the same name in another storage."""
    try:
        told = read_json(folder / TRIAL) if (folder / TRIAL).exists() else None
        value = None if told is None else told["objective"]["value"]
    except (InputError, KeyError, TypeError):
        return False
    if told is None:  # its result was not reported: the trial returned to the queue, or to another agent
        return trial.state in (TrialState.WAITING, TrialState.FAIL)
    return value == (trial.values[0] if trial.values else None)


def _in_store(study: optuna.Study, kept: Set[int], going_on: Set[str], found: Found) -> None:
    """Finds objects of runs and checkpoints that are not kept, and archives without a manifest."""
    try:
        location = StoreLocation.of(study)
        if location is not None:
            _unneeded(RunStore(location), {str(number) for number in kept}, found)
            _unneeded(RunStore(checkpoints.store_location(location)), going_on, found)
    except (StoreFailed, InputError) as error:
        found.skipped.append(f"{study.study_name}: its runs in the store: {error}")


def _unneeded(store: RunStore, kept: Set[str], found: Found) -> None:
    objects, needed = store.objects(), set()
    for name in (f"{store.location.folder}/{each}.json" for each in kept):
        if name in objects:
            manifest = store.store.read_json(name)
            needed |= {name, str(manifest.get("archive")) if isinstance(manifest, dict) else ""}
    # manifests first: if removal stops half-way, the run already counts as absent
    for key in sorted(set(objects) - needed, key=lambda key: (not key.endswith(".json"), key)):
        found.items.append(Item("runs in the store", objects[key], key=key, store=store))


def _partial(results: Path, busy: Set[str], idle: Set[str]) -> Iterator[Item]:
    """Temporary files and folders whose writer is gone: all in folders of idle studies, elsewhere only old
    ones, because the writer may be on another machine.
    """
    for folder in (results, results / "runs", results / "ensembles"):
        yield from _partial_in(folder, old_only=True)
    for study in _folders(results / "runs"):
        if study.name not in busy:
            kept = results / checkpoints.FOLDER / study.name
            for folder in (study, kept, *(run for run in _folders(study) if run.name.isdigit())):
                yield from _partial_in(folder, old_only=study.name not in idle)


def _partial_in(folder: Path, *, old_only: bool) -> Iterator[Item]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _PARTIAL.search(path.name)
        if match is None or path.is_symlink():
            continue
        writer = int(match["pid"] or match["writer"] or os.getpid())
        if writer != os.getpid() and process_start(writer) is not None:
            continue  # it still runs on this machine
        if not old_only or time.time() - path.lstat().st_mtime > OLD_SECONDS:
            yield Item("partial files", size_of(path), path)


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())
