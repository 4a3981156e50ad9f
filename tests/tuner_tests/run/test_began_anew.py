"""A study whose every trial failed takes any change of its file: there is nothing to compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.__main__ import main

pytestmark = pytest.mark.usefixtures("agents_in_this_process")

TRAIN = """
def train(config):
    return {"score": config["x"]}
"""
STUDY = """
name: small
method: random
run_cap: 3
metric: {name: METRIC, goal: maximize}
parameters: {x: {min: 0.0, max: 1.0}}
tuner: {objective: "noisy.py:train"}
"""


def study(folder: Path, metric: str, *words: str) -> int:
    (folder / "small.yaml").write_text(STUDY.replace("METRIC", metric))
    places = ["--results", str(folder / "results"), "--agents", "1", "--wandb", "off"]
    return main(["study", str(folder / "small.yaml"), *places, *words])


def test_a_study_that_only_failed_begins_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "noisy.py").write_text(TRAIN)
    assert study(tmp_path, "accuracy") == 1
    assert "in a row failed" in " ".join(capsys.readouterr().err.split())

    assert study(tmp_path, "score", "--dry-run") == 0
    assert "begins anew" in " ".join(capsys.readouterr().out.split())
    assert study(tmp_path, "score") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "all trials before the change failed, so the study begins anew; the old study is kept as 'small@"
        in said
    )
    assert "3/3 trials" in said
    kept = [path.name for path in (tmp_path / "results" / "runs").iterdir()]
    assert len(kept) == 2 and any(name.startswith("small@") for name in kept)


def test_a_dry_run_of_a_begun_study_says_so_and_shows_no_first_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy.py").write_text(TRAIN)
    assert study(tmp_path, "score", "--dry-run") == 0
    assert "trial 0: x=" in capsys.readouterr().out
    assert study(tmp_path, "score", "--trials", "2") == 0
    capsys.readouterr()
    assert study(tmp_path, "score", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "begun: it has 2 trials and goes on" in out and "trial 0:" not in out


def test_a_study_with_a_value_is_not_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "noisy.py").write_text(TRAIN)
    assert study(tmp_path, "score") == 0
    capsys.readouterr()
    assert study(tmp_path, "accuracy") == 2
    assert "start over with --fresh" in " ".join(capsys.readouterr().err.split())


def test_failures_that_differ_in_numbers_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy.py").write_text("def train(config):\n    raise ValueError(f'no {config}')\n")
    assert study(tmp_path, "score") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("failed: ValueError: no {'x': ") == 1 and "3 trials in a row failed" in said
