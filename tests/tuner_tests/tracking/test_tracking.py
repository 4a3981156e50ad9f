"""Trackers: one contract for all, and no way for W&B to hold up or fail a trial."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner.base.wandb_files import identity, wandb_folder
from tuner.definition.study_file import StudyFile
from tuner.storage import study_store
from tuner.storage.records import Records
from tuner.tracking import wandb_file
from tuner.tracking.mode import resolve
from tuner.tracking.tracker import Tracker, WandbTracker, open_tracker

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_wandb_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[WandbTracker]:
    opened = open_tracker("offline", study_name="study", results=tmp_path)
    assert isinstance(opened, WandbTracker)
    yield opened
    opened.close(timeout=60)


def worker_pid(tracker: WandbTracker) -> int:
    assert tracker._worker is not None and tracker._worker._process is not None
    return tracker._worker._process.pid


def inspect(results: Path, number: int) -> dict[str, Any]:
    """The run of a trial as the W&B client reads it."""
    (run,) = wandb_folder(results, "study").glob(f"wandb/offline-run-*-{number}")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(run)]
    found = subprocess.run(command, cwd=run, capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


@pytest.mark.parametrize("mode", ["off", "offline", "auto"])
def test_every_tracker_takes_the_same_calls(mode: Any, tmp_path: Path) -> None:
    tracker: Tracker = open_tracker(mode, study_name="study", results=tmp_path)
    run = tracker.start(0, {"lr": 0.1, "path": Path("x")}, "study-0", tags=("a",))
    run.log(0, {"val/loss": float("nan")})
    run.finish("complete", {"val/loss": float("inf")})
    tracker.close(timeout=60)

    assert tracker.mode in ("off", "offline")
    assert tracker.reason.startswith("W&B") and "\n" not in tracker.reason


def test_a_trial_is_a_run_with_config_metrics_state_and_number(tracker: WandbTracker, tmp_path: Path) -> None:
    run = tracker.start(4, {"lr": 0.1, "net": {"width": 3}}, "study-4", tags=("mill",))
    for epoch in range(3):
        run.log(epoch, {"val/loss": 1 / (epoch + 1)})
    run.finish("failed", {"val/loss": 0.5})
    tracker.close(timeout=60)

    found = inspect(tmp_path, 4)
    assert found["config"] == {"lr": 0.1, "net": {"width": 3}}
    assert found["name"] == "study-4"
    assert set(found["tags"]) == {"mill", "failed"}
    assert found["exit_code"] == 1
    assert found["step"] == 2
    summary = found["summary"]
    assert (summary["val/loss"], summary["state"], summary["number"]) == (0.5, "failed", 4)


def test_a_trial_does_not_wait_for_a_client_that_hangs(tracker: WandbTracker) -> None:
    tracker.start(0, {}, "study-0").finish("complete", {})
    client = tracker._worker._process  # type: ignore[union-attr]
    assert client is not None
    client.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, client.pid, os.WSTOPPED | os.WNOWAIT)

    run = tracker.start(1, {}, "study-1")
    for epoch in range(3000):
        run.log(epoch, {"val/loss": 1.0, "text": "x" * 100})
    run.finish("complete", {})

    assert os.waitid(os.P_PID, client.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is not None  # still
    tracker.close(timeout=0.2)
    assert client.returncode == -signal.SIGKILL


def test_a_killed_client_is_replaced_at_the_next_trial(tracker: WandbTracker, tmp_path: Path) -> None:
    first = tracker.start(0, {}, "study-0")
    os.kill(worker_pid(tracker), signal.SIGKILL)
    while not tracker._worker.broken:  # type: ignore[union-attr]
        first.log(0, {"val/loss": 1.0})
    first.finish("complete", {})

    second = tracker.start(1, {}, "study-1")
    second.log(0, {"val/loss": 0.5})
    second.finish("complete", {"val/loss": 0.5})
    tracker.close(timeout=60)

    assert inspect(tmp_path, 1)["summary"]["val/loss"] == 0.5


def test_a_client_that_cannot_start_is_given_up(tmp_path: Path) -> None:
    tracker = open_tracker("offline", study_name="study", results=tmp_path)
    assert isinstance(tracker, WandbTracker)
    folder = wandb_folder(tmp_path, "study")
    (folder / "identity.json").unlink()
    folder.rmdir()
    folder.touch()  # a file where the folder should be: nothing can be written

    for number in range(9):
        run = tracker.start(number, {}, f"study-{number}")
        run.log(0, {"val/loss": 1.0})
        run.finish("complete", {})
    tracker.close()


def test_a_folder_that_cannot_be_made_turns_tracking_off(tmp_path: Path) -> None:
    (tmp_path / "wandb").touch()

    tracker = open_tracker("offline", study_name="study", results=tmp_path)

    assert tracker.mode == "off"
    assert "cannot be written" in tracker.reason


def test_a_killed_agent_leaves_a_whole_run(tmp_path: Path) -> None:
    agent = f"""
