"""Writes files and folders atomically, and reads JSON with one-line errors."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError

ADVICE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "its file system is read-only: choose another folder",
    errno.EIO: "the disk does not take it (input/output error): check it, or choose another folder",
}
MOST_JSON = 2**30  # bytes of a JSON file
MOST_TABLE = 2**28  # bytes of a table or log of runs, which is read into memory


class CannotWrite(OSError):
    """A file of the tuner's own cannot be written. A trial that needed it has not failed: it runs again."""

    def __init__(self, path: Path, error: OSError) -> None:
        why = ADVICE.get(error.errno or 0, error.strerror or str(error))
        super().__init__(f"{path} cannot be written: {why}, then run the same command again")
        self.errno = error.errno
        self.path = path

    @property
    def deleted(self) -> bool:
        """Whether the folder was deleted in which the file was to be."""
        return self.errno in (errno.ENOENT, errno.ENOTDIR)

    @property
    def taken(self) -> bool:
        """Whether a folder was made where the file was to be."""
        return self.errno == errno.EISDIR


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises CannotWrite for `path` if the block cannot write or make it."""
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        raise CannotWrite(path, error) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to. It replaces `path` if the block ends without an error.

    Raises:
        CannotWrite: it could not be written. An older file at `path` is as it was.
        InputError: it is a device, which a file would replace.
    """
    if path.absolute().parent == Path("/dev") or path.is_char_device() or path.is_block_device():
        raise InputError(f"{path}: expected the name of a file; it is a device")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing(path):
            yield beside
            beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of the system's temporary ones, removed at the end. Raises CannotWrite."""
    with writing(Path(os.environ.get("TMPDIR") or "/tmp")):
        made = tempfile.TemporaryDirectory(prefix="tuner-trial-")
    with made as name:
        yield Path(name)


def make_folder(path: Path, *, private: bool = False) -> None:
    """Makes a folder and those above it, if they are missing. Raises CannotWrite.

    `private`: only its owner can look into a new one: it will hold what a script printed.
    """
    with writing(path):
        path.mkdir(0o700 if private else 0o777, parents=True, exist_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder to fill. It replaces `path` if the block ends without an error.

    Until then, an existing folder at `path` stays.
    """
    beside = path.with_name(f".{path.name}.partial-{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        if path.exists():
            old = path.with_name(f".{path.name}.old-{os.getpid()}")
            path.replace(old)
            beside.replace(path)
            shutil.rmtree(old)
        else:
            beside.replace(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def remove_left_overs(path: Path) -> None:
    """Removes the partial folders of `path` whose process no longer runs.

    Use it only for folders that one machine writes: process ids of other machines cannot be checked.
    """
    for left_over in path.parent.glob(f".{path.name}.partial-*"):
        process = left_over.name.rpartition("-")[2]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(left_over, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum(inner.lstat().st_size for inner in path.rglob("*") if not inner.is_dir())


def check_file(path: Path, largest: int) -> Path:
    """Returns `path` if reading it ends, with `largest` bytes at most.

    Raises:
        InputError: it is larger, or no file that ends (a device, a pipe).
        OSError: there is nothing, or it cannot be looked at.
    """
    found = path.stat()
    endless = path.resolve().is_relative_to("/proc")  # the kernel's log, for one, looks like a file
    if endless or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise InputError(f"{path}: expected a file; it is a device or a pipe")
    if found.st_size > largest:
        raise InputError(f"{path}: has {found.st_size >> 10:,} KiB; expected at most {largest >> 10:,}")
    return path


def write_json(path: Path, content: Any) -> None:
    """Writes `content` to `path` atomically (a temporary file, then a rename). Raises CannotWrite."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(content, indent=1, allow_nan=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file. Raises InputError with the file's name if it is missing, cut off or not JSON.

    `json.loads` raises ValueError if the text is cut off, is not UTF-8 or has a number of thousands of
    digits. It raises RecursionError if the text is nested too deeply.
    """
    try:
        return json.loads(check_file(path, MOST_JSON).read_text(encoding="utf-8"))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (IsADirectoryError, NotADirectoryError):
        raise InputError(f"{path}: expected a file; the path is a folder, or goes through a file") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); was it cut off?") from None


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object. Raises InputError if it holds another type."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content
