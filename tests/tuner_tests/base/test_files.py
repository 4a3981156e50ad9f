"""Files and folders that are whole or absent."""

import os
from pathlib import Path

import pytest

from tuner.base.errors import DamagedFile, InputError
from tuner.base.files import remove_left_overs, whole_file, whole_folder
from tuner.base.run_folder import if_readable


def test_a_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_kept_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    (path / "old").touch()
    with whole_folder(path) as beside:
        (beside / "new").touch()
        assert (path / "old").exists()
    assert [file.name for file in path.iterdir()] == ["new"] and list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_folder_is_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(OSError, match="full"), whole_folder(path) as beside:
        (beside / "new").touch()
        raise OSError("full")
    assert [file.name for file in path.iterdir()] == ["old"] and list(tmp_path.iterdir()) == [path]


def test_left_overs_of_dead_processes_go_and_a_running_one_keeps_its_own(tmp_path: Path) -> None:
    for process in ("999999999", str(os.getpid()), "notes"):
        (tmp_path / f".data.partial-{process}").mkdir()
    remove_left_overs(tmp_path / "data")
    assert {path.name for path in tmp_path.iterdir()} == {
        f".data.partial-{os.getpid()}",
        ".data.partial-notes",
    }


@pytest.mark.parametrize("error", [InputError("a pipe"), PermissionError(13, "Permission denied", "x.json")])
def test_a_run_file_that_cannot_be_read_is_left_out_with_a_warning(tmp_path: Path, error: Exception) -> None:
    def read(path: Path) -> None:
        raise error

    assert if_readable(read, tmp_path / "absent") is None
    with pytest.warns(DamagedFile, match=r"left out: (a pipe|x.json: Permission denied)"):
        assert if_readable(read, tmp_path) is None
