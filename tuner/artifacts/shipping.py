"""Copies the inputs of trials to hosts that do not have them, through the artefact store.

The process that starts a study uploads the inputs unless the store already has this content. An agent on a
host without the inputs downloads them to a cache folder, `~/.cache/gcode-tuner/data/<hash>`
(`$XDG_CACHE_HOME` changes the location). If several agents start at once, one downloads and the others wait.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Protocol

from tuner.artifacts.artifact_store import NotInStore, StoreFailed
from tuner.artifacts.run_store import RunStore, StoreLocation
from tuner.base.errors import InputError
from tuner.base.files import whole_folder
from tuner.storage.locks import FileLock

FOLDER = "data"  # folder in the store
WAIT_SECONDS = 3600.0  # longest wait for another process of this host that is downloading
_HASH = re.compile(r"[0-9a-f]{64}")


class DigestOf(Protocol):
    """Returns the content hash of a folder. `arrived`: recompute it, because the folder was downloaded."""

    def __call__(self, folder: Path, *, arrived: bool = False) -> str: ...


def ship(folder: Path | None, digest: str, url: str) -> bool:
    """Uploads the folder with content hash `digest` unless the store has it. Returns whether it uploaded."""
    if folder is None:
        return False
    store = RunStore(StoreLocation(url, FOLDER))
    with contextlib.suppress(NotInStore):
        store.manifest(digest)
        return False
    store.upload(folder, digest)
    return True


def resolve(
    folder: Path, *, digest: str, url: str | None, digest_of: DigestOf, cache: Path | None = None
) -> Path:
    """Returns a folder with the inputs on this host: `folder`, or one in the cache. Downloads if necessary.

    Every agent calls this when it starts.

    Args:
        folder: the inputs on the host that started the study.
        digest: content hash of the inputs.
        digest_of: `Workload.digest_of`, which computes the content hash.
        url: URL of the artefact store; None: there is none.
        cache: the cache folder (default: the user's).

    Raises:
        InputError: this host does not have the inputs, and there is no store to download them from.
        StoreFailed: the download failed, or its content hash is wrong.
    """
    if _is(folder, digest, digest_of):
        return folder
    if not _HASH.fullmatch(digest):
        raise InputError(f"{folder}: '{digest}' is not a content hash")
    root = cache or cache_folder()
    cached = root / digest
    if _is(cached, digest, digest_of):
        return cached
    if url is None:
        raise InputError(
            f"{folder}: this host has no data set with content hash {digest[:12]}; copy the data set there, "
            "or start the study with --artifacts, which copies it"
        )
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{digest}.lock", timeout=WAIT_SECONDS):
        if not _is(cached, digest, digest_of):  # no other process downloaded it in the meantime
            _fetch(RunStore(StoreLocation(url, FOLDER)), digest, digest_of, cached)
    return cached


def cache_folder() -> Path:
    """The folder of downloaded data sets, with one subfolder per content hash."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gcode-tuner" / "data"


def _fetch(store: RunStore, digest: str, digest_of: DigestOf, to: Path) -> None:
    """Downloads to a temporary folder, checks the content hash, then renames the folder to `to`."""
    where = f"artefact store {store.store.url}: {FOLDER}/{digest}.json"
    with whole_folder(to) as beside:
        store.fetch(digest, beside)
        try:
            found = digest_of(beside, arrived=True)
        except InputError as error:
            raise StoreFailed(f"{where}: not a valid data set ({error})") from None
        if found != digest:
            raise StoreFailed(f"{where} has the wrong content ({found[:12]}); it was not used")


def _is(folder: Path, digest: str, digest_of: DigestOf) -> bool:
    """Whether `folder` has inputs with this content hash."""
    with contextlib.suppress(InputError):
        return folder.is_dir() and digest_of(folder) == digest
    return False
