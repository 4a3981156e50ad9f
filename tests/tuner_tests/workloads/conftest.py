"""A sandbox for scripts, and ways to see what became of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tuner.base.files import read_json
from tuner.base.run_folder import Report, read_metrics
from tuner.definition.metric import Metric
from tuner.workloads.script_trial import Script


class Sandbox:
    """A folder for a script, the results folder of its trials, and what was reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.number = 7
        self.reported: list[tuple[int, dict[str, float]]] = []

    @property
    def output(self) -> str:
        return (self.run_folder / "output.log").read_text(encoding="utf-8")

    def script(self, code: str) -> None:
        (self.folder / "train.py").write_text(textwrap.dedent(code), encoding="utf-8")

    def run(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        report: Report | None = None,
        **options: Any,
    ) -> dict[str, float]:
        defaults: dict[str, Any] = {
            "program": "train.py",
            "command": None,
            "metric": Metric("acc", "maximize"),
        }
        objective = Script(study="study", folder=self.folder, **(defaults | options))
        return objective(config or {}, report or self.report, run_folder=self.run_folder)

    def report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.reported.append((epoch, dict(metrics)))

    @property
    def run_folder(self) -> Path:
        return self.results / "runs" / "study" / str(self.number)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return read_metrics(self.run_folder / "metrics.jsonl")

    def rows_of(self, run: int) -> list[dict[str, Any]]:
        """Of a run that does not count."""
        return read_metrics(self.run_folder / f"metrics-{run}.jsonl")

    @property
    def result(self) -> dict[str, Any]:
        return read_json(self.run_folder / "result.json")

    @property
    def wandb_runs(self) -> list[Path]:
        """The folders of the script's W&B runs that the result names."""
        return [(self.results / "wandb" / "study" / run).resolve() for run in self.result["wandb_runs"]]

    def wandb(self, *options: str, run: Path | None = None) -> str:
        """What the W&B client reads in a run of the script's, its only one by default."""
        if run is None:
            (run,) = (self.results / "wandb" / "study" / "wandb").glob("offline-run-*")
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(run)]
        return subprocess.run(command, cwd=run, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


@pytest.fixture
def is_running() -> Callable[[int], bool]:
    return _is_running


@pytest.fixture
def wait_until() -> Callable[..., bool]:
    return _wait_until


def _is_running(pid: int) -> bool:
    """Whether a process exists and is not just waiting to be collected by its parent."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
