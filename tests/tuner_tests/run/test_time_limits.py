"""Trials that take too long, and trials that never report when the study is to stop."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from tuner.base.errors import InputError
from tuner.definition.study_file import StudyFile
from tuner.run.agent.order import Order, Work
from tuner.run.supervisor import Supervisor
from tuner.storage.access import open_records
from tuner.tracking.tracker import Tracker

pytestmark = pytest.mark.slow

MakeStudy = Callable[..., StudyFile]
ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
name: small
method: random
run_cap: {trials}
program: train.py
metric: {{name: score, goal: maximize}}
parameters:
  x: {{min: 0.0, max: 1.0}}
tuner:
  grace: {grace}
  {more}
"""
SILENT = "import time\nprint('begun', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def tuner(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tuner",
                "study",
                "small.yaml",
                "--wandb",
                "off",
                "--agents",
                "1",
                *arguments,
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def script(folder: Path, *, grace: str, trials: int = 1, more: str = "") -> None:
    (folder / "small.yaml").write_text(SCRIPT.format(grace=grace, trials=trials, more=more))
    (folder / "train.py").write_text(SILENT)


def trials(url: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name="small", storage=open_records(url)).get_trials(deepcopy=False)


def begun(tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    while not any(log.stat().st_size for log in tmp_path.glob("results/runs/small/*/output.log")):
        assert time.monotonic() < deadline, "no script has begun"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_script_that_never_reports_is_ended_after_the_grace_time_and_put_back(
    tuner: Callable[..., subprocess.Popen[str]], url: str, tmp_path: Path, how: int
) -> None:
    script(tmp_path, grace="0.5s")
    process = tuner()
    begun(tmp_path)
    process.send_signal(how)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "for at most 0.5 s" in output
    assert [trial.state.name for trial in trials(url)] == ["WAITING"]


def test_a_time_limit_of_the_study_ends_such_a_script_too(
    tuner: Callable[..., subprocess.Popen[str]], url: str, tmp_path: Path
) -> None:
    script(tmp_path, grace="0s")
    process = tuner("--timeout", "5s")
    output, _ = process.communicate(timeout=40)
    assert "time is up" in output
    assert {trial.state.name for trial in trials(url)} <= {"WAITING"}


def test_a_script_that_takes_too_long_fails_with_the_reason_and_is_not_retried(
    tuner: Callable[..., subprocess.Popen[str]], url: str, tmp_path: Path
) -> None:
    script(tmp_path, grace="30s", trials=1, more="trial_timeout: 1s")
    process = tuner("--timeout", "8s")
    output, _ = process.communicate(timeout=60)
    failed = [trial for trial in trials(url) if trial.state.name == "FAIL"]
    assert failed, output
    assert failed[0].user_attrs["error"] == "longer than 1 s, the study's trial_timeout"
    assert not [trial for trial in trials(url) if "retry_of" in trial.user_attrs]
    folder = tmp_path / "results" / "runs" / "small" / "0"
    assert (folder / "output.log").read_text().startswith("begun\n")
    assert '"failed"' in (folder / "result.json").read_text()


def test_durations_are_checked(make_study: MakeStudy) -> None:
    def limits(text: str) -> StudyFile:
        return make_study(**{"max_epochs: 4": f"max_epochs: 4\n  {text}"})

    assert (limits("trial_timeout: 1h30m").trial_timeout, limits("grace: 5").grace) == (5400, 5)
    assert (limits("seeds: [1]").trial_timeout, limits("seeds: [1]").grace) == (None, 30)
    with pytest.raises(InputError, match=r"small.yaml:\d+.*trial_timeout.*duration such as 90s"):
        limits("trial_timeout: soon")
    with pytest.raises(InputError, match="above 0"):
        limits("trial_timeout: 0")


class Stuck:
    """An agent in the midst of a trial, which hears nothing."""

    def __init__(self) -> None:
        self._said: list[dict[str, Any]] = [
            {"event": "ready", "owner": {"pid": 1}},
            {"event": "start", "number": 4},
        ]
        self.killed = False

    def messages(self) -> list[dict[str, Any]]:
        said, self._said = self._said, []
        return said

    def ended(self) -> str | None:
        return "killed by SIGKILL" if self.killed else None

    def stop(self) -> None: ...

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None: ...


class Leaves(Stuck):
    """An agent that finds nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self._said = [{"event": "leave", "reason": "1 trials finished", "fine": True}]
        self.killed = True


class Places:
    def __init__(self, *agents: Stuck) -> None:
        self.agents_left = list(agents)

    def agents(self, total: int | None) -> int:
        return 1

    def full(self, running: int) -> str | None:
        return None

    def start(self, order: Order, index: int) -> Stuck:
        return self.agents_left.pop(0)

    def wait(self, seconds: float) -> None: ...

    def close(self) -> None: ...


def supervise(file: StudyFile, tmp_path: Path, *agents: Stuck, timeout: float | None) -> Any:
    """Runs the loop with a clock of ten seconds a look; returns it, and what was given up."""
    order = Order(
        Work(file, "", tmp_path),
        total=1,
        tracker=Tracker("W&B off"),
        pruner=file.pruner,
        base={},
        overrides={},
    )
    ticks = itertools.count(step=10)
    given_up: list[tuple[int, str]] = []
    supervisor = Supervisor(
        order,
        Places(*agents),
        agents=1,
        timeout=timeout,
        give_up=lambda number, reason: given_up.append((number, reason)),
        clock=lambda: float(next(ticks)),
    )
    supervisor.run()
    return supervisor, given_up


def test_an_agent_that_cannot_end_its_trial_is_ended_and_another_takes_its_place(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    stuck = Stuck()
    file = replace(make_study(), trial_timeout=7200.0)
    supervisor, given_up = supervise(file, tmp_path, stuck, Leaves(), timeout=None)
    assert stuck.killed
    assert given_up == [(4, "longer than 2 h, the study's trial_timeout")]
    assert supervisor.fine
    assert supervisor.killed == []  # its trial does not return to the queue


def test_an_agent_that_does_not_stop_in_time_is_ended_and_its_trial_put_back(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    stuck = Stuck()
    supervisor, given_up = supervise(make_study(), tmp_path, stuck, timeout=100.0)
    assert stuck.killed
    assert given_up == []
    assert supervisor.killed == [{"pid": 1}]
    assert (supervisor.reason, supervisor.timed_out) == ("time is up", True)
