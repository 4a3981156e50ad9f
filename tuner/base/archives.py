"""A folder as one file and back: plain tar, the same bytes for the same content, safe to unpack.

Nothing that an archive says of itself is trusted: only plain files with names inside the folder are written,
no links, no devices, no more bytes than the archive has.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from tuner.base.errors import InputError
from tuner.base.files import whole_folder

CHUNK = 2**20


def pack(folder: Path, archive: Path) -> str:
    """Writes every plain file below `folder` to `archive`; returns the SHA-256 of the archive.

    Links are left out, and files whose name begins with a dot (what an interrupted writer leaves behind).
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in name.parts):
                continue
            entry = tarfile.TarInfo(name.as_posix())  # no owner, no time: equal folders, equal archives
            with path.open("rb") as file:
                entry.size = os.fstat(file.fileno()).st_size
                tar.addfile(entry, file)
    return file_hash(archive)


def unpack(archive: Path, to: Path) -> Path:
    """Unpacks `archive` beside `to` and renames it into place: `to` is whole or absent, never a mixture.

    A folder that is at `to` already is replaced.

    Raises:
        InputError: the archive is torn, or holds anything but plain files inside the folder.
    """
    with whole_folder(to) as beside:
        try:
            with tarfile.open(archive, "r:") as tar:
                for entry in tar:
                    _write(tar, entry, beside, archive)
            if not _ends(archive):  # tarfile takes an archive cut between two files for a whole one
                raise InputError(f"{archive}: is cut off")
        except (tarfile.TarError, EOFError, ValueError, UnicodeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{archive}: not a readable archive ({error})") from None
    return to


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ends(archive: Path) -> bool:
    """Whether the archive has the two empty blocks that end a tar file."""
    with archive.open("rb") as file:
        file.seek(-min(archive.stat().st_size, 2 * tarfile.BLOCKSIZE), os.SEEK_END)
        return file.read() == bytes(2 * tarfile.BLOCKSIZE)


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    name = PurePosixPath(entry.name)
    inside = name.parts and not name.is_absolute() and ".." not in name.parts and "\\" not in entry.name
    if not inside or "\0" in entry.name:
        raise InputError(f"{archive}: holds '{entry.name}', which lies outside the folder; nothing was kept")
    if not entry.isreg():
        raise InputError(f"{archive}: '{entry.name}' is a link or a device, no plain file; nothing was kept")
    path = folder.joinpath(*name.parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(entry)
    assert source is not None  # a plain file has a body
    with path.open("xb") as out:
        _copy(source, out, entry.size, f"{archive}: '{entry.name}'")


def _copy(source: IO[bytes], out: IO[bytes], size: int, what: str) -> None:
    """Copies `size` bytes; InputError when the source ends before (a header that lies about its size)."""
    left = size
    while left:
        chunk = source.read(min(CHUNK, left))
        if not chunk:
            raise InputError(f"{what} is cut off")
        out.write(chunk)
        left -= len(chunk)
