"""Run folders in the artefact store: a study's best, kept where every machine can fetch them.

Below the study's own folder in the store a run is two objects: `<number>-<hash>.tar` and, written last,
`<number>.json`, which names the archive and its SHA-256. A run whose upload was interrupted has no second
object and is absent. What is kept follows the rule for weights: the best trials and those on the front.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
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

ATTRIBUTE = "artifacts"  # study attribute: a `Place` as plain values
FORMAT = 1
ATTEMPTS, PAUSE_SECONDS = 3, 1.0  # an upload is tried so often, the pause doubling
_RUN = re.compile(r"(\d+)\.json")


@dataclass(frozen=True)
class Place:
    """Where a study's runs are kept: the store, and the study's folder in it.

    The folder has a random end, so that a study begun afresh never meets the runs of its predecessor.
    """

    url: str
    folder: str

    def to_dict(self) -> dict[str, str]:
        return {"url": self.url, "folder": self.folder}

    @classmethod
    def of(cls, study: optuna.Study) -> Place | None:
        """The place that was stored with the study; None when it has none.

        Raises:
            InputError: the attribute is none of ours.
        """
        stored = study.user_attrs.get(ATTRIBUTE)
        if stored is None:
            return None
        try:
            return cls(checked_url(str(stored["url"])), str(stored["folder"]))
        except (KeyError, TypeError, InputError):
            raise InputError(
                f"study '{study.study_name}': its attribute '{ATTRIBUTE}' is not one of ours ({stored!r}); "
                "name the store again with --artifacts"
            ) from None


def place_for(study: optuna.Study, url: str | None) -> Place | None:
    """The place of a study's runs, stored with it; `url` moves it to another store, None keeps what it has.

    Raises:
        StoreFailed: the store cannot be reached.
    """
    if url is None:
        return Place.of(study)
    before = study.user_attrs.get(ATTRIBUTE)
    plain = re.sub(r"[^\w.-]+", "-", study.study_name, flags=re.ASCII)
    folder = before["folder"] if isinstance(before, dict) else f"runs/{plain}-{uuid4().hex[:8]}"
    place = Place(checked_url(url), folder)
    ArtifactStore(place.url).sizes(place.folder)  # said at the start, not after the first trial
    if before != place.to_dict():
        study.set_user_attr(ATTRIBUTE, place.to_dict())
    return place


class RunStore:
    """The runs of one study in the store, by trial number."""

    def __init__(self, place: Place, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.place = place
        self.store = ArtifactStore(place.url)
        self._sleep = sleep

    def objects(self) -> dict[str, int]:
        """Bytes of every object of the study, by key."""
        return self.store.sizes(self.place.folder)

    def numbers(self) -> set[int]:
        """The trials whose runs are there, whole."""
        names = (key.rpartition("/")[2] for key in self.objects())
        return {int(match[1]) for name in names if (match := _RUN.fullmatch(name))}

    def upload(self, folder: Path, number: int | str, *, attempts: int = ATTEMPTS) -> str:
        """Uploads a run folder, whole or not at all; returns the SHA-256 of its archive.

        Raises:
            StoreFailed: not even at the last attempt.
        """
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "run.tar"
            digest = pack(folder, archive)
            size = archive.stat().st_size
            key = f"{self.place.folder}/{number}-{digest[:16]}.tar"
            manifest = {"format": FORMAT, "archive": key, "sha256": digest, "bytes": size}
            for left in reversed(range(attempts)):
                try:
                    self.store.write(key, archive)
                    self.store.write_json(f"{self.place.folder}/{number}.json", manifest)
                    break
                except StoreFailed:
                    if not left:
                        raise
                    self._sleep(PAUSE_SECONDS * 2 ** (attempts - 1 - left))
        return digest

    def fetch(self, number: int, to: Path) -> int:
        """Downloads a run to the folder `to`, checked by its hash; returns its bytes.

        Raises:
            StoreFailed: it is not there, or is not what its manifest says.
        """
        name = f"{self.place.folder}/{number}.json"
        return download_archive(
            self.store, self.store.read_json(name), to, name=name, below=self.place.folder
        )

    def remove(self, number: int | str) -> None:
        """Removes a run: its manifest first, so that nobody finds half of it."""
        self.store.remove(f"{self.place.folder}/{number}.json")
        self.remove_others(number, "")

    def remove_others(self, number: int | str, digest: str) -> None:
        """Removes the archives of a run but the one with this SHA-256."""
        kept = f"{self.place.folder}/{number}-{digest[:16]}.tar"
        for key in self.objects():
            if key.startswith(f"{self.place.folder}/{number}-") and key != kept:
                self.store.remove(key)


class Mirror:
    """Keeps the store as the rule says, from an agent that has just finished a trial, or at a study's end.

    A store that fails never fails a trial: the folder stays here and is tried again after the next trial.

    Args:
        say: told, in words, why something could not be stored; the view says it once.
    """

    def __init__(
        self,
        place: Place,
        study: optuna.Study,
        study_file: StudyFile,
        *,
        results: Path,
        keep: int,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._place = place
        self._sleep = sleep
        self._study = study
        self._study_file = study_file
        self._results = results
        self._keep = keep
        self._say = say
        self._own: set[int] = set()
        self._failing = False

    def after(self, number: int) -> None:
        """Uploads the run of a trial that is among the kept, and removes what no longer is."""
        self._own.add(number)
        self._pass(self._own)

    def finish(self) -> None:
        """Uploads whatever this machine has of the kept runs and the store lacks."""
        self._pass(None)

    def _pass(self, numbers: Collection[int] | None) -> None:
        try:
            runs = RunStore(self._place, sleep=self._sleep)
            there = runs.numbers()
            # The store is listed before the trials are read: what another agent uploads in between is not in
            # the list, and what is in the list was told before, so nothing that is kept can be removed.
            kept = weights.kept(self._study.get_trials(deepcopy=False), self._study_file, keep=self._keep)
            wanted = kept if numbers is None else kept & set(numbers)
            for number in sorted(wanted - there):
                folder = run_folder(self._results, self._study.study_name, number)
                if (folder / RESULT).is_file():
                    runs.upload(folder, number, attempts=1 if self._failing else ATTEMPTS)
            for number in sorted(there - kept):
                runs.remove(number)
            self._failing = False
        except (StoreFailed, InputError, OSError) as error:
            self._failing = True
            self._say(str(error))


def run_folder(results: Path, study: str, number: int) -> Path:
    """Where a trial's run folder lies."""
    return results / "runs" / study / str(number)


