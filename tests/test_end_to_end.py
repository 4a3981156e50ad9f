"""The whole line as a user goes it, command by command, on a small simulated data set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model.recordings import Recordings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unmeasured")]

SMALL = ("d_model=16", "heads=2", "window=16", "stride=8", "epochs=2", "batch_size=32")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_recordings: Recordings, tiny_csv: Path) -> Path:
    """A working folder with the data set `data/tiny` and the recordings it was made of in `csv`."""
    folder = tmp_path_factory.mktemp("user")
    assert tiny_recordings.folder is not None
    shutil.copytree(tiny_recordings.folder, folder / "data" / "tiny")
    shutil.copytree(tiny_csv, folder / "csv")
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    def run(*arguments: str, status: int = 0, errors: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stderr if errors or status else done.stdout

    return run


@pytest.fixture(scope="module")
def bundle(run: Run, place: Path) -> Path:
    """A study of three trials, and the bundle of its runs."""
    settings = [part for key in SMALL for part in ("--set", key)]
    run(
        "tuner", "study", "loss_weighting", "--data", "data/tiny", "--trials", "3", "--agents", "1",
        "--wandb", "off", *settings,
    )  # fmt: skip
    run("ensemble", "build", "--k", "3", "--name", "tiny")
    return place / "results" / "ensembles" / "tiny"


def test_a_study_becomes_a_bundle_that_decodes(bundle: Path, run: Run, place: Path) -> None:
    recording = next((place / "csv").glob("face_*"))
    lines = run("inference", "decode", str(recording), "--bundle", "tiny", "--format", "jsonl").splitlines()
    windows = [json.loads(line) for line in lines]
    assert windows and all(0 <= window["probability"] <= 1 for window in windows)


def test_evaluate_gives_one_object_with_every_metric(bundle: Path, run: Run) -> None:
    metrics = json.loads(run("inference", "evaluate", "csv", "--bundle", "tiny", "--json"))
    for name in ("exact_acc", "overall_acc", "command_acc", "param_value_acc", "operation_acc", "value_mae"):
        assert isinstance(metrics[name], float), name


def test_a_bundle_works_where_there_is_nothing_else(bundle: Path, run: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(bundle, elsewhere)
    recording = next((bundle.parents[2] / "csv").glob("face_*"))
    here = run("inference", "decode", str(recording), "--bundle", "tiny", "--format", "gcode")
    there = run("inference", "decode", str(recording), "--bundle", str(elsewhere), "--format", "gcode")
    assert there == here


def test_the_same_study_again_has_nothing_left_to_do(bundle: Path, run: Run, place: Path) -> None:
    before = sorted(p.name for p in (place / "results/runs/loss_weighting").iterdir())
    settings = [part for key in SMALL for part in ("--set", key)]
    run(
        "tuner", "study", "loss_weighting", "--data", "data/tiny", "--trials", "3", "--agents", "1",
        "--wandb", "off", *settings,
    )  # fmt: skip
    assert sorted(p.name for p in (place / "results/runs/loss_weighting").iterdir()) == before


def test_a_refitted_bundle_says_when_it_is_asked_what_it_was_fitted_on(bundle: Path, run: Run) -> None:
    run("ensemble", "refit", "tiny", "--set", "epochs=1", "--agents", "1")
    warning = "trained on such recordings"
    ask = ("inference", "evaluate", "data/tiny", "--part", "test", "--json", "--bundle")
    assert warning in run(*ask, "tiny-refit", errors=True)
    assert warning not in run(*ask, "tiny", errors=True)


def test_the_best_trial_is_said_as_json(bundle: Path, run: Run) -> None:
    best = json.loads(run("tuner", "best", "loss_weighting", "--top", "1", "--format", "json"))
    assert "loss_type" in json.dumps(best)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("model", "import", "nowhere"), "nowhere"),
        (("tuner", "study", "loss_wieghting"), "loss_weighting"),
        (("ensemble", "build", "--study", "nothing"), "nothing"),
        (("inference", "decode", "data/tiny/manifest.json", "--bundle", "tiny"), "manifest.json"),
        (("model", "train", "--set", "d_modle=3", "--data", "data/tiny"), "d_model"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    bundle: Path, run: Run, arguments: tuple[str, ...], said: str
) -> None:
    message = run(*arguments, status=2)
    assert said in message
    assert "Traceback" not in message
    assert len([line for line in message.splitlines() if line.startswith("error")]) == 1
