"""The artefact store: a folder or an S3 bucket that shares run folders and data sets between machines.

Built on Optuna's artefact stores. Adds keys with folders, atomic writes to a file system, listing, and errors
in one line.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from tuner.base import extras
from tuner.base.errors import InputError, WorkFailed

CHUNK = 2**20
CONNECT_SECONDS = 10  # so that an unreachable store does not delay a study for minutes
_KEY = re.compile(r"[\w@.+-]+(/[\w@.+-]+)*", re.ASCII)


class StoreFailed(WorkFailed):
    """The artefact store cannot be reached, read or written. Files on this machine stay."""


class NotInStore(StoreFailed):
    """There is no object with this key."""


class ArtifactStore:
    """Stores objects by key (`runs/…`, `data/…`). Objects are never visible half-written.

    Args:
        url: `file:///DIR` or `s3://BUCKET[/PREFIX]`. For S3, boto3's own configuration applies
            (`AWS_ENDPOINT_URL`, `AWS_PROFILE`, …).

    Raises:
        InputError: the URL has another form, or boto3 is not installed.
        StoreFailed: the store failed. Any method can raise this.
    """

    def __init__(self, url: str) -> None:
        self.url = checked_url(url)
        parts = urlsplit(self.url)
        with self._errors():
            if parts.scheme == "file":
                self._backend, self._prefix = _files(Path(unquote(parts.path))), ""
            else:
                self._backend, self._prefix = _bucket(parts.netloc), parts.path.strip("/")

    def write(self, key: str, content: Path | bytes) -> None:
        """Writes the object. Replaces an object with the same key."""
        with (
            self._errors(),
            io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file,
        ):
            self._backend.write(self._at(key), file)

    def write_json(self, key: str, content: Any) -> None:
        self.write(key, json.dumps(content, indent=1).encode())

    def read_json(self, key: str) -> Any:
        """Reads the JSON object at `key`. Raises NotInStore if missing, StoreFailed if damaged."""
        with self._errors(), self._backend.open_reader(self._at(key)) as body:
            text = body.read()
        try:
            return json.loads(text)
        except ValueError:
            raise StoreFailed(f"artefact store {self.url}: {key} is not readable as JSON") from None

    def download(self, key: str, to: Path) -> str:
        """Downloads the object to the file `to`. Returns the SHA-256 of the downloaded bytes."""
        digest = hashlib.sha256()
        with self._errors(), self._backend.open_reader(self._at(key)) as body, to.open("wb") as out:
            while chunk := body.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
        return digest.hexdigest()

    def sizes(self, prefix: str) -> dict[str, int]:
        """The size in bytes of each object whose key begins with `prefix/`."""
        with self._errors():
            found = dict(self._backend.sizes(f"{self._at(prefix)}/"))
        return {key.removeprefix(f"{self._prefix}/"): size for key, size in found.items()}

    def remove(self, key: str) -> None:
        """Removes the object. Does nothing if there is none."""
        with suppress(NotInStore), self._errors():
            self._backend.remove(self._at(key))

    def _at(self, key: str) -> str:
        """Where an object is; a key has only plain words and slashes, so that it cannot leave the store."""
        if not _is_key(key):
            raise StoreFailed(f"artefact store: '{key}' is not a valid key")
        return f"{self._prefix}/{key}" if self._prefix else key

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from optuna.artifacts.exceptions import ArtifactNotFound

        try:
            yield
        except ArtifactNotFound as error:
            raise NotInStore(f"artefact store {self.url}: no such object ({error})") from None
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}" if error.strerror else str(error)
            raise StoreFailed(f"artefact store {self.url}: {reason}") from None
        except Exception as error:
            if not type(error).__module__.startswith(("botocore", "boto3", "s3transfer", "urllib3")):
                raise
            raise StoreFailed(f"artefact store {self.url}: {_advice(error)}") from None


def checked_url(url: str) -> str:
    """The URL without a slash at its end. Raises InputError if it is not the URL of a store."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        return url.rstrip("/")
    plain = not (parts.username or parts.query or parts.fragment)
    if parts.scheme == "s3" and parts.netloc and plain and _is_key(parts.path.strip("/") or "-"):
        return url.rstrip("/")
    raise InputError(f"--artifacts: expected file:///DIR or s3://BUCKET/PREFIX, got '{url}'")


def _files(root: Path) -> Any:
    from optuna.artifacts import FileSystemArtifactStore

    class Files(FileSystemArtifactStore):
        """Optuna's store with folders in keys. Writes to a temporary file and renames it."""

        def write(self, artifact_id: str, content_body: BinaryIO) -> None:
            beside = f"{artifact_id}.partial-{os.getpid()}"
            (root / artifact_id).parent.mkdir(parents=True, exist_ok=True)
            try:
                super().write(beside, content_body)
                (root / beside).replace(root / artifact_id)
            finally:
                (root / beside).unlink(missing_ok=True)

        def sizes(self, begin: str) -> Iterator[tuple[str, int]]:
            for path in sorted((root / begin).rglob("*")):
                if path.is_file() and not path.is_symlink():
                    yield path.relative_to(root).as_posix(), path.stat().st_size

    root.mkdir(parents=True, exist_ok=True)
    return Files(root)


def _bucket(bucket: str) -> Any:
    """Optuna's bucket store. S3 shows an object only when it is complete."""
    boto3 = extras.need("s3", "--artifacts s3://")
    from botocore.config import Config
    from optuna.artifacts import Boto3ArtifactStore

    class Bucket(Boto3ArtifactStore):
        def sizes(self, begin: str) -> Iterator[tuple[str, int]]:
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=begin):
                for entry in page.get("Contents", ()):
                    yield entry["Key"], int(entry["Size"])

    try:
        client = boto3.client("s3", config=Config(connect_timeout=CONNECT_SECONDS))
    except ValueError as error:  # boto3 raises this if AWS_ENDPOINT_URL is not a URL
        raise InputError(f"--artifacts s3://{bucket}: {error}") from None
    return Bucket(bucket, client, avoid_buf_copy=True)


def _is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None and not any(set(part) == {"."} for part in text.split("/"))


def _advice(error: Exception) -> str:
    """boto3's error in one line. For common errors, with advice."""
    code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
    advice = {
        "NoCredentialsError": "no credentials (set AWS_ACCESS_KEY_ID and _SECRET_ACCESS_KEY, or AWS_PROFILE)",
        "NoSuchBucket": "there is no such bucket; create it first",
        "AccessDenied": "access denied; these credentials have no permission",
        "InvalidAccessKeyId": "the server does not know the access key",
        "SignatureDoesNotMatch": "the secret key does not match the access key",
    }
    return advice.get(code) or " ".join(str(error).split())[:300]
