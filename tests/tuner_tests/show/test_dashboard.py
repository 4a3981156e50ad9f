"""The dashboard as a browser asks for it: notes, constraints, and the files of each trial."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import optuna
import pytest
from synthetic_runs import Size, make_run

from model.workload.samples import sample_lines
from tuner.definition.loading import load_study_file
from tuner.show.dashboard.server import local_only
from tuner.show.dashboard.storage import DashboardStorage, artifact_id, parse_artifact_id
from tuner.show.dashboard.trial_files import CURVE, FILES, curve_svg
from tuner.storage import study_store
from tuner.storage.access import default_url, open_records

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = "sample_lines.csv"
STUDY = """
name: shown
method: random
run_cap: 3
metric: {name: val/exact_acc, goal: maximize}
parameters:
  learning_rate: {min: 0.0001, max: 0.01}
tuner:
  purpose: Does the dashboard show what there is?
  max_epochs: 3
  constraints: ["command_acc >= 0.9"]
  hypotheses: [{claim: "a *high* rate is better", where: "learning_rate > 0.001"}]
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three trials: one that misses its constraint and is best, one that meets it, one pruned."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "shown.yaml").write_text(STUDY)
    file, results = load_study_file(folder / "shown.yaml"), folder / "results"
    records = open_records(default_url(results), create=True)
    study, _ = study_store.open_study(records, file, study_store.Origin(base={}))
    for number, (value, miss, state) in enumerate(
        ((0.9, 0.2, "COMPLETE"), (0.5, -0.1, "COMPLETE"), (0.3, -0.1, "PRUNED"))
    ):
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                value=value if state == "COMPLETE" else None,
                params={"learning_rate": 0.001},
                distributions=file.space.distributions(),
                intermediate_values={1: 0.1, 2: value},
                constraints={"command_acc >= 0.9": miss},
                user_attrs={"run_folder": f"runs/shown/{number}", "pruned_because": "<b>slow</b>"},
            )
        )  # fmt: skip
        _write_run(results / "runs" / "shown" / str(number))
    return results


def _write_run(folder: Path) -> None:
    make_run(folder, size=Size(windows=12, recordings=3, values=6))


