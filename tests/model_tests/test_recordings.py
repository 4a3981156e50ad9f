"""Importing recordings: what is found, masked, counted; and every way in which a file can be wrong."""

import errno
import gzip
import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.data_sets import default_data, synthesize
from model.importing import import_recordings
from model.recording_files import count_runs, find_recordings, operation_of, read_recording
from model.recordings import NO_LINE, Recordings
from tuner.base.errors import InputError, WorkFailed


def table(rows=30, *, boards=("frame_r2",), line="G1 X1.5", **columns):
    """A small valid recording; `columns` replace or add."""
    signals = {
        f"{board}.{channel}": np.arange(rows) / 7 + i
        for i, board in enumerate(boards)
        for channel in ("Ax", "Mz")
    }
    position = {name: np.arange(rows, dtype=float) for name in ("mpox", "mpoy", "mpoz")}
    return pl.DataFrame(
        {
            **signals,
            "spindle": np.ones(rows),
            **position,
            "gcode_line": [7] * rows,
            "gcode_string": [line] * rows,
        }
        | columns
    )


def write(folder: Path, name="face_001_aligned.csv", frame=None):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    text = (table() if frame is None else frame).write_csv().encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


@pytest.fixture
def csv(tmp_path):
    """A folder for recordings, beside which data sets are made."""
    folder = tmp_path / "csv"
    folder.mkdir()
    return folder


def importing(csv, to=None):
    return import_recordings([csv], to or csv.parent / "data" / "mill")


# -- what an import gives


def test_channels_are_the_sorted_union_and_absent_boards_are_masked(csv):
    write(csv, "face_001.csv", table(boards=("frame_r2", "y_bed__3")))
    write(csv, "face_002.csv.gz", table(boards=("frame_r2", "a1")))
    data = importing(csv).data
    assert data.channels == tuple(
        sorted(["frame_r2.Ax", "frame_r2.Mz", "y_bed__3.Ax", "y_bed__3.Mz", "a1.Ax", "a1.Mz", "spindle"])
    )
    assert data.boards == ("a1", "frame_r2", "motors", "y_bed__3")
    absent = data.channels.index("a1.Ax")
    assert not data.present[0, absent] and data.present[1, absent]
    assert (data.signals[:30, absent] == 0).all()
    assert data.recordings[0].boards == ("frame_r2", "motors", "y_bed__3")


def test_the_controller_state_is_no_sensor(csv):
    write(csv, frame=table(vel=[1.0] * 30, posx=[2.0] * 30, raw_json=["{}"] * 30))
    data = importing(csv).data
    assert data.channels == ("frame_r2.Ax", "frame_r2.Mz", "spindle")
    assert data.position[:, 0].tolist() == list(range(30))


def test_rows_without_a_line_are_dropped_and_counted(csv):
    write(csv, frame=table(gcode_string=["G1 X1.5"] * 20 + [None, "", "  ", "(just a note)"] + ["G1 X2"] * 6))
    report = importing(csv)
    assert report.data.recordings[0].dropped_rows == 4
    assert report.data.rows == 26
    assert any("4 rows without a line dropped, 26 kept" in line for line in report.lines())


def test_lines_are_stored_in_canonical_form(csv):
    write(csv, frame=table(gcode_string=["G01 X1.50", "g1 x1.5"] * 15))
    data = importing(csv).data
    assert data.lines == ("G1 X1.5",)
    assert data.line_ids.dtype == np.int32


def test_two_runs_in_one_recording_are_reported_and_kept(csv):
    once = [99] * 5 + list(range(1, 51)) + [100] * 5
    write(csv, frame=table(rows=120, gcode_line=once * 2))
    report = importing(csv)
    assert report.data.recordings[0].runs == 2 and report.data.rows == 120
    assert any("has 2 runs" in line for line in report.lines())


def test_runs_are_counted_by_the_line_number_falling_back():
    assert count_runs([]) == 1
    assert count_runs([7] * 30) == 1
    assert count_runs([99] * 9 + list(range(100))) == 1, "rows of the program before are no run"
    assert count_runs([99] * 9 + list(range(100)) + [60] + list(range(61, 100))) == 1, "a step back is no run"
    assert count_runs([*range(100), *range(100), *range(100)]) == 3


def test_boards_that_had_stopped_sending_are_reported(csv):
    values = np.concatenate([np.arange(40.0), np.full(60, 39.0)])
    write(
        csv,
        frame=table(rows=100).with_columns(pl.col("^.*\\.(Ax|Mz)$").clip(upper_bound=40 / 7), a1_x=values),
    )
    report = importing(csv)
    assert report.data.recordings[0].frozen_rows == 59
    assert any("no sensor changes in its last 59 rows" in line for line in report.lines())


