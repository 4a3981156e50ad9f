"""`tuner.ask` and `tuner.tell`: somebody else's loop gets what an agent has."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import tuner
from tuner.base.errors import WorkFailed

ROOT = Path(__file__).resolve().parents[3]
SPACE = {"x": (0.0, 1.0)}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(name: str = "loop", **options: Any) -> tuner.Trial:
    trial = tuner.ask(name, SPACE, **options)
    assert trial is not None
    return trial


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def states(name: str = "loop") -> list[str]:
    return [run.state for run in tuner.results(name)]


def test_a_loop_gets_its_number_of_trials_and_then_none() -> None:
    numbers = []
    while (trial := tuner.ask("loop", SPACE, metric="loss", trials=3)) is not None:
        numbers.append(trial.number)
        trial.report(0, {"loss": trial.config["x"], "extra": 1.0})
        assert tuner.tell(trial, {"loss": trial.config["x"] / 2}) == "complete"
    assert numbers == [0, 1, 2]
    for run in tuner.results("loop"):
        assert run.summary["loss"] == run.config["x"] / 2
        assert run.summary["extra"] == 1.0, "metrics of the last report are kept"
        assert run.history() == [{"epoch": 0, "loss": run.config["x"], "extra": 1.0}]
        assert run.folder is not None
        assert json.loads((run.folder / "trial.json").read_text())["state"] == "complete"


def test_a_study_that_was_begun_is_asked_by_its_name() -> None:
    tuner.tell(asked(goal="maximize", trials=2), 0.5)
    trial = tuner.ask("loop")
    assert trial is not None and trial.number == 1
    trial.tell(0.75)
    assert tuner.ask("loop") is None
    with pytest.raises(tuner.InputError, match="started with other settings"):
        tuner.ask("loop", {"x": (0.0, 1.0)}, goal="minimize")
    with pytest.raises(tuner.InputError, match="no study named 'lop'"):
        tuner.ask("lop")


def test_a_study_file_is_asked_and_the_program_it_names_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "name: sweep\nprogram: absent.py\nmethod: grid\nmetric: {name: loss}\n"
        "parameters: {n: {values: [1, 2]}}\n"
    )
    found = []
    while (trial := tuner.ask("sweep.yaml")) is not None:
        found.append(trial.config["n"])
        tuner.tell(trial, trial.config["n"])
    assert found == [1, 2]


@pytest.mark.usefixtures("agents_in_this_process")
def test_a_trial_of_a_study_of_a_function_can_be_asked_for() -> None:
    tuner.study(lambda config: config["x"], SPACE, trials=1, name="mixed", agents=1, quiet=True)
    trial = tuner.ask("mixed", trials=2)
    assert trial is not None
    trial.tell(-1.0)
    assert tuner.study(lambda config: config["x"], SPACE, name="mixed", quiet=True).best.value == -1.0


def test_a_report_that_prunes_ends_the_trial() -> None:
    options = {"goal": "maximize", "max_epochs": 9}
    pruner = {"type": "median", "startup_trials": 1, "warmup": 1}
    good = asked(pruner=pruner, trials=3, **options)
    for epoch in range(3):
        good.report(epoch, 1.0)
    good.tell(1.0)
    bad = asked(pruner=pruner, trials=3, **options)
    (bad.folder / "notes.txt").write_text("kept")
    with pytest.raises(tuner.Pruned, match=": 0; better half"):
        for epoch in range(3):
            bad.report(epoch, 0.0)
    assert bad.outcome == "pruned"
    assert tuner.tell(bad, state="pruned") == "pruned", "said twice is no mistake"
    assert (bad.folder / "notes.txt").read_text() == "kept"
    assert json.loads((bad.folder / "result.json").read_text())["state"] == "pruned"
    with pytest.raises(tuner.InputError, match="trial 1 has ended already: pruned"):
        bad.report(3, 1.0)


def test_a_failure_is_told_and_three_alike_end_the_study() -> None:
    assert tuner.tell(asked(trials=9), state="failed", error="it blew up") == "failed"
    assert tuner.tell(asked(trials=9), error=ValueError("it blew up")) == "failed"
    assert tuner.tell(asked(trials=9), float("nan")) == "failed"
    assert states() == ["failed"] * 3
    for _ in range(3):
        tuner.tell(asked(trials=9), error="again")
    with pytest.raises(WorkFailed, match="3 trials in a row failed with the same error: again"):
        tuner.ask("loop", SPACE, trials=9)


def test_a_metric_that_is_missing_leaves_the_trial_to_be_told_again() -> None:
    trial = asked(metric="loss")
    with pytest.raises(tuner.InputError, match="metric 'loss' is missing; told: los"):
        tuner.tell(trial, {"los": 1.0})
    with pytest.raises(tuner.InputError, match="expected state complete, pruned or failed, got 'done'"):
        tuner.tell(trial, 1.0, state="done")  # type: ignore[arg-type]
    assert tuner.tell(trial, {"loss": 1.0}) == "complete"
    with pytest.raises(tuner.InputError, match="trial 0 has ended already: complete"):
        tuner.tell(trial, {"loss": 1.0})


def test_a_block_ends_its_trial_however_it_is_left() -> None:
    with asked(trials=9) as trial:
        trial.report(0, 0.5)
    assert trial.outcome == "complete"
    with pytest.raises(ZeroDivisionError), asked(trials=9) as trial:
        _ = 1 / 0
    assert trial.outcome == "failed"
    with asked(trials=9) as trial:
        raise tuner.Pruned("not worth it")
    assert trial.outcome == "pruned"
    with pytest.raises(KeyboardInterrupt), asked(trials=9) as trial:
        raise KeyboardInterrupt
    assert trial.outcome == "returned to the queue"
    assert asked(trials=9).number == trial.number, "it is the next again"


def test_several_trials_can_be_asked_before_the_first_is_told() -> None:
    batch = [trial for _ in range(4) if (trial := tuner.ask("loop", SPACE, trials=3)) is not None]
    assert [trial.number for trial in batch] == [0, 1, 2]
    for trial in batch:
        tuner.tell(trial, trial.config["x"])
    assert tuner.ask("loop", SPACE, trials=3) is None


@pytest.mark.slow
def test_two_processes_share_a_study_exactly() -> None:
    code = """
        import sys, time, tuner
        while (trial := tuner.ask("loop", {"x": (0.0, 1.0)}, trials=12)) is not None:
            time.sleep(0.02)
            tuner.tell(trial, trial.config["x"])
            print(trial.number)
    """
    processes = [start(code) for _ in range(2)]
    told = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(told) == list(range(12))
    assert states() == ["complete"] * 12


def test_the_trial_of_a_killed_process_is_run_again() -> None:
    code = """
        import time, tuner
        trial = tuner.ask("loop", {"x": (0.0, 1.0)}, trials=1)
        print(trial.config["x"], flush=True)
        time.sleep(60)
    """
    process = start(code)
    assert process.stdout is not None
    lost = float(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    trial = asked(trials=1)
    assert (trial.number, trial.config["x"]) == (1, lost)
    trial.tell(1.0)
    assert tuner.ask("loop", SPACE, trials=1) is None


def test_a_process_that_ends_puts_its_trial_back() -> None:
    code = """
        import tuner
        print(tuner.ask("loop", {"x": (0.0, 1.0)}, trials=1).number)
    """
    assert start(code).communicate(timeout=60)[0] == "0\n"
    assert asked(trials=1).number == 0
    assert states() == ["running"]


def test_a_trial_that_was_given_away_ends_at_its_next_report() -> None:
    trial = asked(trials=2)
    running = trial._running.trial
    trial._runner.study.records.queue.give_up(running._trial_id, {"agent_lost": True}, retries=2)
    trial._running.report._written = time.monotonic() - 10  # it is time to write
    with pytest.raises(tuner.Pruned, match="trial 0 was given to another agent: this process sent no sign"):
        trial.report(0, 1.0)
    assert tuner.tell(trial, 1.0) == "given away"
    assert asked(trials=2).config == trial.config
