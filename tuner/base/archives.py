"""Packs a folder into a tar file and unpacks it safely. Equal folders give equal bytes.

Archives are not trusted. `unpack` writes only plain files inside the folder: no links, no devices, and no
more bytes than the archive has.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from tuner.base.errors import InputError
from tuner.base.files import whole_folder


def pack(folder: Path, archive: Path) -> str:
    """Writes every plain file below `folder` to `archive`; returns the SHA-256 of the archive.

    Skips links, and files whose name begins with a dot (an interrupted writer leaves such files).
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
    """Unpacks `archive` next to `to`, then renames the result to `to`. So `to` is complete or absent.

    Replaces a folder that already exists at `to`.

    Raises:
        InputError: the archive is damaged, or holds something other than plain files inside the folder.
    """
    with whole_folder(to) as beside:
        try:
            with tarfile.open(archive, "r:") as tar:
                for entry in tar:
                    _write(tar, entry, beside, archive)
            if not _ends(archive):  # tarfile accepts an archive that is cut off between two files
                raise InputError(f"{archive}: is cut off")
        except InputError:
            raise
        except (tarfile.TarError, EOFError, ValueError) as error:
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
        raise InputError(f"{archive}: '{entry.name}' lies outside the folder; nothing was unpacked")
    if not entry.isreg():
        raise InputError(f"{archive}: '{entry.name}' is not a plain file; nothing was unpacked")
    path = folder.joinpath(*name.parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(entry)
    assert source is not None  # a plain file has a body
    with path.open("xb") as out:
        shutil.copyfileobj(source, out)  # tarfile raises where the archive has fewer bytes than it says
