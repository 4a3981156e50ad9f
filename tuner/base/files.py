"""Files that are read again: written whole or not at all; what is not ours is one clear line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends without an error."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` to fill; it takes the place of `path` when the block ends without an error.

    A folder that is at `path` already is kept until then.
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
    """Removes the partial folders that killed processes left beside `path`; a running process keeps its own.

    For a folder that only one machine writes: process ids of other machines mean nothing here.
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


def write_json(path: Path, content: Any) -> None:
    """Writes `content` to `path` at once or not at all (a temporary file, then a rename)."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(content, indent=1, allow_nan=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file of ours; InputError names the file when it is missing, torn or no JSON.

    (ValueError: torn, not UTF-8, a number of thousands of digits; RecursionError: nested beyond all measure.)
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (IsADirectoryError, NotADirectoryError):
        raise InputError(f"{path}: expected a file, found a folder on the way") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); was it cut off?") from None


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object; InputError names the file when it holds anything else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content