@pytest.fixture(scope="module")
def address(results: Path) -> Iterator[str]:
    """`tuner dashboard` on a free port, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tuner", "dashboard", "--results", str(results), "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            assert f"http://127.0.0.1:{port}/dashboard/" in line, line
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def ask(address: str) -> dict:
    for _ in range(100):
        try:
            with urlopen(address, timeout=60) as answer:
                return json.loads(answer.read())
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


def test_a_study_and_its_trials_are_explained(address: str) -> None:
    study = ask(f"{address}/api/studies/1")
    assert "Does the dashboard show" in study["note"]["body"] and "\\*high\\*" in study["note"]["body"]
    assert study["objective_names"] == ["val/exact_acc"]
    assert [trial["constraints"] for trial in study["trials"]] == [[0.2], [-0.1], [-0.1]]
    assert [trial["number"] for trial in study["best_trials"]] == [1], "0 is better but misses its constraint"
    missed, met, pruned = (trial["note"]["body"] for trial in study["trials"])
    assert "missed by 0.2" in missed and "holds" in met
    assert "slow" in pruned and "<b>" not in pruned


def test_every_trial_has_its_files_and_they_open(address: str) -> None:
    trial = ask(f"{address}/api/studies/1")["trials"][1]
    files = {meta["filename"]: meta["artifact_id"] for meta in trial["artifacts"]}
    assert set(files) == {CURVE, SAMPLES, "config.json", "metrics.jsonl", "result.json", "trial.json"}
    content = {}
    for name, key in files.items():
        assert f"/artifacts/1/{trial['trial_id']}/{key}" in trial["note"]["body"]
        with urlopen(f"{address}/artifacts/1/{trial['trial_id']}/{key}", timeout=60) as answer:
            content[name] = answer.read().decode()
    assert content[CURVE].startswith("<svg") and "polyline" in content[CURVE]
    assert content[SAMPLES].startswith("recording,row,true line,read line,differs")
    assert json.loads(content["config.json"])["d_model"] == 128


def test_a_page_elsewhere_that_calls_itself_this_machine_is_refused(address: str) -> None:
    with pytest.raises(HTTPError, match="403"):
        urlopen(Request(f"{address}/api/studies", headers={"Host": "evil.example:80"}), timeout=60)


def test_a_person_sees_the_trial(address: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    from PIL import Image

    picture = tmp_path / "trial.png"
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--window-size=1200,1600",
        "--virtual-time-budget=15000", f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}",
    ]  # fmt: skip
    page = f"{address}/dashboard/studies/1/trials?numbers=1"
    done = subprocess.run([browser, *flags, page], capture_output=True, timeout=240, check=False)
    assert picture.exists(), done.stderr.decode()[-2000:]
    grey = np.asarray(Image.open(picture).convert("L"), dtype=float)
    assert np.unique(grey).size > 20 and grey.std() > 5, "not blank"


def test_what_a_person_writes_on_a_trial_stays(results: Path) -> None:
    from optuna_dashboard._note import get_note_from_system_attrs, save_note_with_version

    records = open_records(default_url(results))
    shown = DashboardStorage(records, results)
    (trial, *_) = shown.get_all_trials(1)
    save_note_with_version(shown, 1, trial._trial_id, 2, "mine")
    note = get_note_from_system_attrs(shown.get_study_system_attrs(1), trial._trial_id)
    assert note == {"version": 2, "body": "mine"}
    assert not [
        key for key in records.get_trial(trial._trial_id).system_attrs if key.startswith("artifacts:")
    ]


def test_a_folder_outside_of_the_results_is_never_shown(results: Path) -> None:
    shown = DashboardStorage(open_records(default_url(results)), results)
    trial = optuna.trial.create_trial(value=1.0, user_attrs={"run_folder": "runs/../../../../etc"})
    assert shown.run_folder(trial) is None


def test_names_of_files_and_uploads_are_told_apart() -> None:
    for name in FILES:
        assert parse_artifact_id(artifact_id(77, name)) == (77, name)
    assert parse_artifact_id("0b6b49ea-33b9-4f26-92f6-5e5e1f1f0a55") is None
    assert parse_artifact_id("12-ff") is None


def test_samples_say_where_lines_differ(results: Path) -> None:
    samples = sample_lines(results / "runs" / "shown" / "1")
    assert len(samples) == 12 and any(s.true == s.read for s in samples)
    assert all(bool(s.differs) == (s.true != s.read) for s in samples)
    assert all("X" in s.true and "Y" in s.true for s in samples)


def test_a_flat_curve_can_be_drawn() -> None:
    svg = curve_svg({1: 0.0, 2: 0.0}, title="<trial>")
    assert "&lt;trial&gt;" in svg and "nan" not in svg


@pytest.mark.parametrize(
    ("host", "known"), [("localhost:1", True), ("127.0.0.1", True), ("", False), ("a.b:1", False)]
)
def test_only_this_machines_names_are_answered(host: str, known: bool) -> None:
    app = local_only(lambda environ, start: [b"yes"])
    answer = app({"HTTP_HOST": host}, lambda *arguments: None)
    assert (list(answer) == [b"yes"]) is known


@pytest.mark.parametrize(
    ("method", "headers", "done"),
    [
        ("POST", {"HTTP_ORIGIN": "http://localhost:8080"}, True),
        ("POST", {}, True),  # no browser: curl
        ("POST", {"HTTP_ORIGIN": "http://evil.example"}, False),
        ("POST", {"HTTP_ORIGIN": "http://localhost:9999"}, False),  # another program of this machine
        ("POST", {"HTTP_ORIGIN": "null"}, False),
        ("DELETE", {"HTTP_SEC_FETCH_SITE": "cross-site"}, False),
        ("PUT", {"HTTP_SEC_FETCH_SITE": "same-site"}, False),
        ("POST", {"HTTP_SEC_FETCH_SITE": "same-origin"}, True),
        ("GET", {"HTTP_ORIGIN": "http://evil.example"}, True),  # it cannot read the answer
    ],
)
def test_another_web_page_changes_nothing(method: str, headers: dict[str, str], done: bool) -> None:
    app = local_only(lambda environ, start: [b"yes"])
    answer = app(
        {"HTTP_HOST": "localhost:8080", "REQUEST_METHOD": method, **headers}, lambda *arguments: None
    )
    assert (list(answer) == [b"yes"]) is done


def test_a_post_from_elsewhere_makes_no_study(address: str) -> None:
    body = json.dumps({"study_name": "theirs", "directions": ["minimize"]}).encode()
    headers = {"Content-Type": "application/json", "Origin": "http://evil.example"}
    before = len(ask(f"{address}/api/studies")["study_summaries"])
    with pytest.raises(HTTPError, match="403"):
        urlopen(Request(f"{address}/api/studies", data=body, headers=headers), timeout=60)
    assert len(ask(f"{address}/api/studies")["study_summaries"]) == before
