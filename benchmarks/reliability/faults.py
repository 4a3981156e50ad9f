"""Makes the k-th write of this process fail: files below a folder, and the statements of SQLite.

Python's own `open` is replaced by one whose files write through `Faults`, so the buffers of Python, and what
they do after an error, are the real ones. Folders, renames and links of SQLite's connection are counted, too.

| kind | a file | SQLite |
| --- | --- | --- |
| `full` | ENOSPC, nothing written | "database or disk is full", not executed |
| `broken` | EIO, nothing written | "disk I/O error", not executed |
| `torn` | ENOSPC after half of the bytes | "disk I/O error" after the commit: nobody knows whether it took |
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from unittest import mock

Kind = Literal["full", "broken", "torn"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CHANGES = ("INSERT", "UPDATE", "DELETE", "CREATE", "REPLACE", "COMMIT")
FILES = "files"  # folder of a checkpoint, which the trial itself writes


@dataclass
class Faults:
    """Counts the writes below `folder`; the one at `at` fails, counted from 0 (None: none does).

    Attributes:
        lasting: all later ones fail, too, as on a disk that stays full.
        places: what was written, in order: `write runs/small/0/result.json`, `INSERT trials`.
    """

    folder: Path
    at: int | None = None
    kind: Kind = "full"
    lasting: bool = False
    places: list[str] = field(default_factory=list)

    def fails(self, place: str) -> bool:
        """Counts a write; whether it is to fail."""
        self.places.append(place)
        number = len(self.places) - 1
        return self.at is not None and (number == self.at or (self.lasting and number > self.at))

    def error(self, path: object) -> OSError:
        code = errno.EIO if self.kind == "broken" else errno.ENOSPC
        return OSError(code, os.strerror(code), str(path))

    def error_of_sqlite(self) -> sqlite3.OperationalError:
        return sqlite3.OperationalError(
            "database or disk is full" if self.kind == "full" else "disk I/O error"
        )

    def place(self, what: str, path: object) -> str | None:
        """The name of a write; None where it is not below the folder."""
        if not isinstance(path, str | os.PathLike):
            return None
        absolute = Path(os.fsdecode(path)).absolute()
        if not absolute.is_relative_to(self.folder) or (FILES in absolute.parts and not self.lasting):
            return None
        return f"{what} {absolute.relative_to(self.folder)}"

    @contextlib.contextmanager
    def active(self) -> Iterator[Faults]:
        """While it lasts, the writes of this process are counted, and one fails."""
        opened, connect = _opening(self, builtins.open), _connecting(self, sqlite3.connect)
        patches = [
            *((module, "open", opened) for module in (builtins, io)),
            *((os, name, _counted(self, name, getattr(os, name))) for name in ("mkdir", "replace", "rename")),
            *((library, "connect", connect) for library in (sqlite3, sqlite3.dbapi2)),
            (shutil, "_USE_CP_SENDFILE", False),
            (shutil, "disk_usage", self._usage(shutil.disk_usage)),
        ]
        with contextlib.ExitStack() as stack:
            for module, name, new in patches:
                stack.enter_context(mock.patch.object(module, name, new))
            yield self

    def _usage(self, real: Any) -> Any:
        def usage(path: Any) -> Any:
            found = real(path)
            full = self.lasting and self.at is not None and len(self.places) > self.at
            return found._replace(free=0) if full else found

        return usage


class _Raw(io.FileIO):
    """A file whose writes may fail, whole or in the middle."""

    faults: Faults
    place: str
    torn = False  # the write before took a part, as the system does before it gives an error

    def write(self, data: Any) -> int:
        if self.torn:
            self.torn = False
            raise self.faults.error(self.name)
        if not self.faults.fails(self.place):
            return super().write(data)
        if self.faults.kind != "torn" or len(data) < 2:
            raise self.faults.error(self.name)
        self.torn = True
        return super().write(bytes(data)[: len(data) // 2])


def _opening(faults: Faults, real: Any) -> Any:
    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        place = faults.place("write", file) if set(mode) & set("wax+") else None
        if place is None:
            return real(file, mode, buffering, encoding, errors, newline, *more, **options)
        if faults.fails(place.replace("write", "open", 1)):
            raise faults.error(file)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""))
        raw.faults, raw.place = faults, place
        buffer: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return raw if buffering == 0 else buffer
        return io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)

    return opened


def _counted(faults: Faults, name: str, real: Any) -> Any:
    def counted(path: Any, *given: Any, **options: Any) -> Any:
        target = given[0] if name != "mkdir" and given else path
        place = faults.place(name, target)
        if place is not None and not (name == "mkdir" and Path(path).is_dir()) and faults.fails(place):
            raise faults.error(target)
        return real(path, *given, **options)

    return counted


def _connecting(faults: Faults, real: Any) -> Any:
    """`sqlite3.connect` for connections that may fail, of whatever class was asked for."""

    def connect(database: Any, *given: Any, **options: Any) -> Any:
        factory = options.pop("factory", sqlite3.Connection)

        class Connection(factory):  # type: ignore[misc, valid-type]
            def cursor(self, *_: Any) -> Any:
                return super().cursor(_Cursor)

            def commit(self) -> None:
                fails = self.in_transaction and faults.fails("COMMIT")
                if not fails or faults.kind == "torn":
                    super().commit()
                if fails:
                    raise faults.error_of_sqlite()

        class _Cursor(sqlite3.Cursor):
            def execute(self, statement: str, *parameters: Any) -> Any:
                _count(statement)
                return super().execute(statement, *parameters)

            def executemany(self, statement: str, *parameters: Any) -> Any:
                _count(statement)
                return super().executemany(statement, *parameters)

        def _count(statement: str) -> None:
            """Counts a statement that changes something: `INSERT trials`, `UPDATE trials`."""
            words = statement.replace('"', " ").split(None, 3)
            if words and words[0].upper() in CHANGES:
                table = words[1 if words[0].upper() == "UPDATE" else 2 :][:1]
                if faults.fails(" ".join([words[0], *table])):
                    raise faults.error_of_sqlite()

        return real(database, *given, factory=Connection, **options)

    return connect
