"""Keeps the run folders of a study's best trials in the artefact store, so that all machines can fetch them.

Each study has a folder in the store. Each run is two objects: the archive `<number>-<hash>.tar`, and the
manifest `<number>.json` with the archive's name and SHA-256. The manifest is written last. Without it a run
counts as absent, so an interrupted upload does no harm. The same trials are kept as for weights: the best
ones and those on the Pareto front.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna

from tuner.artifacts import weights
from tuner.artifacts.artifact_store import ArtifactStore, StoreFailed, checked_url
from tuner.base.archives import pack, unpack
from tuner.base.errors import InputError
from tuner.base.run_folder import RESULT
from tuner.definition.study_file import StudyFile
from tuner.storage.records import Records

ATTRIBUTE = "artifacts"  # study attribute: a `StoreLocation` as plain values
FORMAT = 1
ATTEMPTS, PAUSE_SECONDS = 3, 1.0  # attempts per upload; the pause between them doubles
_RUN = re.compile(r"(\d+)\.json")


@dataclass(frozen=True)
class StoreLocation:
    """Where the runs of a study are kept: the store's URL and the study's folder in the store.

    The folder name has a random ending. So a study that is started with `--fresh` gets a new folder.
    """

    url: str
    folder: str

    @classmethod
    def of(cls, study: optuna.Study) -> StoreLocation | None:
        """The location that is stored with the study; None if there is none. Raises InputError."""
        stored = study.user_attrs.get(ATTRIBUTE)
        if stored is None:
            return None
        try:
            return cls(checked_url(str(stored["url"])), str(stored["folder"]))
        except (KeyError, TypeError, InputError):
            raise InputError(
                f"study '{study.study_name}': its attribute '{ATTRIBUTE}' is not valid ({stored!r}); "
                "name the store again with --artifacts"
            ) from None


def location_for(study: optuna.Study, url: str | None) -> StoreLocation | None:
    """The location of a study's runs. Stores it with the study. Raises StoreFailed.

    Args:
        url: moves the study to this store; None: keeps its present location.
    """
    if url is None:
        return StoreLocation.of(study)
    before = study.user_attrs.get(ATTRIBUTE)
    plain = re.sub(r"[^\w.-]+", "-", study.study_name, flags=re.ASCII)
    folder = before["folder"] if isinstance(before, dict) else f"runs/{plain}-{uuid4().hex[:8]}"
    location = StoreLocation(checked_url(url), folder)
    ArtifactStore(location.url).sizes(location.folder)  # so that a failing store stops the study at its start
    if before != asdict(location):
        study.set_user_attr(ATTRIBUTE, asdict(location))
    return location


class RunStore:
    """Folders in the store by name: the runs of a study by trial number, its checkpoints, data sets."""

    def __init__(self, location: StoreLocation, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.location = location
        self.store = ArtifactStore(location.url)
        self._sleep = sleep

    def objects(self) -> dict[str, int]:
        """The size in bytes of every object of the study, by key."""
        return self.store.sizes(self.location.folder)

    def numbers(self) -> set[int]:
        """Numbers of the trials whose runs are in the store."""
        names = (key.rpartition("/")[2] for key in self.objects())
        return {int(match[1]) for name in names if (match := _RUN.fullmatch(name))}

    def upload(self, folder: Path, name: int | str, *, attempts: int = ATTEMPTS) -> str:
        """Uploads a folder, which appears in the store when it is whole; returns its archive's SHA-256.

        Raises StoreFailed if all attempts failed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "archive.tar"
            digest = pack(folder, archive)
            size = archive.stat().st_size
            key = self._archive(name, digest)
            manifest = {"format": FORMAT, "archive": key, "sha256": digest, "bytes": size}
            for left in reversed(range(attempts)):
                try:
                    self.store.write(key, archive)
                    self.store.write_json(self._manifest(name), manifest)
                    break
                except StoreFailed:
                    if not left:
                        raise
                    self._sleep(PAUSE_SECONDS * 2 ** (attempts - 1 - left))
        return digest

    def manifest(self, name: int | str) -> Any:
        """What the store says of a folder, as it was read. Raises NotInStore if it has none of this name."""
        return self.store.read_json(self._manifest(name))

    def fetch(self, name: int | str, to: Path) -> int:
        """Downloads a folder to `to` and checks its hash. Returns the number of bytes.

        Raises:
            StoreFailed: the folder is not in the store, its manifest is not valid, or the archive does not
                match it or cannot be unpacked.
        """
        url, manifest = self.store.url, self.manifest(name)
        try:
            key, digest, size = str(manifest["archive"]), str(manifest["sha256"]), int(manifest["bytes"])
            ours = manifest["format"] == FORMAT and key.startswith(f"{self.location.folder}/")
        except (KeyError, TypeError, ValueError):
            ours = False
        if not ours:
            raise StoreFailed(
                f"artefact store {url}: {self._manifest(name)} is not a valid manifest; remove it, then "
                "`tuner gc` lists unused archives"
            )
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "archive.tar"
            if self.store.download(key, archive) != digest:
                raise StoreFailed(
                    f"artefact store {url}: {key} is damaged (its SHA-256 differs from the manifest's); "
                    "it was not used"
                )
            try:
                unpack(archive, to)
            except InputError as error:
                raise StoreFailed(f"artefact store {url}: {str(error).replace(str(archive), key)}") from None
            except OSError:
                shutil.rmtree(to, ignore_errors=True)
                raise
        return size

    def remove(self, name: int | str) -> None:
        """Removes a folder. Its manifest first, so that no other machine finds an incomplete one."""
        self.store.remove(self._manifest(name))
        self.remove_others(name, "")

    def remove_others(self, name: int | str, digest: str) -> None:
        """Removes the archives of a folder but the one with this SHA-256."""
        kept, begin = self._archive(name, digest), self._archive(name, "").removesuffix(".tar")
        for key in self.objects():
            if key.startswith(begin) and key != kept:
                self.store.remove(key)

    def _manifest(self, name: int | str) -> str:
        return f"{self.location.folder}/{name}.json"

    def _archive(self, name: int | str, digest: str) -> str:
        return f"{self.location.folder}/{name}-{digest[:16]}.tar"


