"""A folder as one file: what goes in comes out, and nothing that an archive says leads outside."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.base.archives import pack, unpack
from tuner.base.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    (root / "predictions").mkdir(parents=True)
    (root / "config.json").write_text('{"seed": 1}')
    (root / "predictions" / "test.npz").write_bytes(bytes(range(256)) * 9)
    return root


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_goes_in_comes_out_and_replaces_what_was_there(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "a.tar")
    there = tmp_path / "there"
    there.mkdir()
    (there / "old").touch()
    assert content(unpack(tmp_path / "a.tar", there)) == content(folder)


def test_equal_folders_are_equal_archives_and_left_overs_and_links_stay_out(
    folder: Path, tmp_path: Path
) -> None:
    first = pack(folder, tmp_path / "a.tar")
    (folder / ".config.json.77").touch()
    (folder / "link").symlink_to("/etc/passwd")
    assert pack(folder, tmp_path / "b.tar") == first


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    return found


HOSTILE: dict[str, Callable[[], tarfile.TarInfo]] = {
    "parent": lambda: entry("../outside"),
    "nested parent": lambda: entry("a/../../outside"),
    "absolute": lambda: entry("/tmp/outside-of-archive"),
    "backslash": lambda: entry("..\\outside"),
    "symbolic link": lambda: entry("a", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": lambda: entry("a", tarfile.LNKTYPE, "/etc/passwd"),
    "device": lambda: entry("a", tarfile.CHRTYPE),
    "pipe": lambda: entry("a", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_leads_outside(case: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.addfile(entry("config.json"), io.BytesIO(b"x"))
        tar.addfile(HOSTILE[case](), io.BytesIO(b"x"))
    with pytest.raises(InputError, match="nothing was unpacked"):
        unpack(tmp_path / "bad.tar", tmp_path / "into" / "there")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bad.tar", "into"]


@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_a_torn_archive_is_refused_whole(folder: Path, tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.tar"
    pack(folder, path)
    path.write_bytes(path.read_bytes()[: int(keep * 4000)])
    with pytest.raises(InputError, match=r"a\.tar"):
        unpack(path, tmp_path / "there")
    assert not (tmp_path / "there").exists()
