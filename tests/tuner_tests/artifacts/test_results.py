"""The shipped W&B example as a user runs it, and its runs read back from Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tuner
from tuner.artifacts.run_results import Results
from tuner.base.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unmeasured")]

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "wandb_sklearn"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of two trials of the example, run from another folder than the file's."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "example")
    command = [sys.executable, "-m", "tuner", "study", "example/sweep.yaml", "--agents", "2", "--trials", "2"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=300)
    return folder / "results"


def test_the_wandb_example_is_tuned_without_a_server_and_no_metric_is_lost(example: Path) -> None:
    runs = tuner.results("digits-sgd", results=example)

    assert len(runs) == 2
    assert {run.state for run in runs} <= {"complete", "pruned"}
    for run in runs:
        history = run.history()
        assert [row["_step"] for row in history] == list(range(len(history)))
        assert len(history) == 9 or run.state == "pruned"
        assert all({"train/loss", "val/accuracy"} <= set(row) for row in history)
        assert run.summary["val/accuracy"] == history[-1]["val/accuracy"]
    files = list(example.glob("wandb/digits-sgd/wandb/offline-run-*/*.wandb"))
    assert len(files) == 2, "each script wrote its own W&B run"


@pytest.mark.slow
def test_the_guides_snippet_works_on_a_study(example: Path) -> None:
    sweep = tuner.results("digits-sgd", results=example)

    best_runs = sorted(sweep.runs, key=lambda r: r.summary.get("val/accuracy", 0), reverse=True)[:10]

    assert best_runs[0].name.startswith("digits-sgd-")
    assert set(best_runs[0].config) == {"learning_rate", "alpha", "penalty", "batch_size", "seed"}
    assert sweep[0].number == 0 and len(sweep[:1]) == 1


def test_pandas_is_asked_for_only_where_it_is_used(example: Path) -> None:
    runs = tuner.results("digits-sgd", results=example)
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="needs pandas: pip install"):
            runs.to_pandas()
        return
    table = runs.to_pandas()
    assert list(table["number"]) == [0, 1]
    assert {"state", "config.alpha", "val/accuracy"} <= set(table.columns)


def test_a_study_that_is_not_there_is_named(example: Path) -> None:
    with pytest.raises(InputError, match="digits-sgd"):
        tuner.results("digit-sgd", results=example)


def test_an_empty_study_is_an_empty_sequence() -> None:
    assert list(Results("empty", ())) == []