@dataclass(frozen=True)
class Fetched:
    """What `fetch_missing` brought here. `failed`: why some runs could not be brought, one line each."""

    runs: int = 0
    size: int = 0
    failed: tuple[str, ...] = ()


def fetch_missing(
    records: Records, names: Collection[str], results: Path, *, top: int | None = None
) -> Fetched:
    """Brings the run folders of the studies `names` that another machine trained and the store keeps.

    Args:
        top: only the runs of this many best trials; None: all that are kept.
    """
    from tuner.search import ranking
    from tuner.storage.stored import load_study, stored_file

    count, size, failed = 0, 0, []
    for name in names:
        study = load_study(records, name)
        try:
            place = Place.of(study)
            if place is None:
                continue
            runs = RunStore(place)
            numbers = runs.numbers()
        except (StoreFailed, InputError) as error:
            failed.append(str(error))
            continue
        if top is not None:
            best = ranking.ranked(study.get_trials(deepcopy=False), stored_file(study))[:top]
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


def download_archive(store: ArtifactStore, manifest: Any, to: Path, *, name: str, below: str) -> int:
    """Downloads and unpacks what `manifest` describes to `to`, which is whole or absent; returns its bytes.

    Raises:
        StoreFailed: the manifest is none of ours, the archive is not what it says, or cannot be unpacked.
    """
    where = f"artefact store {store.url}: {name}"
    try:
        key, digest, size = str(manifest["archive"]), str(manifest["sha256"]), int(manifest["bytes"])
        ours = manifest["format"] == FORMAT and key.startswith(f"{below}/")
    except (KeyError, TypeError, ValueError):
        ours = False
    if not ours:
        raise StoreFailed(
            f"{where} is no manifest of ours; remove it, `python -m tuner gc` tells what is left"
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "archive.tar"
        if store.download(key, archive) != digest:
            raise StoreFailed(
                f"artefact store {store.url}: {key} is not what was uploaded (its SHA-256 differs); "
                "nothing of it was kept"
            )
        try:
            unpack(archive, to)
        except InputError as error:
            text = str(error).replace(str(archive), key)
            raise StoreFailed(f"artefact store {store.url}: {text}") from None
        except OSError:
            shutil.rmtree(to, ignore_errors=True)
            raise
    return size
