"""Uploads, with the real W&B client, to a server on loopback that speaks the few endpoints it needs."""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tuner.base.errors import InputError, WorkFailed
from tuner.base.files import write_json
from tuner.base.run_folder import RunFolder
from tuner.base.wandb_files import identity, wandb_folder
from tuner.definition.metric import Metric
from tuner.tracking import mode as tracking_mode
from tuner.tracking import wandb_file
from tuner.tracking.sync import Synced, sync
from tuner.tracking.tracker import open_tracker
from tuner.workloads.script_trial import Script

pytestmark = pytest.mark.slow


@dataclass
class UploadedRun:
    """One run as the server has it: lines by their number, as at W&B."""

    name: str = ""
    group: str = ""
    project: str = ""
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        return [self.lines[number] for number in sorted(self.lines)]


class QuietServer(ThreadingHTTPServer):
    """The client drops connections when it ends; that is no news."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        return None


class FakeWandb:
    """A W&B server of the few endpoints that the client needs; remembers what it was sent.

    Point WANDB_BASE_URL at `url`; look at `runs` (by id) and `requests` (names, in order).
    """

    KEY = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self) -> None:
        self.runs: dict[str, UploadedRun] = {}
        self.requests: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                return None

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    content = gzip.decompress(content)
                self._answer(fake.answer(self.path, self.headers.get("Authorization", ""), content))

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self._answer({})

            def _answer(self, answer: dict[str, Any]) -> None:
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, login: str, content: bytes) -> dict[str, Any]:
        if not path.endswith(("/graphql", "/file_stream")):
            return {}  # the client's own telemetry
        message = json.loads(content)
        known = base64.b64encode(f"api:{self.KEY}".encode()).decode() in login
        if path == "/graphql":
            found = re.search(r"(?:query|mutation)\s+(\w+)", message["query"])
            name = found[1] if found else ""
            self.requests.append(name)
            if not known:
                return {"data": {"viewer": None}}
            answer = self._graphql(name, message.get("variables") or {})
            return {"errors": [{"message": f"no {name} here"}]} if answer is None else {"data": answer}
        self.requests.append("file_stream")
        self._take_lines(self.runs[path.split("/")[-2]], message)
        return {}

    def _graphql(self, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
        if name == "Viewer":
            teams: dict[str, Any] = {"edges": []}
            return {"viewer": {"id": "1", "username": "me", "entity": "me", "flags": "{}", "teams": teams}}
        if name == "UpsertBucket":
            run = self.runs.setdefault(given["name"], UploadedRun())
            run.name = given["displayName"] or run.name
            run.group = given["groupName"] or run.group
            run.project = given["project"]
            run.sweep = given.get("sweep") or run.sweep
            run.tags = given["tags"] or run.tags
            config = json.loads(given["config"] or "{}")
            run.config |= {key: value["value"] for key, value in config.items() if key != "_wandb"}
            project = {"id": "1", "name": given["project"], "entity": {"id": "1", "name": "me"}}
            bucket = {"id": given["name"], "name": given["name"], "displayName": run.name, "project": project}
            return {"upsertBucket": {"bucket": {**bucket, "config": "{}"}, "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload/{file}"} for file in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        return {"project": None} if name == "ArtifactType" else None

    def _take_lines(self, run: UploadedRun, message: dict[str, Any]) -> None:
        files = message.get("files") or {}
        history = files.get("wandb-history.jsonl", {"offset": 0, "content": []})
        for number, line in enumerate(history["content"], history["offset"]):
            run.lines[number] = json.loads(line)
        if summary := files.get("wandb-summary.json"):
            run.summary = json.loads(summary["content"][0])
        if message.get("complete"):
            run.exit_code = message.get("exitcode")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    fake = FakeWandb()
    monkeypatch.setenv("WANDB_BASE_URL", fake.url)
    monkeypatch.setenv("WANDB_API_KEY", fake.KEY)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    yield fake
    fake.close()


def write_run(results: Path, study: str, number: int, losses: list[float], state: str = "complete") -> None:
    """A trial's run folder, as a run leaves it."""
    with RunFolder(results / "runs" / study / str(number)) as folder:
        write_json(folder.path / "config.json", {"lr": 0.1 * number})
        for epoch, loss in enumerate(losses):
            folder.log(epoch, {"val/loss": loss})
        folder.finish({"state": state, "metrics": {"val/loss": min(losses)}})