def test_empty_and_infinite_cells_take_the_value_before_them_and_are_counted(csv):
    values = [None, 1.0, None, float("inf"), float("nan"), 3.0] + [4.0] * 24
    write(csv, frame=table().with_columns(pl.Series("frame_r2.Ax", values)))
    data = importing(csv).data
    assert data.signals[:6, 0].tolist() == [1, 1, 1, 1, 1, 3]
    assert data.recordings[0].filled_cells == 4


def test_a_channel_without_any_value_counts_as_absent(csv):
    write(csv, frame=table().with_columns(pl.lit(None, dtype=pl.Float64).alias("frame_r2.Ax")))
    assert "frame_r2.Ax" not in importing(csv).data.channels


def test_operation_is_the_name_up_to_its_number():
    assert operation_of("face150025_009") == "face150025"
    assert operation_of("my_part") == "my_part"


def test_nested_folders_are_searched_and_other_files_counted(csv):
    write(csv / "day1", "face_001.csv")
    (csv / "notes.txt").write_text("hello")
    (csv / "._face_001.csv").write_bytes(b"\0")
    report = importing(csv)
    assert len(report.data.recordings) == 1
    assert report.lines()[-1] == "ignored: 2 files that are not .csv or .csv.gz"


def test_a_loaded_data_set_is_what_was_imported(tiny_csv, tmp_path):
    imported = import_recordings([tiny_csv], tmp_path / "mill").data
    loaded = Recordings.load(tmp_path / "mill")
    assert loaded.recordings == imported.recordings and loaded.lines == imported.lines
    assert isinstance(loaded.signals, np.memmap) and not loaded.signals.flags.writeable
    assert len(loaded.operations) == 3 and loaded.rows == sum(r.rows for r in loaded.recordings)


def test_the_content_hash_follows_the_content_not_the_place(csv):
    path = write(csv)
    first = importing(csv, csv.parent / "one").data.content_hash
    assert importing(csv, csv.parent / "two").data.content_hash == first
    path.write_text(path.read_text().replace("G1 X1.5", "G1 X1.6"))
    assert importing(csv, csv.parent / "two").data.content_hash != first


def test_recordings_in_memory_follow_the_asked_channels(csv):
    path = write(csv, frame=table(boards=("frame_r2", "extra")).drop("gcode_string"))
    data = Recordings.from_files([path], channels=["frame_r2.Ax", "y_bed__3.Ax"])
    assert data.present.tolist() == [[True, False]]
    assert data.signals.shape == (30, 2)
    assert (data.line_ids == NO_LINE).all()
    with pytest.raises(InputError, match="none of the 1 expected channels"):
        Recordings.from_files([path], channels=["y_bed__3.Ax"])


def test_a_file_without_position_has_no_position(csv):
    write(csv, frame=table().drop("mpox"))
    assert np.isnan(importing(csv).data.position).all()


# -- what can be wrong


def cut_off(csv):
    path = write(csv, "face_001.csv.gz")
    path.write_bytes(path.read_bytes()[:-40])


def no_gzip(csv):
    (csv / "face_001.csv.gz").write_text("frame_r2.Ax,gcode_string\n1,G0\n")


def no_csv(csv):
    (csv / "face_001.csv").write_bytes(bytes(range(256)) * 9)


def empty_file(csv):
    (csv / "face_001.csv").write_bytes(b"")


def no_lines(csv):
    write(csv, frame=table().drop("gcode_string"))


def no_sensors(csv):
    write(csv, frame=table().select("mpox", "gcode_string"))


def no_known_line(csv):
    write(csv, frame=table(gcode_string=[None] * 30))


def no_rows(csv):
    write(csv, frame=table().head(0))


def bad_cell(csv):
    write(csv, frame=table().with_columns(pl.Series("frame_r2.Mz", ["1.5"] * 3 + ["abc"] * 27)))


def same_name(csv):
    write(csv, "face_001.csv")
    write(csv, "face_001_aligned.csv.gz")


def same_column(csv):
    (csv / "face_001.csv").write_text("a.Ax,a.Ax,gcode_string\n1,2,G0\n")


def dangling(csv):
    (csv / "face_001.csv").symlink_to(csv / "gone.csv")


