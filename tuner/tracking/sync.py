"""Uploads the runs that the W&B server does not have yet: `tuner sync`.

For each trial:

- a complete W&B file that was not uploaded before is uploaded unchanged;
- if the W&B file is incomplete (a killed process, a full disk) or missing (W&B was off), a run is rebuilt
  from the run folder, with the same id.

The id of a trial never changes and its lines are numbered. So a repeated upload replaces lines and does not
duplicate them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError, WorkFailed
from tuner.base.files import read_object
from tuner.base.run_folder import CONFIG, METRICS, RESULT, read_metrics
from tuner.base.wandb_files import environment, identity, wandb_folder
from tuner.tracking import wandb_file
from tuner.tracking.mode import api_key, resolve, server
from tuner.tracking.tracker import WandbTracker
from tuner.tracking.worker import SYNCED

BATCH = 40  # runs per client process
POLL_SECONDS = 0.2
REBUILD_SECONDS = 2.0  # time limit per rebuilt run

Progress = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class Synced:
    """The result of `sync`.

    Attributes:
        before: already uploaded, by an earlier sync or online.
        failed: files that could not be uploaded; `log` has the reasons.
        damaged: what is wrong with files without which a run could not be rebuilt.
    """

    uploaded: int
    rebuilt: int
    before: int
    failed: tuple[Path, ...]
    log: Path | None
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trial:
    """A trial that has ended: its run folder (None: it has none) and its complete W&B files."""

    number: int
    folder: Path | None
    files: tuple[Path, ...]


def sync(results: Path, study_names: Sequence[str] = (), *, progress: Progress) -> Synced:
    """Uploads the runs of the named studies (none named: of all studies).

    Raises:
        InputError: there is no such study.
        WorkFailed: there is no key, or the server does not answer. Nothing was changed.
    """
    names = list(study_names) or _studies(results)
    for name in names:
        if name not in _studies(results):
            known = ", ".join(_studies(results)) or "none"
            raise InputError(f"'{name}' has no runs in {results} (studies: {known})")
    mode, reason = resolve("online")
    if mode != "online":
        why = reason.removeprefix("W&B offline: ").removesuffix("; `tuner sync` uploads later")
        raise WorkFailed(f"nothing uploaded: {why}")
    counts = [_sync_study(results, name, progress) for name in names]
    return Synced(
        sum(found.uploaded for found in counts),
        sum(found.rebuilt for found in counts),
        sum(found.before for found in counts),
        tuple(file for found in counts for file in found.failed),
        next((found.log for found in counts if found.failed), None),
        tuple(problem for found in counts for problem in found.damaged),
    )


def _studies(results: Path) -> list[str]:
    folders = [*results.glob("runs/*/"), *results.glob("wandb/*/")]
    return sorted({folder.name for folder in folders})


def _sync_study(results: Path, name: str, progress: Progress) -> Synced:
    folder = wandb_folder(results, name)
    torn = [trial for trial in _trials(results, name) if not trial.files and trial.folder]
    damaged = rebuild(folder, name, torn)
    files = [file for trial in _trials(results, name) for file in trial.files]
    waiting = [file for file in files if not is_synced(file)]
    log = folder / "sync.log"

    def show() -> None:
        progress(sum(map(is_synced, waiting)), len(waiting))

    show()
    for start in range(0, len(waiting), BATCH):
        _upload(waiting[start : start + BATCH], folder, log, show)
    failed = tuple(file for file in waiting if not is_synced(file))
    uploaded, rebuilt = len(waiting) - len(failed), len(torn) - len(damaged)
    return Synced(uploaded, rebuilt, len(files) - len(waiting), failed, log, damaged)


def is_synced(file: Path) -> bool:
    """Whether the server has the run in this `.wandb` file."""
    return file.with_suffix(SYNCED).exists()


def _trials(results: Path, name: str) -> Iterator[_Trial]:
    """The trials of a study that have ended."""
    folder = wandb_folder(results, name)
    own = _own_files(folder)
    for path in sorted((results / "runs" / name).glob("*/")):
        if path.name.isdigit() and (path / RESULT).exists():
            number, runs = int(path.name), []
            with contextlib.suppress(InputError):  # W&B's own file may be whole; if not, `rebuild` says so
                runs = read_object(path / RESULT).get("wandb_runs", [])
            candidates = own.pop(number, [])
            if not runs:
                files = _first_whole(candidates, path)
            else:  # those of a script: all of them, if every one is whole
                files = [file for run in runs for file in (folder / run).glob("*.wandb")]
                if not all(is_synced(file) or wandb_file.run_of(file).ended for file in files):
                    files = []
            yield _Trial(number, path, tuple(files))
    for number, candidates in sorted(own.items()):
        if files := _first_whole(candidates, None):
            yield _Trial(number, None, tuple(files))


def _own_files(folder: Path) -> dict[int, list[Path]]:
    """The W&B files that trackers wrote, by trial. A rebuilt run has two."""
    salt = identity(folder).salt
    found: dict[int, list[Path]] = {}
    for file in sorted(folder.glob(f"wandb/*run-*-{salt}-*/*.wandb")):
        number = file.stem.rpartition("-")[2]
        if number.isdigit():
            found.setdefault(int(number), []).append(file)
    return found


def _first_whole(candidates: Sequence[Path], run_folder: Path | None) -> list[Path]:
    """The latest file of a trial that is uploaded, or has all metrics of its run folder.

    There can be several candidates, because a trial can run twice.
    """
    steps: set[Any] = set()
    if run_folder is not None:
        steps = {row.get("_step", row.get("epoch")) for row in read_metrics(run_folder / METRICS)}
    for file in reversed(candidates):
        if is_synced(file):
            return [file]
        found = wandb_file.run_of(file)
        if found.ended and len(found.history) >= len(steps):
            return [file]
    return []


def rebuild(folder: Path, study_name: str, trials: Sequence[_Trial]) -> tuple[str, ...]:
    """Writes offline W&B runs from run folders, with the trials' ids.

    Returns:
        What is wrong with the trials whose folders are damaged. They are left out.
    """
    if not trials:
        return ()
    own = identity(folder)
    tracker = WandbTracker(
        reason="rebuilt", mode="offline", study_name=study_name, folder=folder, identity=own
    )
    damaged: dict[int, str] = {}
    for trial in trials:
        assert trial.folder is not None
        try:
            result, config = read_object(trial.folder / RESULT), read_object(trial.folder / CONFIG)
        except InputError as error:
            damaged[trial.number] = str(error)
            continue
        run = tracker.start(trial.number, config, f"{study_name}-{trial.number}", ("rebuilt",))
        for row in read_metrics(trial.folder / METRICS):
            step = row.pop("_step", row.get("epoch", 0))
            run.send("log", {"epoch": row.pop("epoch", step), "step": step, "metrics": row})
        run.finish(result.get("state", "failed"), result.get("metrics", {}))
    tracker.close(timeout=20 + REBUILD_SECONDS * len(trials))
    written = _own_files(folder)
    missing = [
        trial.number
        for trial in trials
        if trial.number not in damaged
        and not any(wandb_file.run_of(file).ended for file in written.get(trial.number, []))
    ]
    if missing:
        raise WorkFailed(f"{study_name}: runs {missing} could not be rebuilt; see {folder / 'tracking.log'}")
    return tuple(damaged.values())


def _upload(files: Sequence[Path], folder: Path, log: Path, show: Callable[[], None]) -> None:
    """Lets the W&B client upload `files`. The client marks each file that it has uploaded."""
    key = api_key(server())
    variables = environment(folder) | {"WANDB_MODE": "online"} | ({"WANDB_API_KEY": key} if key else {})
    command = [sys.executable, "-P", "-m", "wandb", "sync", "--include-online", *map(str, files)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=variables, cwd=folder
        )
    try:
        while process.poll() is None:
            show()
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    show()
