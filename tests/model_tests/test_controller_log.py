"""What is kept of the controller's columns, and what happens where they are missing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from model.controller_log import UNKNOWN, begins, read_log, read_setup, unknown_log
from model.recordings import LOG, Recordings
from tuner.base.errors import InputError


def test_number_motion_and_seconds_of_each_row_are_kept() -> None:
    table = pl.DataFrame(
        {
            "gcode_line": ["12", None, "16"],
            "momo": ["0", "7", "3"],
            "feed": ["0", "x", "1016.0"],
            "t_console": ["23:59:59.750", "00:00:00.000", "00:00:00.250"],
        }
    )
    log = read_log(table)
    assert log["number"].tolist() == [12, -1, 16]
    assert log["motion"].tolist() == [0, -1, 3], "4 and more are no motion"
    assert log["feed"].tolist() == pytest.approx([0, float("nan"), 1016], nan_ok=True)
    assert log["seconds"].tolist() == pytest.approx([0, 0.25, 0.5])


def test_a_clock_without_the_hour_runs_on() -> None:
    log = read_log(pl.DataFrame({"t_console": ["59:59.500", "00:00.000"]}))
    assert log["seconds"].tolist() == pytest.approx([0, 0.5])


def test_without_the_columns_nothing_is_known() -> None:
    log = read_log(pl.DataFrame({"gcode_string": ["G1", "G1"]}))
    assert (log["number"] == unknown_log(2)["number"]).all()
    assert np.isnan(log["seconds"]).all()
    assert read_setup(pl.DataFrame({"gcode_string": ["G1"]})) == ""


def test_the_setup_is_what_holds_in_most_rows() -> None:
    table = pl.DataFrame({"unit": [1, 0, 0], "dist": [0, 0, 0], "coor": [None, 2, 2]})
    assert read_setup(table) == "G20 G90 G55"


def test_a_data_set_of_before_is_read_without_a_log(tiny_recordings: Recordings, tmp_path) -> None:
    import shutil

    old = shutil.copytree(tiny_recordings.folder, tmp_path / "old")
    (old / LOG).unlink()
    data = Recordings.load(old)
    assert data.content_hash == tiny_recordings.content_hash
    assert (data.log["number"] == -1).all() and (tiny_recordings.log["number"] > 0).all()


def test_a_torn_log_is_named(tiny_recordings: Recordings, tmp_path) -> None:
    import shutil

    torn = shutil.copytree(tiny_recordings.folder, tmp_path / "torn")
    np.save(torn / LOG, np.zeros(tiny_recordings.rows))
    with pytest.raises(InputError, match=r"log\.npy"):
        Recordings.load(torn)


def test_a_program_begins_after_the_lines_that_were_read_ahead() -> None:
    assert begins(np.array([12, 12, 1, 2, 2, 3])) == 2
    assert (
        begins(np.array([5, 5, 6])) == begins(np.empty(0, dtype=int)) == begins(np.array([7, UNKNOWN])) == 0
    )
