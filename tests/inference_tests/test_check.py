"""Checks: same, different, unknown; false alarms; where a recording deviates; exit status as diff(1)."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.__main__ import main
from inference.check import DIFFERENT, SAME, UNKNOWN, Checker, Strangeness, sentence, short_title
from inference.check_command import checks
from inference.expected import difference, moves_of, operations_of, read_program
from inference.whole import Reader
from model.library import Library
from model.library_fit import build
from model.merged_program import merged
from model.recordings import Recordings
from tuner.base.errors import InputError

ALARM = 0.12  # twelve recordings allow no lower one


@pytest.fixture(scope="module")
def library(tiny_recordings: Recordings) -> Library:
    return build(tiny_recordings)


@pytest.fixture(scope="module")
def checker(library: Library) -> Checker:
    return Checker(Reader(library, leave_out_itself=True), alarm=ALARM)


def index(data: Recordings, name: str) -> int:
    return [recording.name for recording in data.recordings].index(name)


def test_a_recording_of_the_expected_program_is_the_same(
    checker: Checker, tiny_recordings: Recordings
) -> None:
    one = checker.check(tiny_recordings, index(tiny_recordings, "face_002"), ["face"], "face")
    assert (one.verdict, one.operation, one.deviation) == (SAME, "face", None)
    assert one.p > ALARM


def test_another_known_program_is_different_and_named(checker: Checker, tiny_recordings: Recordings) -> None:
    one = checker.check(tiny_recordings, index(tiny_recordings, "face_002"), ["pocket"], "a pocket")
    assert (one.verdict, one.operation) == (DIFFERENT, "face")
    assert one.p <= ALARM
    assert one.deviation is not None and one.deviation.line
    assert "it is of program face (" in sentence(one)
    assert f"face_002: Differs from row {one.deviation.row} (" in sentence(one)
    assert f": expected {one.deviation.line}" in short_title(one) and "p =" not in short_title(one)


def test_a_program_that_nobody_knows_is_unknown(tiny_recordings: Recordings) -> None:
    others = [i for i, r in enumerate(tiny_recordings.recordings) if r.operation != "pocket"]
    checker = Checker(Reader(build(tiny_recordings, others)), alarm=0.2)
    one = checker.check(tiny_recordings, index(tiny_recordings, "pocket_001"), [], "a known program")
    assert (one.verdict, one.operation) == (UNKNOWN, None)


def test_the_share_of_false_alarms_is_what_was_asked_for(library: Library) -> None:
    strange = Strangeness.of(library)
    for alarm in (0.1, 0.25, 0.5):
        p = [
            strange.p_value(known.operation, float(own), alarm=alarm)
            for known, own in zip(library.known, strange.own, strict=True)
        ]
        assert np.mean(np.array(p) <= alarm) <= alarm


def test_an_operation_with_enough_recordings_is_compared_with_itself(library: Library) -> None:
    strange = replace(Strangeness.of(library), own=np.where(library.operations == "face", 5.0, 0.0))
    assert strange.p_value("face", 3.0, alarm=0.2) == 1.0
    assert strange.p_value("face", 3.0, alarm=0.1) == pytest.approx(5 / 13)


def test_a_low_alarm_needs_recordings(library: Library) -> None:
    with pytest.raises(InputError, match=r"--alarm 0.01: needs 99 known recordings"):
        Checker(Reader(library), alarm=0.01)


def test_an_expected_file_is_found_in_any_spelling(library: Library, tmp_path: Path) -> None:
    program = merged(library, library.named("face_001"))
    path = tmp_path / "face.nc"
    numbered = [f"N{10 * i} {text} (comment)" for i, text in enumerate(program.texts())]
    path.write_text("\n".join(["%", *numbered, "%"]))
    assert "face" in operations_of(library, read_program(path))
    modal, full = moves_of(["G1 X1", "Y2"]), moves_of(["G1 X1.0", "G1 Y2."])
    assert [move for move, _ in modal] == [move for move, _ in full]


def test_a_changed_file_differs_at_its_change(library: Library) -> None:
    program = merged(library, library.named("face_001"))
    lines = list(program.texts())
    at = len(lines) // 2
    changed = [*lines[:at], "G1 X9.9", *lines[at + 1 :]]
    found = difference(changed, program)
    assert found is not None
    assert (found.expected, found.found) == ("G1 X9.9", lines[at])
    assert found.number == program.lines[at].number
    assert difference(lines, program) is None


def test_a_recording_of_a_file_that_was_changed_is_different(
    library: Library, tiny_recordings: Recordings, tmp_path: Path
) -> None:
    program = merged(library, library.named("face_001"))
    lines = list(program.texts())
    at = len(lines) // 2
    path = tmp_path / "changed.nc"
    path.write_text("\n".join([*lines[:at], "G1 X9.9", *lines[at + 1 :]]))
    checker = Checker(Reader(library, leave_out_itself=True), alarm=ALARM)
    one = checks(checker, program=path)(tiny_recordings, index(tiny_recordings, "face_002"))
    assert one.verdict == DIFFERENT
    assert one.deviation is not None and one.deviation.line == "G1 X9.9"
    assert one.deviation.row > 20


@pytest.mark.parametrize(("like", "status", "verdict"), [("face_003", 0, SAME), ("pocket_002", 1, DIFFERENT)])
def test_the_exit_status_is_that_of_diff(
    capsys, tiny_recordings: Recordings, tiny_csv: Path, like: str, status: int, verdict: str
) -> None:
    arguments = ["check", str(tiny_csv / "face_002_aligned.csv.gz"), "--like", like, "--json"]
    known = ["--known", str(tiny_recordings.folder), "--alarm", str(ALARM)]
    assert main([*arguments, *known]) == status
    assert json.loads(capsys.readouterr().out)["verdict"] == verdict


@pytest.mark.parametrize(
    ("rows", "says"), [(10, "too short to recognise a program by: 10 rows"), (2, "2 rows, at least 64")]
)
def test_a_few_rows_are_of_no_program(
    capsys, tiny_recordings: Recordings, tiny_csv: Path, tmp_path: Path, rows: int, says: str
) -> None:
    """They fit many programs: a program that was broken off would pass."""
    lines = gzip.decompress((tiny_csv / "pocket_002_aligned.csv.gz").read_bytes()).splitlines(keepends=True)
    (tmp_path / "begun.csv").write_bytes(b"".join(lines[: 1 + rows]))
    known = ["--known", str(tiny_recordings.folder), "--alarm", str(ALARM)]
    assert main(["check", str(tmp_path / "begun.csv"), *known]) == 2
    assert says in capsys.readouterr().err


def test_a_recording_in_which_no_sensor_changes_is_refused(
    capsys, tiny_recordings: Recordings, tiny_csv: Path, tmp_path: Path
) -> None:
    header, first, *_ = gzip.decompress((tiny_csv / "face_002_aligned.csv.gz").read_bytes()).splitlines()
    (tmp_path / "hung.csv").write_bytes(b"\n".join([header, *[first] * 100]))
    known = ["--known", str(tiny_recordings.folder)]
    for command in (["check", "--alarm", str(ALARM)], ["decode"]):
        assert main([command[0], str(tmp_path / "hung.csv"), *command[1:], *known]) == 2
        assert "hung: no sensor changes in its 100 rows: nothing to read" in capsys.readouterr().err


def test_trouble_is_two(capsys, tiny_recordings: Recordings, tiny_csv: Path) -> None:
    known = ["--known", str(tiny_recordings.folder), "--alarm", str(ALARM)]
    assert main(["check", str(tiny_csv / "face_002_aligned.csv.gz"), "--like", "nobody", *known]) == 2
    assert "--like nobody: not a known recording" in capsys.readouterr().err


def test_a_bad_file_keeps_no_other_from_being_answered(
    capsys, tiny_recordings: Recordings, tiny_csv: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.csv").write_text("")
    (tmp_path / "face_002.csv.gz").write_bytes((tiny_csv / "face_002_aligned.csv.gz").read_bytes())
    known = ["--known", str(tiny_recordings.folder), "--alarm", str(ALARM), "--json"]
    assert main(["check", str(tmp_path), *known, "--like", "face_003"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["recording"] == "face_002"
    assert "broken.csv: the file is empty" in told.err


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "a device or a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device or a pipe"),
        (lambda path: path.touch() or os.truncate(path, 2**40), "expected at most 16,384"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(bytes(range(256))), "no move in it"),
    ],
)
def test_a_program_that_is_no_file_of_text_is_refused(
    make: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "program.nc"
    make(path)
    with pytest.raises(InputError, match=says) as error:
        read_program(path)
    assert "program.nc" in str(error.value)


def test_a_number_with_two_points_is_read_up_to_the_second() -> None:
    assert moves_of(["G1 X1.2.3 Y.5"]) == [(("G1", (("X", 1.2), ("Y", 0.5))), "G1 X1.2.3 Y.5")]