import sys, time
from pathlib import Path
from tuner.tracking.tracker import open_tracker
run = open_tracker("offline", study_name="study", results=Path({str(tmp_path)!r})).start(0, {{}}, "study-0")
for epoch in range(5):
    run.log(epoch, {{"val/loss": epoch}})
sys.stdout.write("logged")
sys.stdout.flush()
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", agent], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.read(6) == b"logged"
    process.kill()
    process.wait()
    process.stdout.close()

    end = time.monotonic() + 60
    while time.monotonic() < end and not any(
        wandb_file.run_of(file).ended for file in tmp_path.glob("wandb/study/wandb/offline-run-*/*.wandb")
    ):
        time.sleep(0.05)
    found = inspect(tmp_path, 0)
    assert found["summary"]["val/loss"] == 4
    assert found["summary"]["state"] == "failed"
    assert found["exit_code"] == 1


def test_a_tracker_sent_to_another_process_starts_a_client_of_its_own(tracker: WandbTracker) -> None:
    tracker.start(0, {}, "study-0").finish("complete", {})

    copy = pickle.loads(pickle.dumps(tracker))

    assert copy._worker is None
    assert (copy.mode, copy.reason, copy.identity) == (tracker.mode, tracker.reason, tracker.identity)


def test_a_study_keeps_its_ids_and_the_project_last_given(tmp_path: Path) -> None:
    first = open_tracker("offline", study_name="study", results=tmp_path, project="mill")
    again = open_tracker("offline", study_name="study", results=tmp_path)
    elsewhere = open_tracker("offline", study_name="study", results=tmp_path / "other")

    assert isinstance(first, WandbTracker) and isinstance(again, WandbTracker)
    assert isinstance(elsewhere, WandbTracker)
    assert again.identity == first.identity and again.identity.project == "mill"
    assert elsewhere.identity.run_id(1) != first.identity.run_id(1)


def test_a_study_begun_afresh_has_ids_of_its_own_and_the_old_runs_are_kept(
    make_study: Callable[..., StudyFile], records: Records, origin: study_store.Origin, tmp_path: Path
) -> None:
    study_store.open_study(records, make_study(), origin, trials=1, default=None)
    before = open_tracker("offline", study_name="small", results=tmp_path)

    kept = study_store.set_aside(records, "small", tmp_path)
    after = open_tracker("offline", study_name="small", results=tmp_path)

    assert isinstance(before, WandbTracker) and isinstance(after, WandbTracker) and kept
    assert after.identity.salt != before.identity.salt
    assert identity(wandb_folder(tmp_path, kept)) == before.identity


@pytest.mark.parametrize(("mode", "inner"), [("auto", "offline"), ("online", "offline"), ("off", "off")])
def test_a_study_of_a_script_leaves_tracking_to_the_script(tmp_path: Path, mode: Any, inner: str) -> None:
    tracker = open_tracker(mode, study_name="study", results=tmp_path, external=True)

    assert tracker.mode == "off"
    assert tracker.inner == inner, "of the script's own runs"
    assert ("script" in tracker.reason) == (inner != "off")


@pytest.mark.parametrize(
    ("mode", "variable", "expected", "why"),
    [
        ("off", "", "off", "as requested"),
        ("offline", "", "offline", "as requested"),
        ("auto", "", "offline", "no key"),
        ("online", "", "offline", "no key"),
        ("auto", "offline", "offline", "WANDB_MODE=offline"),
        ("auto", "disabled", "off", "WANDB_MODE=disabled"),
    ],
)
def test_the_mode_says_why(
    monkeypatch: pytest.MonkeyPatch, mode: Any, variable: str, expected: str, why: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)

    found, reason = resolve(mode)

    assert found == expected
    assert why in reason
