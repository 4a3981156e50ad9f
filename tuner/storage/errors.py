"""Errors of the storage as one line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tuner.base.sqlite_url import sqlite_path
from tuner.storage import sqlite_file
from tuner.storage.outage import (
    StorageFailed,
    StorageUnreachable,
    cause_of,
    hide_password,
    is_damage,
    is_storage_error,
    is_unreachable,
)


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turns the errors of SQLAlchemy, Optuna and the drivers into `StorageFailed`, with one line; those of a
    storage that may answer later into `StorageUnreachable`.
    """
    try:
        yield
    except Exception as error:
        if not is_storage_error(error) or type(error) is StorageFailed:
            raise
        kind = StorageUnreachable if is_unreachable(error) else StorageFailed
        raise kind(f"storage {hide_password(where)}: {cause_of(error)}; {_advice(where, error)}") from error


def _advice(where: str, error: Exception) -> str:
    """What to do about an error, and what is known of the finished trials."""
    if is_damage(error):
        return (
            "the file is damaged: tuner doctor --repair keeps a copy of it, saves what can be read "
            "and takes the other finished trials from their run folders"
        )
    path = sqlite_path(where)
    checked = path is not None and path.exists() and sqlite_file.is_sound(path)
    return (
        "nothing finished is lost (the file was checked), " * checked
    ) + "run the same command again to continue"