def track(results: Path, study: str, number: int, losses: list[float], state: str = "complete") -> None:
    """The same trial with a W&B run."""
    tracker = open_tracker("offline", study_name=study, results=results, project="mill")
    run = tracker.start(number, {"lr": 0.1 * number}, f"{study}-{number}")
    for epoch, loss in enumerate(losses):
        run.log(epoch, {"val/loss": loss})
    run.finish(state, {"val/loss": min(losses)})  # type: ignore[arg-type]
    tracker.close(timeout=60)
    write_run(results, study, number, losses, state)


def quiet(results: Path, *names: str) -> Synced:
    return sync(results, names, progress=lambda done, total: None)


def test_offline_runs_are_uploaded_whole_and_only_once(server: FakeWandb, tmp_path: Path) -> None:
    track(tmp_path, "study", 3, [0.5, 0.4], "pruned")
    seen: list[tuple[int, int]] = []

    first = sync(tmp_path, progress=lambda done, total: seen.append((done, total)))
    sent = len(server.requests)
    second = quiet(tmp_path)

    assert (first.uploaded, first.rebuilt, first.failed) == (1, 0, ())
    assert (second.uploaded, second.before) == (0, 1)
    assert server.requests[sent:] == ["Viewer"], "the second time only asks whether the server is there"
    assert seen[0] == (0, 1) and seen[-1] == (1, 1)
    ((identifier, run),) = server.runs.items()
    assert identifier == identity(wandb_folder(tmp_path, "study")).run_id(3)
    assert (run.name, run.group, run.project) == ("study-3", "study", "mill")
    assert [line["val/loss"] for line in run.history] == [0.5, 0.4]
    assert run.config["lr"] == pytest.approx(0.3)
    assert run.summary["state"] == "pruned" and run.summary["number"] == 3
    assert "pruned" in run.tags


def test_torn_and_missing_runs_are_rebuilt_from_their_run_folders(server: FakeWandb, tmp_path: Path) -> None:
    track(tmp_path, "study", 1, [0.5, 0.4, 0.3])
    folder = wandb_folder(tmp_path, "study")
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    file.write_bytes(file.read_bytes()[:7])  # what a killed client leaves
    write_run(tmp_path, "study", 2, [0.9], state="failed")  # W&B was off

    report = quiet(tmp_path, "study")
    again = quiet(tmp_path, "study")

    assert (report.uploaded, report.rebuilt, report.failed) == (2, 2, ())
    assert (again.uploaded, again.rebuilt, again.before) == (0, 0, 2)
    own = identity(folder)
    assert set(server.runs) == {own.run_id(1), own.run_id(2)}
    assert [line["val/loss"] for line in server.runs[own.run_id(1)].history] == [0.5, 0.4, 0.3]
    assert server.runs[own.run_id(1)].exit_code == 0
    assert server.runs[own.run_id(2)].exit_code == 1
    assert server.runs[own.run_id(2)].config["lr"] == pytest.approx(0.2)


@pytest.mark.parametrize("damaged", ["result.json", "config.json"])
def test_a_damaged_run_folder_costs_no_other_run(server: FakeWandb, tmp_path: Path, damaged: str) -> None:
    track(tmp_path, "study", 1, [0.5])
    for number in (0, 2, 3):
        write_run(tmp_path, "study", number, [0.9])
    for number in (1, 2):  # of trial 1, W&B's own file is whole
        (tmp_path / "runs" / "study" / str(number) / damaged).write_text("{")

    report = quiet(tmp_path, "study")

    own = identity(wandb_folder(tmp_path, "study"))
    assert set(server.runs) == {own.run_id(number) for number in (0, 1, 3)}
    assert (report.uploaded, report.rebuilt) == (3, 2)
    (problem,) = report.damaged
    assert f"2/{damaged}" in problem


def complete_rows(file: Path) -> int:
    found = wandb_file.run_of(file)
    assert found.ended
    return len(found.history)


def test_a_file_that_lacks_rows_of_the_run_folder_is_not_whole(tmp_path: Path) -> None:
    track(tmp_path, "study", 1, [0.5, 0.4, 0.3])
    folder = wandb_folder(tmp_path, "study")
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")

    assert complete_rows(file) == 3
    whole = file.read_bytes()
    for cut in range(0, len(whole), 17):
        file.write_bytes(whole[:cut])
        assert not wandb_file.run_of(file).ended, cut


