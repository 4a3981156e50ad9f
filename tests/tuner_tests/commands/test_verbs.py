"""W&B's verbs: make a study, join it with an agent, stop and pause it from another terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tuner.__main__ import main
from tuner.definition.study_file import StudyFile
from tuner.storage.access import default_url, open_records

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
MakeStudy = Callable[..., StudyFile]
SLOW = {"x: {min: 0.0, max: 1.0}": "x: {min: 0.0, max: 1.0}\n  epochs: {value: 100}\n  pause: {value: 0.1}",
        "max_epochs: 4": "max_epochs: 100"}  # fmt: skip


class Terminal:
    """Commands in other terminals, with the results folder of the test."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self._open: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self._open.append(
            subprocess.Popen(
                [sys.executable, "-m", "tuner", *arguments, "--results", str(self.results), "--wandb", "off"],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return self._open[-1]

    def counts(self) -> dict[TrialState, int]:
        records = open_records(default_url(self.results))
        return records.queue.counts(records.get_study_id_from_name("small"))

    def wait_for_a_trial(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if (self.results / "runs" / "small").is_dir() and self.counts()[TrialState.RUNNING]:
                return
            time.sleep(0.2)
        raise AssertionError("no trial started")

    def close(self) -> None:
        for process in self._open:
            if process.poll() is None:
                process.terminate()
                process.communicate()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path / "results")
    yield opened
    opened.close()


@pytest.mark.slow
def test_a_sweep_is_made_and_agents_run_it(
    make_study: MakeStudy, terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--results", str(terminal.results)]
    assert main(["sweep", str(make_study().path), *place]) == 0
    command = capsys.readouterr().out.split()
    assert command == ["tuner", "agent", "small", *place]
    assert terminal.counts()[TrialState.COMPLETE] == 0

    done = terminal.start("agent", "me/project/small", "--count", "2", "--json")
    out, err = done.communicate(timeout=120)
    end = json.loads(out)
    assert done.returncode == 0, err
    assert (end["complete"], end["wanted"], end["reason"]) == (2, 6, "2 trials run, as asked")
    assert terminal.counts()[TrialState.COMPLETE] == 2

    done = terminal.start("agent", "small")
    assert "small: 6 trials finished" in done.communicate(timeout=120)[0]


@pytest.mark.parametrize(("verb", "now"), [("pause", []), ("stop", ["--now"])])
def test_a_study_is_stopped_from_another_terminal_and_goes_on(
    verb: str,
    now: list[str],
    make_study: MakeStudy,
    terminal: Terminal,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make_study(**SLOW).path
    running = terminal.start("study", str(path), "--agents", "1")
    terminal.wait_for_a_trial()
    assert main([verb, "small", "--results", str(terminal.results), *now]) == 0
    said = capsys.readouterr().out
    assert "small: 1 trial runs: it ends" in said
    assert ("to continue: tuner agent small" in said) == (verb == "pause")

    err = running.communicate(timeout=60)[1]
    word = "paused" if verb == "pause" else "stopped"
    assert f"{word} by tuner {verb}" in err
    assert running.returncode == 0, err
    counts = terminal.counts()
    assert (counts[TrialState.WAITING], counts[TrialState.RUNNING], counts[TrialState.FAIL]) == (1, 0, 0)

    again = terminal.start("study", str(path), "--agents", "1")
    terminal.wait_for_a_trial()
    assert again.poll() is None


def test_stop_of_a_study_that_nobody_runs_or_that_is_not_there(
    make_study: MakeStudy, terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--results", str(terminal.results)]
    assert main(["sweep", str(make_study().path), *place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "small"
    assert main(["stop", "small", *place]) == 0
    assert "none of its trials runs" in capsys.readouterr().out
    assert main(["stop", "smal", *place]) == 2
    assert "did you mean 'small'" in capsys.readouterr().err
