"""The example of one's own function runs as its page says."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def tuner(*arguments: str, results: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tuner", *arguments, "--results", str(results)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_ones_own_function_is_tuned(tmp_path: Path) -> None:
    page = "examples/own_function/study.yaml"
    output = tuner("study", page, "--agents", "1", "--wandb", "off", results=tmp_path)
    assert "own_function: 12 trials finished" in output
    best = json.loads(tuner("best", "own_function", "--top", "1", "--format", "json", results=tmp_path))
    assert best[0]["loss"] < 1
    assert set(best[0]["params"]) == {"learning_rate", "decay"}
    assert best[0]["config"]["epochs"] == 9
