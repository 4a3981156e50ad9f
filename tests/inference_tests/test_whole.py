"""Whole recordings: read row by row, written as programs, and by the windows alone where nothing fits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.__main__ import main
from inference.gcode_file import UNSURE, confidence, last_number, program_lines
from inference.whole import Reader, WholeRecording
from inference.whole_output import headline, write_json_lines, write_summary, write_tables
from model.controller_log import unknown_log
from model.library import Library
from model.library_fit import build
from model.recordings import Recordings


@pytest.fixture(scope="module")
def library(tiny_recordings: Recordings) -> Library:
    """All recordings but the second of each operation."""
    return build(tiny_recordings, [i for i in range(12) if i % 4 != 1])


@pytest.fixture(scope="module")
def reader(library: Library) -> Reader:
    return Reader(library)


@pytest.fixture(scope="module")
def face(reader: Reader, tiny_csv: Path) -> WholeRecording:
    """A recording that the library does not have."""
    (one,) = reader.read(tiny_csv / "face_002_aligned.csv.gz")
    return one


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `tuner inference …`; returns status, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        status = main(list(map(str, arguments)))
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


def test_a_new_recording_of_a_known_program_is_read(face: WholeRecording) -> None:
    assert face.operation == "face"
    assert "".join(run.line for run in face.runs) and face.runs[0].start == 0
    assert sum(run.rows for run in face.runs) == len(face.lines)
    assert all(run.seconds is not None and run.seconds[0] < run.seconds[1] for run in face.runs)
    right = sum(run.rows for run in face.runs if run.line == run.truth)
    assert right > 0.7 * len(face.lines)
    assert 0.5 < face.expected <= 1


def test_a_row_that_two_lines_share_has_both(face: WholeRecording) -> None:
    unsure = [run for run in face.runs if run.alternatives]
    assert unsure
    assert all(share > 0 for run in unsure for _, share in run.alternatives)


def test_the_file_of_a_program_is_whole(face: WholeRecording) -> None:
    lines = list(program_lines(face))
    words = [line.split(" (")[0] for line in lines if not line.startswith("(")]
    assert words[0] == "G20 G90 G55"
    assert words[-1] == "M30"
    assert any(line.startswith(("G2 ", "G3 ")) for line in words), "arcs"
    assert any("F" in line for line in words)
    assert face.program is not None and len(words) == 1 + len(face.program.lines)


def test_unsure_lines_carry_their_probability(face: WholeRecording) -> None:
    sure = confidence(face)
    marked = [line for line in program_lines(face) if line.endswith(")") and not line.startswith("(")]
    assert len(marked) == sum(p < UNSURE for p in sure.values())
    doubtful = replace(face, probability=np.full(len(face.lines), 0.3))
    assert all(
        line.endswith("(0.30)") for line in program_lines(doubtful) if line[0] != "(" and line[:3] != "G20"
    )


def test_a_recording_that_ends_early_gives_the_lines_it_reached(face: WholeRecording) -> None:
    half = len(face.lines) // 2
    cut = replace(face, number=face.number[:half], probability=face.probability[:half])
    assert last_number(cut) == face.number[half - 1]
    assert len(list(program_lines(cut))) < len(list(program_lines(face)))


def test_a_known_recording_is_named_or_left_out(library: Library, tiny_csv: Path) -> None:
    file = tiny_csv / "face_003_aligned.csv.gz"
    (one,) = Reader(library).read(file)
    assert any("is the known recording face_003" in note for note in one.notes)
    assert one.right == one.known == len(one.lines), "it has its own lines"
    (other,) = Reader(library, leave_out_itself=True).read(file)
    assert other.like != "face_003"
    assert other.fit < one.fit


def test_an_unknown_program_is_said_to_be_unknown(tiny_recordings: Recordings, tiny_csv: Path) -> None:
    others = [i for i, r in enumerate(tiny_recordings.recordings) if r.operation != "pocket"]
    reader = Reader(build(tiny_recordings, others))
    (one,) = reader.read(tiny_csv / "pocket_001_aligned.csv.gz")
    assert one.operation is None and one.program is None
    assert "no known program fits" in headline(one)
    assert any("without networks there is no answer" in note for note in one.notes)


def test_without_line_numbers_the_lines_of_rows_are_written(
    tiny_recordings: Recordings, tiny_csv: Path
) -> None:
    old = build(replace(tiny_recordings, log=unknown_log(tiny_recordings.rows)))
    (one,) = Reader(old, leave_out_itself=True).read(tiny_csv / "face_001_aligned.csv.gz")
    lines = list(program_lines(one))
    assert "no line numbers" in lines[0]
    assert len(lines) == 1 + len([run for run in one.runs if run.line])


def test_tables_and_json_lines_say_the_same(face: WholeRecording) -> None:
    table, lines = io.StringIO(), io.StringIO()
    write_tables([face], table)
    write_json_lines([face], lines)
    runs = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert len(runs) == len(face.runs)
    assert {"recording", "start", "rows", "seconds", "line", "number", "probability"} <= set(runs[0])
    assert runs[0]["operation"] == "face"
    assert all(run["line"] in table.getvalue() for run in runs)


def test_rows_that_are_right_are_counted_where_the_true_lines_are_known(face: WholeRecording) -> None:
    table, summary, unknown = io.StringIO(), io.StringIO(), io.StringIO()
    write_tables([face], table)
    write_summary([face, face], summary)
    write_summary([replace(face, right=0, known=0)], unknown)

    rows = face.known
    assert 0.7 * rows < face.right <= rows <= len(face.lines)
    assert table.getvalue().splitlines()[-1] == f"{face.right} of {rows} rows right ({face.right / rows:.0%})"
    first, _, both = summary.getvalue().splitlines()
    assert first.startswith(f"face_002: face, {face.right} of {rows} rows right, ")
    assert both.startswith(f"{2 * face.right} of {2 * rows} rows of 2 recordings right")
    assert "right" not in unknown.getvalue()


def test_below_a_reliable_fit_there_is_no_figure(face: WholeRecording) -> None:
    summary = io.StringIO()
    doubtful = replace(face, between=None)
    write_summary([doubtful], summary)
    assert "uncertain" in summary.getvalue() and "% expected" not in summary.getvalue()
    assert "uncertain" in headline(doubtful) and "should be right" not in headline(doubtful)
    assert "(uncertain; " in "".join(program_lines(doubtful))


def test_known_recordings_are_enough_to_decode(run, tiny_recordings: Recordings, tiny_csv: Path) -> None:
    file = tiny_csv / "face_002_aligned.csv.gz"
    status, program, _ = run("decode", file, "--known", tiny_recordings.folder, "--format", "gcode")
    last = program.splitlines()[-1].partition(" (")[0]  # a doubtful line has its probability behind it
    assert (status, last) == (0, "M30")
    status, table, notes = run("decode", file, "--known", tiny_csv)
    assert status == 0 and "face" in table and "is the known recording face_002" in notes


def test_a_missing_library_is_one_clear_line(run, tiny_csv: Path, tmp_path: Path) -> None:
    status, _, error = run("decode", tiny_csv / "face_001_aligned.csv.gz", "--known", tmp_path / "no")
    assert (status, error.count("\n")) == (2, 1)
    assert "no such data set or folder" in error
