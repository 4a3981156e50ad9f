"""Writes files and folders atomically, and reads JSON with one-line errors."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to. It replaces `path` if the block ends without an error."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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


def read_text(path: Path, largest: int) -> str:
    """Reads a text file of `largest` bytes at most.

    Raises:
        InputError: it is larger, or no file that ends (a device, a pipe).
        OSError, UnicodeDecodeError: it cannot be read, or is no text.
    """
    found = path.stat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise InputError(f"{path}: expected a file; it is a device or a pipe")
    if found.st_size > largest:
        raise InputError(f"{path}: has {found.st_size / 2**20:.0f} MiB; expected at most {largest >> 20}")
    return path.read_text(encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes `content` to `path` atomically (a temporary file, then a rename)."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(content, indent=1, allow_nan=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file. Raises InputError with the file's name if it is missing, cut off or not JSON.

    `json.loads` raises ValueError if the text is cut off, is not UTF-8 or has a number of thousands of
    digits. It raises RecursionError if the text is nested too deeply.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
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
