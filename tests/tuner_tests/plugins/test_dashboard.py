"""The dashboard as a browser asks for it: notes, constraints, and the files of each trial."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import signal
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
from optuna.artifacts.exceptions import ArtifactNotFound
from rich.console import Console
from synthetic_runs import Size, make_run

from model.workload.samples import sample_lines
from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.plugins.dashboard import trial_files
from tuner.plugins.dashboard.server import serve
from tuner.plugins.dashboard.storage import DashboardStorage, TrialFiles, artifact_id, parse_artifact_id
from tuner.plugins.dashboard.trial_files import CURVE, FILES, curve_svg
from tuner.show.local_server import Quiet, Server, local_only
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
    study = study_store.open_study(records, file, study_store.Origin(base={}))
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
            server.send_signal(signal.SIGINT)
            server.stderr.close()
            assert server.wait(60) in (0, 130), "Ctrl-C ends it in order"
        finally:
            server.kill()


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
    assert "missed by 0.2" in missed and "command\\_acc &gt;= 0.9: met" in met
    assert "slow" in pruned and "<b>" not in pruned


def test_the_first_page_has_no_settings_of_the_tuner(address: str) -> None:
    study = ask(f"{address}/api/studies/1")
    assert {attr["key"]: attr["value"] for attr in study["user_attrs"]} == {
        "state": "3 trials, done",
        "result": "trial 1: val/exact_acc 0.5000",
        "feasibility": "1 of 2 complete trials meet command_acc >= 0.9",
    }
    assert {attr["key"] for attr in study["union_user_attrs"]} == {"run_folder", "pruned_because", "feasible"}
    feasible = [
        attr["value"] for t in study["trials"] for attr in t["user_attrs"] if attr["key"] == "feasible"
    ]
    assert feasible == ["no: command_acc >= 0.9 missed by 0.2", "yes", "yes"]


def test_the_list_of_studies_shows_state_and_best_value(address: str) -> None:
    (study,) = ask(f"{address}/api/studies")["study_summaries"]
    assert study["study_name"] == "shown: done, val/exact_acc 0.5000"


def test_a_study_whose_constraint_is_never_met_is_drawn(results: Path) -> None:
    """The dashboard draws a trial grey that misses a constraint."""
    records = open_records(default_url(results))
    shown = DashboardStorage(records, results)
    assert all(t.system_attrs["constraints"] for t in shown.get_all_trials(1))
    file = load_study_file(results.parent / "shown.yaml")
    named = dataclasses.replace(file, name="never")
    study = study_store.open_study(open_records(default_url(results)), named, study_store.Origin(base={}))
    for miss in (0.3, 0.1):
        study.add_trial(optuna.trial.create_trial(value=miss, constraints={"command_acc >= 0.9": miss}))
    records.refresh()
    assert not [t for t in shown.get_all_trials(study._study_id) if "constraints" in t.system_attrs]
    said = next(s for s in shown.get_all_studies() if s.study_name == "never: 2 of 3 trials, none feasible")
    feasibility = "0 of 2 complete trials meet command_acc >= 0.9, so no trial is drawn grey"
    assert said.user_attrs["feasibility"] == feasibility
    optuna.delete_study(storage=open_records(default_url(results)), study_name="never")


@pytest.mark.parametrize("path", ["rename", "rename/", "rename//"])
def test_a_study_is_not_renamed(address: str, path: str) -> None:
    """The dashboard would copy what it shows and delete the rest."""
    asked = Request(f"{address}/api/studies/1/{path}", data=b'{"study_name": "other"}')
    asked.add_header("Content-Type", "application/json")
    with pytest.raises(HTTPError, match="409") as refused:
        urlopen(asked, timeout=60)
    assert b"keeps its name" in refused.value.read()


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


def test_what_the_dashboard_writes_reaches_the_storage(tmp_path: Path) -> None:
    """A study that is made, run, annotated and deleted through it is so in the storage."""
    inner = open_records(default_url(tmp_path), create=True)
    storage = DashboardStorage(inner, tmp_path)

    def objective(trial: optuna.Trial) -> float:
        trial.report(0.5, 1)
        trial.set_user_attr("note", trial.suggest_float("x", 0, 1))
        return trial.number

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, study_name="made", direction="maximize")
    study.set_user_attr("by", "a person")
    study.enqueue_trial({"x": 0.25})
    study.optimize(objective, n_trials=2)
    assert study.best_trial.number == 1

    stored = optuna.load_study(study_name="made", storage=inner)
    assert stored.user_attrs["by"] == "a person"
    assert stored.direction is optuna.study.StudyDirection.MAXIMIZE
    first, second = stored.trials
    assert (first.params, first.user_attrs, first.value) == ({"x": 0.25}, {"note": 0.25}, 0.0)
    assert second.intermediate_values == {1: 0.5}
    optuna.delete_study(study_name="made", storage=storage)
    assert optuna.get_all_study_names(inner) == []


def test_an_upload_is_kept_and_the_run_folders_files_cannot_be_changed(results: Path) -> None:
    storage = DashboardStorage(open_records(default_url(results)), results)
    files = TrialFiles(storage, results / "uploads")
    files.write("00000000-0000-0000-0000-000000000000", io.BytesIO(b"mine"))
    with files.open_reader("00000000-0000-0000-0000-000000000000") as upload:
        assert upload.read() == b"mine"
    files.remove("00000000-0000-0000-0000-000000000000")
    with pytest.raises(ArtifactNotFound):
        files.open_reader("00000000-0000-0000-0000-000000000000")

    study = optuna.load_study(study_name="shown", storage=storage)
    number = study.trials[0]._trial_id
    ours = artifact_id(number, "config.json")
    files.remove(ours)
    storage.set_trial_system_attr(number, f"artifacts:{ours}", "{}")
    with files.open_reader(ours) as kept:
        assert json.loads(kept.read())
    for name in ("no_such_file.txt", "../../studies.db"):
        with pytest.raises(ArtifactNotFound, match="has no file"):
            files.open_reader(artifact_id(number, name))


def test_files_of_a_trial_without_a_folder() -> None:
    def broken() -> bytes:
        raise ValueError("damaged")

    assert trial_files.available(None, reports=2, made={}) == [CURVE]
    with pytest.raises(FileNotFoundError):
        trial_files.open_file("config.json", None, curve={}, title="", made={})
    with pytest.raises(FileNotFoundError, match="samples: damaged"):
        trial_files.open_file("samples", Path(), curve={}, title="", made={"samples": broken})


def test_a_browser_that_leaves_early_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Server(("127.0.0.1", 0), Quiet) as server:
        for error, said in ((BrokenPipeError(), ""), (ValueError("a bug"), "a bug")):
            try:
                raise error
            except Exception:
                server.handle_error(None, ("127.0.0.1", 1))
            err = capsys.readouterr().err
            assert said in err
            assert bool(err) == bool(said)


def test_a_taken_port_is_said(results: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: .*choose another"):
            serve(default_url(results), results=results, port=port, console=Console(file=io.StringIO()))


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
