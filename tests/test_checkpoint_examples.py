"""The examples with checkpoints: a trial that was stopped goes on where it was."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuner.base.run_folder import METRICS, read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unmeasured")]

ROOT = Path(__file__).resolve().parents[1]


def tuner(*arguments: str, results: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tuner", *arguments, "--results", str(results)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


# example, file, packages, what its checkpoint has, its name for epochs, and so many that Ctrl-C comes in time
EXAMPLES = [
    ("pytorch", "sweep.yaml", ["torch"], "state.*", "epochs", 400),
    ("function", "study.yaml", [], "state.*", "epochs", 1000),
    ("lightning", "sweep.yaml", ["lightning"], "last.ckpt", "epochs", 40),
    ("hf_trainer", "sweep.yaml", ["transformers", "accelerate"], "checkpoint-*", "num_train_epochs", 12),
]


@pytest.mark.parametrize(("name", "file", "packages", "kept", "length", "epochs"), EXAMPLES)
def test_a_trial_with_a_checkpoint_goes_on_after_ctrl_c(
    name: str, file: str, packages: list[str], kept: str, length: str, epochs: int, tmp_path: Path
) -> None:
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        pytest.skip(f"needs {' and '.join(missing)}")
    page, study = f"examples/{name}_checkpoint/{file}", f"{name}_checkpoint"
    usual = ("study", page, "--agents", "1", "--trials", "1", "--wandb", "off", "--set", f"{length}={epochs}")
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *usual, "--results", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(f"checkpoints/{study}/*/files/{kept}")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output

    tuner(*usual, results=tmp_path)
    rows = read_metrics(tmp_path / "runs" / study / "0" / METRICS)
    told = [row["epoch"] for row in rows]
    assert told == sorted(set(told))
    assert len(told) >= epochs - 1  # the script may be ended between its checkpoint and its report
    if file == "sweep.yaml":
        assert "goes on " in (tmp_path / "runs" / study / "0" / "output.log").read_text()
    else:
        assert rows[-1]["begin"] > 0