@dataclass
class Mirror:
    """Uploads runs that should be kept and removes those that should not.

    Agents call `after` after each trial. `finish` is called at the end of a study. If the store fails, the
    trial does not fail: the folder stays on this machine, and the upload is repeated after the next trial.

    Attributes:
        say: called with the reason if something could not be stored. The view shows it once.
    """

    location: StoreLocation
    study: optuna.Study
    study_file: StudyFile
    results: Path
    keep: int
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    _own: set[int] = field(default_factory=set)
    _failing: bool = False

    def after(self, number: int) -> None:
        """Uploads the trial's run if it should be kept. Removes runs that no longer should."""
        self._own.add(number)
        self._pass(self._own)

    def finish(self) -> None:
        """Uploads all runs that should be kept, are on this machine and are not in the store."""
        self._pass(None)

    def _pass(self, numbers: Collection[int] | None) -> None:
        try:
            runs = RunStore(self.location, sleep=self.sleep)
            there = runs.numbers()
            # List the store before reading the trials. Every run in the list then belongs to a trial whose
            # result is already in the storage, so no run that should be kept is removed.
            kept = weights.kept(self.study.get_trials(deepcopy=False), self.study_file, keep=self.keep)
            wanted = kept if numbers is None else kept & set(numbers)
            for number in sorted(wanted - there):
                folder = run_folder(self.results, self.study.study_name, number)
                if (folder / RESULT).is_file():
                    runs.upload(folder, number, attempts=1 if self._failing else ATTEMPTS)
            for number in sorted(there - kept):
                runs.remove(number)
            self._failing = False
        except (StoreFailed, InputError, OSError) as error:
            self._failing = True
            self.say(str(error))


def run_folder(results: Path, study: str, number: int) -> Path:
    """The path of a trial's run folder."""
    return results / "runs" / study / str(number)


@dataclass(frozen=True)
class Fetched:
    """The result of `fetch_missing`: number of runs, their bytes, and one line for each failure."""

    runs: int = 0
    size: int = 0
    failed: tuple[str, ...] = ()


def fetch_missing(
    records: Records, names: Collection[str], results: Path, *, top: int | None = None
) -> Fetched:
    """Downloads the run folders of the studies `names` that are in the store but not in `results`.

    Args:
        top: only the runs of the `top` best trials; None: all.
    """
    from tuner.search import ranking
    from tuner.storage.study import load_study, stored_file

    count, size, failed = 0, 0, []
    for name in names:
        study = load_study(records, name)
        try:
            location = StoreLocation.of(study)
            if location is None:
                continue
            runs = RunStore(location)
            numbers = runs.numbers()
        except (StoreFailed, InputError) as error:
            failed.append(str(error))
            continue
        if top is not None and (file := stored_file(study)).metric.declared:
            best = ranking.ranked(study.get_trials(deepcopy=False), file)[:top]
            numbers &= {trial.number for trial in best}
        for number in sorted(numbers):
            folder = run_folder(results, name, number)
            if (folder / RESULT).is_file():
                continue
            try:
                size += runs.fetch(number, folder)
                count += 1
            except (StoreFailed, OSError) as error:
                failed.append(str(error))
    return Fetched(count, size, tuple(failed))