def test_long_records_are_read_across_blocks(tmp_path: Path) -> None:
    tracker = open_tracker("offline", study_name="study", results=tmp_path)
    run = tracker.start(0, {}, "study-0")
    for epoch in range(40):
        run.log(epoch, {"text": "x" * 3000, "val/loss": 1.0})
    run.log(40, {"text": "x" * 100_000})
    run.finish("complete", {})
    tracker.close(timeout=60)

    (file,) = wandb_folder(tmp_path, "study").glob("wandb/offline-run-*/*.wandb")
    assert complete_rows(file) == 41


def test_a_run_tracked_online_is_there_at_once_and_not_uploaded_again(
    server: FakeWandb, tmp_path: Path
) -> None:
    tracker = open_tracker("auto", study_name="study", results=tmp_path)
    run = tracker.start(0, {"lr": 1}, "study-0")
    run.log(0, {"val/loss": 0.5})
    run.finish("complete", {"val/loss": 0.5})
    tracker.close(timeout=60)
    write_run(tmp_path, "study", 0, [0.5])

    assert tracker.mode == "online" and server.url in tracker.reason
    ((_, sent),) = server.runs.items()
    assert [line["val/loss"] for line in sent.history] == [0.5]
    assert sent.exit_code == 0
    assert quiet(tmp_path).before == 1
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or server.KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_run_of_a_script_reaches_the_server_once(server: FakeWandb, tmp_path: Path, mode: Any) -> None:
    (tmp_path / "train.py").write_text(
        "import wandb\n"
        "with wandb.init(project='mine', id='fixed') as run:\n"
        "    assert run.sweep_id == 'study'\n"
        "    run.log({'acc': run.config.lr})\n"
    )
    script = Script("study", "train.py", None, tmp_path, Metric("acc"), wandb=mode)

    script({"lr": 0.5}, lambda epoch, metrics: None, run_folder=tmp_path / "runs" / "study" / "3")

    assert bool(server.runs) == (mode == "online")
    report = quiet(tmp_path)
    assert (report.uploaded, report.before) == ((0, 1) if mode == "online" else (1, 0))
    ((identifier, run),) = server.runs.items()
    assert identifier == identity(wandb_folder(tmp_path, "study")).run_id(3)
    assert (run.name, run.group, run.project) == ("study-3", "study", "mine")
    assert run.sweep is None, "the server does not know our sweep and would refuse the run"
    assert [line["acc"] for line in run.history] == [0.5]


def test_a_trial_that_ran_twice_is_uploaded_as_it_was_the_last_time(
    server: FakeWandb, tmp_path: Path
) -> None:
    track(tmp_path, "study", 0, [0.9], "failed")
    time.sleep(1)  # the client names a run's folder by the second
    track(tmp_path, "study", 0, [0.5, 0.4])

    assert quiet(tmp_path).uploaded == 1
    ((_, run),) = server.runs.items()
    assert [line["val/loss"] for line in run.history] == [0.5, 0.4]
    assert run.summary["state"] == "complete"


def test_a_run_folder_that_the_server_does_not_take_does_not_cost_the_run(
    server: FakeWandb, tmp_path: Path
) -> None:
    write_run(tmp_path, "study", 0, [0.5])
    tracker = open_tracker("online", study_name="study", results=tmp_path, artifacts=True)
    run = tracker.start(0, {}, "study-0")
    run.log(0, {"val/loss": 0.5})
    run.finish("complete", {"val/loss": 0.5})
    tracker.close(timeout=60)

    assert "CreateArtifact" in server.requests
    ((_, sent),) = server.runs.items()
    assert sent.exit_code == 0
    assert sent.summary["state"] == "complete"


def test_without_a_key_or_a_server_nothing_is_touched(
    monkeypatch: pytest.MonkeyPatch, server: FakeWandb, tmp_path: Path
) -> None:
    write_run(tmp_path, "study", 0, [0.5])
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    with pytest.raises(WorkFailed, match="does not know the key"):
        quiet(tmp_path)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(WorkFailed, match="cannot be reached"):
        quiet(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(WorkFailed, match="no key"):
        quiet(tmp_path)
    assert not (tmp_path / "wandb").exists()


def test_a_study_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, "study", 0, [0.5])

    with pytest.raises(InputError, match=r"'other' has no runs .*studies: study"):
        quiet(tmp_path, "other")


def test_a_server_that_hangs_costs_seconds_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # accepts, never answers
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    monkeypatch.setattr(tracking_mode, "PREFLIGHT_SECONDS", 0.2)

    mode, reason = tracking_mode.resolve("online")

    silent.server_close()
    assert mode == "offline"
    assert "did not answer" in reason or "timed out" in reason
