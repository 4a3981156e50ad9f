"""Real agents in real processes: exactly N, resume, kills, stops. Each test starts few processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from tuner.definition.study_file import StudyFile
from tuner.storage.access import open_records

MakeStudy = Callable[..., StudyFile]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tuner(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """`tuner("study", "small.yaml", …)`: the command in a process of its own, W&B off."""

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        extra = ["--wandb", "off"] if arguments[0] == "study" else []
        return subprocess.Popen(
            [sys.executable, "-m", "tuner", *arguments, *extra],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def states(url: str) -> list[str]:
    study = optuna.load_study(study_name="small", storage=open_records(url))
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "results" / "runs" / "small").glob("[0-9]*"))


def test_two_agents_finish_exactly_n_and_a_second_start_adds_none(
    make_study: MakeStudy, tuner: Callable[..., subprocess.Popen[str]], url: str, tmp_path: Path
) -> None:
    make_study()
    for agents in ("2", "1"):
        process = tuner("study", "small.yaml", "--agents", agents)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        assert states(url) == ["COMPLETE"] * 6
    assert [path.name for path in folders(tmp_path)] == list("012345")


@pytest.mark.slow
def test_kill_of_parent_and_agents_loses_nothing(
    make_study: MakeStudy, tuner: Callable[..., subprocess.Popen[str]], url: str, tmp_path: Path
) -> None:
    make_study()
    process = tuner("study", "small.yaml", "--agents", "2", "--set", "pause=0.1")
    wait_for(lambda: len(list((tmp_path / "results" / "runs" / "small").glob("[0-9]*/trial.json"))) >= 1)
    agents = children(process.pid)
    process.kill()
    for pid in agents:
        with_signal(pid, signal.SIGKILL)
    process.wait()
    done = states(url).count("COMPLETE")
    assert 1 <= done < 6

    process = tuner("study", "small.yaml", "--agents", "2", "--set", "pause=0.1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    found = states(url)
    assert found.count("COMPLETE") == 6
    assert set(found) <= {"COMPLETE", "FAIL"}  # no RUNNING, nothing left WAITING


@pytest.mark.parametrize(
    ("pause", "signals"),
    [("0.3", [signal.SIGTERM]), pytest.param("30", [signal.SIGINT] * 2, marks=pytest.mark.slow)],
)
def test_a_stopped_study_puts_its_trial_back(
    make_study: MakeStudy,
    tuner: Callable[..., subprocess.Popen[str]],
    url: str,
    tmp_path: Path,
    pause: str,
    signals: list[int],
) -> None:
    """Once: the epoch is finished first. Twice: at once, however long the epoch (here 30 s) takes."""
    make_study()
    process = tuner("study", "small.yaml", "--agents", "1", "--set", f"pause={pause}")
    runs = tmp_path / "results" / "runs" / "small"
    wait_for(lambda: runs.exists() and any(runs.iterdir()))
    wait_for(lambda: "RUNNING" in states(url))
    for number in signals:
        process.send_signal(number)
        time.sleep(0.5)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130, output
    assert states(url).count("WAITING") == 1
    assert not {"RUNNING", "FAIL"} & set(states(url))


@pytest.mark.slow
def test_a_study_that_only_fails_stops_with_the_reason(
    make_study: MakeStudy, tuner: Callable[..., subprocess.Popen[str]], url: str
) -> None:
    make_study()
    process = tuner("study", "small.yaml", "--agents", "1", "--set", "mode=error")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "3 trials in a row failed with the same error" in output.splitlines()[-1]
    assert "ValueError: no good" in output
    assert states(url) == ["FAIL"] * 3


def children(pid: int) -> list[int]:
    """Process ids of the agents of a supervisor, and of the server that they are forked from."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    direct = [int(child) for child in listed.read_text().split()]
    return [*direct, *(forked for child in direct for forked in children(child))]


def with_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
