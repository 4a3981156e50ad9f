"""Brings what trials read to a host that lacks it: once, by content hash, through the artefact store.

The process that starts a study uploads its inputs where the store has none of that content. An agent on a
host without them fetches them into a cache folder, `~/.cache/gcode-tuner/data/<hash>`
(`$XDG_CACHE_HOME` moves it); of several agents at once one fetches and the others wait.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Protocol

from tuner.artifacts.artifact_store import ArtifactStore, NotInStore, StoreFailed
from tuner.artifacts.run_store import FORMAT, download_archive
from tuner.base.archives import pack
from tuner.base.errors import InputError
from tuner.base.files import whole_folder
from tuner.storage.locks import FileLock

FOLDER = "data"  # of the store
WAIT_SECONDS = 3600.0  # for another process of this host that is fetching
_HASH = re.compile(r"[0-9a-f]{64}")


class DigestOf(Protocol):
    """Tells the content hash of a folder, recomputed where it `arrived` from elsewhere."""

    def __call__(self, folder: Path, *, arrived: bool = False) -> str: ...


def ship(folder: Path | None, digest: str, url: str) -> bool:
    """Uploads the folder of content `digest` unless the store has it; returns whether it was uploaded.

    Raises:
        StoreFailed: the store cannot be used.
    """
    if folder is None:
        return False
    store = ArtifactStore(url)
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


def resolve(
    folder: Path, *, digest: str, url: str | None, digest_of: DigestOf, cache: Path | None = None
) -> Path:
    """The inputs of an order on this host: their own folder, else the cache's, fetched if need be.

    An agent calls this at its start.

    Args:
        folder: where the inputs lie on the host that started the study.
        digest: their content hash.
        digest_of: `Workload.digest_of`, which knows how their content is hashed.
        url: of the artefact store; None: there is none.
        cache: the cache folder (default: the user's).

    Raises:
        InputError: the data set is not here and there is no store to fetch it from.
        StoreFailed: it cannot be fetched, or what came is not the data set that was asked for.
    """
    if _is(folder, digest, digest_of):
        return folder
    if not _HASH.fullmatch(digest):
        raise InputError(f"{folder}: '{digest}' is no content hash")
    root = cache or cache_folder()
    cached = root / digest
    if _is(cached, digest, digest_of):
        return cached
    if url is None:
        raise InputError(
            f"{folder}: this host has no data set of content {digest[:12]}; copy it there, or start the "
            "study with --artifacts, which ships it"
        )
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{digest}.lock", timeout=WAIT_SECONDS):
        if not _is(cached, digest, digest_of):  # nobody fetched it while this process waited
            _fetch(ArtifactStore(url), digest, digest_of, cached)
    return cached


def cache_folder() -> Path:
    """Where fetched data sets are kept, one folder a content hash."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gcode-tuner" / "data"


def _fetch(store: ArtifactStore, digest: str, digest_of: DigestOf, to: Path) -> None:
    """Downloads beside `to`, checks that the arrays have that content, and renames into place."""
    name = f"{FOLDER}/{digest}.json"
    with whole_folder(to) as beside:
        download_archive(store, store.read_json(name), beside, name=name, below=FOLDER)
        try:
            found = digest_of(beside, arrived=True)
        except InputError as error:
            raise StoreFailed(f"artefact store {store.url}: {name}: no data set of ours ({error})") from None
        if found != digest:
            raise StoreFailed(
                f"artefact store {store.url}: {name} holds other data ({found[:12]}) than it says; "
                "nothing of it was kept"
            )


def _is(folder: Path, digest: str, digest_of: DigestOf) -> bool:
    """Whether inputs of that content are in `folder`."""
    with contextlib.suppress(InputError):
        return folder.is_dir() and digest_of(folder) == digest
    return False
