"""The tool path: arcs, rows, and the page and drawing that show them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from inference.__main__ import main
from inference.toolpath import moves_of, track_of
from inference.whole import Reader
from model.library_fit import build
from model.recordings import Recordings
from tuner.base.errors import InputError


def test_arcs_go_round_the_right_centre_in_the_right_direction() -> None:
    lines = ["G0 X0 Y0 Z1", "G2 X1 Y1 R1", "G3 X0 Y2 R1", "G3 I0 J-1 X0 Y0"]
    _, clockwise, counter, centred = moves_of(lines)
    assert np.hypot(*(clockwise.points[:, :2] - [1, 0]).T) == pytest.approx(np.ones(12))
    assert clockwise.points[6, 1] > clockwise.points[6, 0], "clockwise from the left goes over the top"
    assert np.hypot(*(counter.points[:, :2] - [0, 1]).T) == pytest.approx(np.ones(12))
    assert np.hypot(*(centred.points[:, :2] - [0, 1]).T) == pytest.approx(np.ones(12))
    assert clockwise.points[-1].tolist() == pytest.approx([1, 1, 1])


def test_machine_coordinates_and_comments_are_no_moves() -> None:
    assert [move.line for move in moves_of(["G1 X1 Y1 (X9)", "X2", "G53 G0 Z0", "M30"])] == [0, 1]
    assert moves_of(["G1 X1 Y1 (X9)", "X2"])[1].points[-1, 0] == 2


@pytest.fixture(scope="module")
def known(tiny_recordings: Recordings) -> list[str]:
    return ["--known", str(tiny_recordings.folder)]


def test_each_row_has_a_place_on_the_path(tiny_recordings: Recordings, tiny_csv: Path) -> None:
    (one,) = Reader(build(tiny_recordings)).read(tiny_csv / "face_002_aligned.csv.gz")
    track = track_of(one)
    assert track is not None
    assert len(track.points) == len(track.sure) == len(track.text)
    placed = track.rows[np.isfinite(track.rows).all(axis=1)]
    assert len(placed) > 0.7 * len(one.lines), "the first moves start at a place that no log has"
    low, high = track.points.min(axis=0), track.points.max(axis=0)
    assert ((placed >= low - 1e-6) & (placed <= high + 1e-6)).all()


@pytest.mark.parametrize("command", [["decode"], ["check", "--like", "face_003"]])
def test_a_page_and_a_drawing_are_written(
    capsys, known: list[str], tiny_csv: Path, tmp_path: Path, command: list[str]
) -> None:
    page, plot = tmp_path / "out" / "face.html", tmp_path / "face.svg"
    file = str(tiny_csv / "face_002_aligned.csv.gz")
    name, *rest = command
    assert main([name, file, *rest, *known, "--html", str(page), "--plot", str(plot)]) == 0
    text = page.read_text()
    content = json.loads(re.search(r"const content = (\{.*\});\n", text)[1])
    assert len(content["rows"]) == len(content["lines"]) == len(content["seconds"])
    assert len(content["path"]) == len(content["sure"]) == len(content["text"])
    assert (content["expected"] is not None) == ("expected</span>" in text) == (name == "check")
    assert len(text) < 500_000, "no library in it"
    assert "<svg" in plot.read_text()


def test_deviations_are_marked(capsys, known: list[str], tiny_csv: Path, tmp_path: Path) -> None:
    page = tmp_path / "face.html"
    file = str(tiny_csv / "face_002_aligned.csv.gz")
    assert main(["check", file, "--like", "pocket_002", *known, "--html", str(page)]) == 1
    content = json.loads(re.search(r"const content = (\{.*\});\n", page.read_text())[1])
    assert content["deviating"] and "deviates</span>" in page.read_text()


def test_several_recordings_and_other_endings_are_refused(
    capsys, known: list[str], tiny_csv: Path, tmp_path: Path
) -> None:
    assert main(["decode", str(tiny_csv), *known, "--html", str(tmp_path / "x.html")]) == 2
    assert "draw one recording, got 12" in capsys.readouterr().err
    file = str(tiny_csv / "face_002_aligned.csv.gz")
    assert main(["decode", file, *known, "--plot", str(tmp_path / "x.bmp")]) == 2
    assert ".png, .svg, .pdf" in capsys.readouterr().err


def test_the_page_draws_without_errors(capsys, known: list[str], tiny_csv: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    page = tmp_path / "face.html"
    assert main(["decode", str(tiny_csv / "face_002_aligned.csv.gz"), *known, "--html", str(page)]) == 0
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=8000",
            "--dump-dom",
            page,
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "row " in re.search(r"<output[^>]*>([^<]*)</output>", done.stdout)[1], "the slider was read"
    assert re.findall(r'<canvas id="(\w+)"[^>]* width="\d{3,}"', done.stdout) == ["flat", "solid", "time"]


def test_an_unknown_program_has_no_path(tiny_recordings: Recordings, tiny_csv: Path) -> None:
    from inference.pictures import picture_of

    reader = Reader(build(tiny_recordings, [i for i in range(12) if i < 8]))
    data = tiny_recordings
    one = reader.read_one(data, 8)
    with pytest.raises(InputError, match="no tool path to draw"):
        picture_of(one, data, 8, reader.library)
