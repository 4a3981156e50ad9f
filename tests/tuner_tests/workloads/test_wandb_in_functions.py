"""A function that uses W&B itself: its runs are offline, beside the tuner's and not in their way."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tuner

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("mode", "theirs", "ours"), [("offline", 2, 2), ("off", 0, 0)])
def test_wandb_in_a_function_stays_offline(tmp_path: Path, mode: str, theirs: int, ours: int) -> None:
    (tmp_path / "train.py").write_text(
        textwrap.dedent("""
            import wandb

            def train(config):
                with wandb.init(project="mine", config=config) as run:
                    run.log({"loss": config["x"]})
                return config["x"]
        """)
    )
    (tmp_path / "study.yaml").write_text(
        textwrap.dedent("""
            method: random
            metric: {name: loss}
            parameters: {x: {min: 0.0, max: 1.0}}
            tuner: {objective: "train.py:train"}
        """)
    )
    server = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_RUN_ID": "theirs"}

    subprocess.run(
        [
            *(sys.executable, "-m", "tuner", "study", "study.yaml"),
            *("--trials", "2", "--agents", "1", "--wandb", mode),
        ],
        cwd=tmp_path,
        env={**os.environ, **server},
        capture_output=True,
        timeout=60,
        check=True,
    )

    runs = list(tmp_path.glob("results/wandb/study/wandb/offline-run-*"))
    of_the_tuner = [run for run in runs if run.name.endswith(("-0", "-1"))]
    assert len(of_the_tuner) == ours
    assert len(runs) - len(of_the_tuner) == theirs
    assert not (tmp_path / "wandb").exists()


@pytest.mark.parametrize(
    ("mode", "takes", "x"), [("offline", "", "run.config.x"), ("off", "config", "config['x']")]
)
def test_what_a_function_logs_to_wandb_is_what_it_reports(
    tmp_path: Path, mode: str, takes: str, x: str
) -> None:
    (tmp_path / "train.py").write_text(
        textwrap.dedent(f"""
            import wandb

            def train({takes}):
                run = wandb.init()
                run.define_metric("loss", summary="min")
                for epoch in range(3):
                    wandb.log({{"loss": {x} + abs(epoch - 1), "epoch": epoch}})
                wandb.summary["size"] = 7
                run.finish()
        """)
    )
    (tmp_path / "study.yaml").write_text(
        textwrap.dedent("""
            method: grid
            metric: {name: loss}
            parameters: {x: {values: [1.0, 2.0, 9.0]}}
            tuner: {objective: "train.py:train", pruner: {type: successive_halving}}
        """)
    )
    command = [sys.executable, "-m", "tuner", "study", "study.yaml", "--agents", "1", "--wandb", mode]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True)

    runs = tuner.results("study", results=tmp_path / "results")
    assert [run.state for run in runs] == ["complete", "pruned", "pruned"]
    assert runs[0].summary["loss"] == 1.0 and runs[0].summary["size"] == 7
    assert [(row["epoch"], row["loss"]) for row in runs[0].history()] == [(0, 2.0), (1, 1.0), (2, 2.0)]
    assert [row["loss"] for row in runs[2].history()] == [10.0]
