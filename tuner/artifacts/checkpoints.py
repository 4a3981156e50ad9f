"""Checkpoints: one folder a configuration, from which a trial that was interrupted goes on.

`results/checkpoints/<study>/<name>` belongs to one trial and to the trials that repeat it after its agent
died. The name is an attribute of the trial with a random end: neither a trial with an equal configuration nor
a study of the same name in another storage finds the folder. It holds

- `files/`, which the trial writes and reads (`$TUNER_CHECKPOINT_DIR`, `report.checkpoint`);
- `reports.jsonl`, what the trial has reported so far, and `metrics.jsonl`, the lines of its run folder.

The folder is removed when the trial has ended. Where the study has an artefact store, the folder is uploaded
when the trial is returned to the queue, and now and then while it runs.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tuner.artifacts.artifact_store import NotInStore, StoreFailed
from tuner.artifacts.run_store import RunStore, StoreLocation
from tuner.base.errors import InputError, reason_of
from tuner.base.files import make_folder, whole_file, writing
from tuner.base.run_folder import if_readable, lines_before, read_metrics

FOLDER = "checkpoints"  # of the results folder, and of the artefact store
FILES = "files"
REPORTS = "reports.jsonl"
STORED = ".stored"  # SHA-256 of the archive in the store that this folder was last equal to
UPLOAD_SECONDS = 300.0  # a running trial's checkpoint is uploaded at most this often, …
UPLOAD_SHARE = 0.05  # … and takes at most this share of the time


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one study.

    Attributes:
        folder: `results/checkpoints/<study>`.
        location: of the study's runs in the artefact store; None: no store.
        say: told in a line why a checkpoint is on this machine alone, or cannot be fetched.
    """

    folder: Path
    location: StoreLocation | None = None
    say: Callable[[str], None] = field(default=lambda reason: None)

    def new_name(self, number: int) -> str:
        """The name of the checkpoint of trial `number`, another at each call."""
        return f"{number}-{uuid4().hex[:12]}"

    def forget(self, name: str) -> None:
        """Removes the checkpoint `name`, here and in the store: its trial has ended."""
        self._at(name).remove()

    def open(self, name: str) -> Checkpoint:
        """The checkpoint `name`, as far as it has come on any machine; made where there is none."""
        found = self._at(name)
        found.begin()
        return found

    def _at(self, name: str) -> Checkpoint:
        store = None if self.location is None else RunStore(store_location(self.location))
        return Checkpoint(self.folder / name, store, self.say)


@dataclass
class Checkpoint:
    """The checkpoint of one trial that runs in this process.

    Attributes:
        files: the folder that the trial is given.
    """

    folder: Path
    store: RunStore | None
    say: Callable[[str], None]
    files: Path = field(init=False)
    _next_upload: float = field(default_factory=lambda: time.monotonic() + UPLOAD_SECONDS)
    _uploaded: Any = None  # names, sizes and times of what was last uploaded

    def __post_init__(self) -> None:
        self.files = (self.folder / FILES).resolve()

    def begin(self) -> None:
        """Fetches what another machine stored, and forgets the reports of a trial that has kept nothing.

        Removes what is in the place of a folder or file of ours, and is none: a pipe would never end. Raises
        CannotWrite.
        """
        if self.store is not None:
            try:
                self._fetch(self.store)
            except (StoreFailed, InputError, OSError) as error:
                self.say(f"checkpoint {self.folder.name}: {reason_of(error)}")
        files = self.folder / FILES
        _remove(path for path in (self.folder, files) if not path.is_dir())
        make_folder(files)
        self.files = files.resolve()
        goes_on = self.goes_on()
        _remove(path for path in self.folder.glob("*.jsonl") if not (goes_on and _is_ours(path)))

    def goes_on(self) -> bool:
        """Whether there is anything to go on from."""
        return any(self.files.iterdir())

    def report(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Keeps what was reported, for `reports_before`; may upload the checkpoint."""
        path = self.folder / REPORTS
        if not _is_ours(path):
            _remove([path])
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, "metrics": dict(metrics)}, default=str) + "\n")
        self.keep()

    def keep(self) -> None:
        """Uploads the checkpoint where it is time to."""
        if self.store is not None and time.monotonic() >= self._next_upload:
            self.upload()

    def reports_before(self, epoch: int) -> dict[int, dict[str, Any]]:
        """What was reported at the epochs before `epoch`, oldest first; later reports are forgotten."""
        path = self.folder / REPORTS
        if not path.exists():
            return {}
        earlier = lines_before(epoch, if_readable(read_metrics, path) or ())
        found = {int(line["epoch"]): line["metrics"] for line in earlier if _is_report(line)}
        with whole_file(path) as beside:
            lines = [json.dumps({"epoch": at, "metrics": found[at]}) + "\n" for at in sorted(found)]
            beside.write_text("".join(lines), encoding="utf-8")
        return dict(sorted(found.items()))

    def upload(self) -> None:
        """Stores the folder for other machines, where there is a store. A store that fails is said."""
        began = time.monotonic()
        state = _state(self.files)
        if self.store is not None and state and state != self._uploaded:
            try:
                digest = self.store.upload(self.folder, self.folder.name)
                (self.folder / STORED).write_text(digest, encoding="utf-8")
                self.store.remove_others(self.folder.name, digest)
                self._uploaded = state
            except (StoreFailed, OSError) as error:  # OSError: a file was renamed while it was read
                self.say(f"checkpoint {self.folder.name}: {reason_of(error)}")
        ended = time.monotonic()
        self._next_upload = ended + max(UPLOAD_SECONDS, (ended - began) / UPLOAD_SHARE)

    def remove(self) -> None:
        """Removes the folder, here and in the store: the trial has ended."""
        stored = (self.folder / STORED).exists()
        shutil.rmtree(self.folder, ignore_errors=True)
        if stored and self.store is not None:
            with contextlib.suppress(StoreFailed):  # `gc` finds it
                self.store.remove(self.folder.name)

    def _fetch(self, store: RunStore) -> None:
        try:
            manifest = store.manifest(self.folder.name)
        except NotInStore:
            return
        here = self.folder / STORED
        digest = str(manifest.get("sha256", "")) if isinstance(manifest, dict) else ""
        if here.exists() and here.read_text(encoding="utf-8") == digest:
            return  # nobody has stored it since: this folder is the same, or further
        store.fetch(self.folder.name, self.folder)
        here.write_text(digest, encoding="utf-8")


def store_location(runs: StoreLocation) -> StoreLocation:
    """Where the checkpoints of the study are stored whose runs are at `runs`."""
    return StoreLocation(runs.url, f"{FOLDER}/{runs.folder.rpartition('/')[2]}")


def _is_report(line: Mapping[str, Any]) -> bool:
    """Whether `report` wrote this: a script can write into the file, too."""
    return line["epoch"] >= 0 and isinstance(line.get("metrics"), dict)


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """What tells whether a folder has changed: name, size and time of each of its files."""
    return [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _is_ours(path: Path) -> bool:
    """Whether a file of ours is a file still."""
    return path.is_file() and not path.is_symlink()


def _remove(paths: Iterable[Path]) -> None:
    """Removes what is at `paths`, whatever it is. Raises CannotWrite."""
    for path in paths:
        with writing(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
