"""Brings a study's data set to a host that lacks it: once, by content hash, through the artefact store.

The process that starts a study uploads its data set where the store has none of that content. An agent on a
host without the data set fetches it into a cache folder, `~/.cache/gcode-tuner/data/<hash>`
(`$XDG_CACHE_HOME` moves it); of several agents at once one fetches and the others wait.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from model.recordings import MANIFEST, Recordings
from tuner.artifacts.artifact_store import ArtifactStore, NotInStore, StoreFailed
from tuner.artifacts.run_store import FORMAT, download_archive
from tuner.base.archives import pack
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.storage.locks import FileLock

FOLDER = "data"  # of the store
WAIT_SECONDS = 3600.0  # for another process of this host that is fetching
_HASH = re.compile(r"[0-9a-f]{64}")


def content_hash(folder: Path) -> str:
    """The content hash that a data set's manifest tells.

    Raises:
        InputError: there is no data set, or none of ours.
    """
    manifest = read_json(folder / MANIFEST)
    found = manifest.get("content_hash") if isinstance(manifest, dict) else None
    if not isinstance(found, str) or not _HASH.fullmatch(found):
        raise InputError(f"{folder / MANIFEST}: has no content hash; import the data set again")
    return found


def ship(folder: Path, url: str) -> bool:
    """Uploads the data set in `folder` unless the store has it; returns whether it was uploaded.

    Raises:
        StoreFailed: the store cannot be used.
    """
    digest, store = content_hash(folder), ArtifactStore(url)
    with contextlib.suppress(NotInStore):
        store.read_json(f"{FOLDER}/{digest}.json")
        return False
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "data.tar"
        packed = pack(folder, archive)
        key = f"{FOLDER}/{digest}.tar"
        size = archive.stat().st_size
        store.write(key, archive)
        manifest = {"format": FORMAT, "archive": key, "sha256": packed, "bytes": size, "name": folder.name}
        store.write_json(f"{FOLDER}/{digest}.json", manifest)  # last: without it the data set is absent
    return True


def resolve_data(
    folder: Path | None, *, digest: str | None, url: str | None, cache: Path | None = None
) -> Path | None:
    """The data set of an order on this host: its own folder, else the cache's, fetched when it is not there.

    An agent calls this at its start.

    Args:
        folder: where the data set lies on the host that started the study; None: it needs none.
        digest: its content hash; None: `folder` is taken as it is.
        url: of the artefact store; None: there is none.
        cache: the cache folder (default: the user's).

    Raises:
        InputError: the data set is not here and there is no store to fetch it from.
        StoreFailed: it cannot be fetched, or what came is not the data set that was asked for.
    """
    if folder is None or digest is None:
        return folder
    if _is(folder, digest):
        return folder
    if not _HASH.fullmatch(digest):
        raise InputError(f"{folder}: '{digest}' is no content hash of a data set")
    root = cache or cache_folder()
    cached = root / digest
    if _is(cached, digest):
        return cached
    if url is None:
        raise InputError(
            f"{folder}: this host has no data set of content {digest[:12]}; copy it there, or start the "
            "study with --artifacts, which ships it"
        )
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{digest}.lock", timeout=WAIT_SECONDS):
        if not _is(cached, digest):  # nobody fetched it while this process waited
            _fetch(ArtifactStore(url), digest, cached)
    return cached


def cache_folder() -> Path:
    """Where fetched data sets are kept, one folder a content hash."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gcode-tuner" / "data"


def _fetch(store: ArtifactStore, digest: str, to: Path) -> None:
    """Downloads beside `to`, checks that the arrays have that content, and renames into place."""
    name = f"{FOLDER}/{digest}.json"
    beside = to.with_name(f".{to.name}.fetched")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        download_archive(store, store.read_json(name), beside, name=name, below=FOLDER)
        try:
            found = Recordings.load(beside).recomputed_hash()
        except InputError as error:
            raise StoreFailed(f"artefact store {store.url}: {name}: no data set of ours ({error})") from None
        if found != digest:
            raise StoreFailed(
                f"artefact store {store.url}: {name} holds other data ({found[:12]}) than it says; "
                "nothing of it was kept"
            )
        shutil.rmtree(to, ignore_errors=True)
        beside.replace(to)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _is(folder: Path, digest: str) -> bool:
    """Whether the data set of that content is in `folder`."""
    if not (folder / MANIFEST).is_file():
        return False
    with contextlib.suppress(InputError):
        return content_hash(folder) == digest
    return False