def nothing(csv):
    (csv / "readme.md").write_text("no data here")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_off, r"face_001\.csv\.gz: the \.gz is cut off"),
        (no_gzip, r"face_001\.csv\.gz: not a readable \.gz"),
        (no_csv, r"face_001\.csv: not a "),
        (empty_file, r"face_001\.csv: the file is empty"),
        (no_lines, r"face_001_aligned\.csv: no column 'gcode_string'"),
        (no_sensors, r"no sensor column"),
        (no_known_line, r"no row has a line"),
        (no_rows, r"no rows"),
        (bad_cell, r"column 'frame_r2\.Mz', row 4: expected a number, got 'abc'"),
        (same_name, r"two recordings are named 'face_001'"),
        (same_column, r"two columns are named 'a\.Ax'"),
        (dangling, r"face_001\.csv: cannot be read"),
        (nothing, r"no \.csv or \.csv\.gz in this folder"),
    ],
)
def test_a_bad_file_is_one_clear_line_and_leaves_no_data_set(csv, spoil, message):
    spoil(csv)
    with pytest.raises(InputError, match=message) as caught:
        importing(csv)
    assert "\n" not in str(caught.value)
    assert not list((csv.parent / "data").glob("*")) and not list((csv.parent / "data").glob(".*"))


def test_a_source_that_is_missing_or_no_recording_is_named(tmp_path):
    with pytest.raises(InputError, match="gone: no such file or folder"):
        find_recordings([tmp_path / "gone"])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"a\.txt: not a recording"):
        find_recordings([tmp_path / "a.txt"])
    with pytest.raises(InputError, match="no recording given"):
        find_recordings([])


def test_an_unreadable_file_is_named(csv, monkeypatch):
    path = write(csv)

    def refuse(self):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        read_recording(path)


def test_a_failed_import_leaves_the_data_set_before_it(csv):
    write(csv)
    before = importing(csv).data.content_hash
    bad_cell(csv)
    with pytest.raises(InputError):
        importing(csv)
    assert Recordings.load(csv.parent / "data" / "mill").content_hash == before


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tiny_csv, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # a write past 50 kB fails, as on a full disk
    try:
        with pytest.raises(WorkFailed, match="no space left"):
            import_recordings([tiny_csv], tmp_path / "mill")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_import_left_behind_is_no_data_set_and_goes(csv):
    write(csv)
    data = csv.parent / "data"
    shutil.copytree(importing(csv).data.folder, data / ".mill.partial-999999999")
    assert default_data(data) == data / "mill"
    importing(csv)
    assert [path.name for path in data.iterdir()] == ["mill"]


def test_a_folder_that_is_no_data_set_is_never_replaced(csv):
    write(csv)
    with pytest.raises(InputError, match="exists and is not a data set"):
        importing(csv, csv)
    assert (csv / "face_001_aligned.csv").exists()


@pytest.mark.parametrize("part", ["signals.npy", "lines.json", "manifest.json"])
def test_a_torn_data_set_is_named(csv, part):
    write(csv)
    folder = importing(csv).data.folder
    content = (folder / part).read_bytes()
    (folder / part).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=part):
        Recordings.load(folder)


def test_no_data_set_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="tuner model import"):
        Recordings.load(tmp_path)


def test_a_data_set_of_another_format_asks_for_a_new_import(csv):
    write(csv)
    folder = importing(csv).data.folder
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(InputError, match="format 99, expected 1"):
        Recordings.load(folder)


# -- which data set is used when none is named


def test_the_default_is_the_only_imported_data_set_else_the_simulators(tiny_recordings, csv):
    root = csv.parent / "data"
    shutil.copytree(tiny_recordings.folder, root / "simulator")
    assert default_data(root) == root / "simulator"
    write(csv)
    importing(csv)
    assert default_data(root) == root / "mill"
    importing(csv, root / "other")
    with pytest.raises(InputError, match=r"several data sets: .*mill, .*other; name one with --data"):
        default_data(root)


def test_the_default_is_synthesized_where_there_is_nothing(tmp_path, monkeypatch, tiny_recordings):
    monkeypatch.setattr("model.data_sets.synthesize", lambda to: shutil.copytree(tiny_recordings.folder, to))
    assert Recordings.load(default_data(tmp_path)).kind == "simulator"


def test_synthesize_refuses_a_folder_of_something_else(csv):
    write(csv)
    with pytest.raises(InputError, match="exists and is not a data set"):
        synthesize(csv)


# -- the real ones


def test_a_real_recording_is_read(real_recordings):
    file = read_recording(real_recordings / "face150025_001_aligned.csv.gz")
    assert (len(file.lines), file.dropped_rows, file.runs) == (731, 2773, 1)
    assert read_recording(real_recordings / "pocket150025_006_aligned.csv.gz").runs == 2


def test_a_byte_order_mark_and_spaces_after_the_commas_change_nothing(csv):
    path = write(csv)
    plain = path.read_bytes()
    header, _, rows = plain.partition(b"\n")
    expected = read_recording(path)
    path.write_bytes(b"\xef\xbb\xbf" + header.replace(b",", b", ") + b"\n" + rows)
    found = read_recording(path)
    assert found.channels == expected.channels and np.array_equal(found.signals, expected.signals)
    assert found.lines == expected.lines
