"""`--notify`: what is sent where, how often, and that a message that cannot be sent costs no study."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import optuna
import pytest
from reliability.processes import wait_for
from rich.console import Console

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.definition.study_file import StudyFile
from tuner.run.events import Event, StudyRun
from tuner.show.lines import SilentView
from tuner.show.notify import PAUSE_SECONDS, Notifier, NotifyingView, sender_of
from tuner.storage import study_store
from tuner.storage.records import Records

ROOT = Path(__file__).resolve().parents[3]
MakeStudy = Callable[..., StudyFile]

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).open('a').write(sys.argv[2] + '\\n')"


def writer(file: Path) -> str:
    """`command:` that appends each message to a file."""
    script = file.with_suffix(".py")
    script.write_text(WRITE)
    return f"command:{sys.executable} {script} {file}"


def study(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tuner", "study", str(path), "--agents", "1", "--wandb", "off",
         "--results", str(path.parent / "results"), *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_command_is_told_of_a_new_best_and_of_the_end(make_study: MakeStudy, tmp_path: Path) -> None:
    done = study(make_study().path, "--notify", writer(tmp_path / "said"))
    assert done.returncode == 0, done.stderr
    first, *_, last = (tmp_path / "said").read_text().splitlines()
    assert first.startswith("small: new best: score ")
    assert last.startswith("small: done: 6 trials finished; best score ")


@pytest.mark.slow
def test_a_failed_study_is_told(make_study: MakeStudy, tmp_path: Path) -> None:
    file = make_study(**{"y: {values: [a, b, c]}": "mode: {value: error}"})
    done = study(file.path, "--notify", writer(tmp_path / "said"))
    assert done.returncode == 1
    (line,) = (tmp_path / "said").read_text().splitlines()
    assert line.startswith("small: failed: 3 trials in a row failed with the same error: ValueError: no good")


@pytest.mark.hostile("--notify")
@pytest.mark.slow
def test_a_message_that_cannot_be_sent_is_one_line_and_the_study_ends_well(make_study: MakeStudy) -> None:
    done = study(make_study().path, "--notify", "command:false")
    assert done.returncode == 0
    said = [line for line in done.stderr.splitlines() if "notification" in line]
    assert said == [
        "no notification through command (false ended with exit status 1); the study continues",
    ]


@pytest.mark.hostile("--notify")
def test_a_command_that_hangs_holds_up_no_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.show.notify.SEND_SECONDS", 0.3)
    said: list[str] = []
    notifier = Notifier([("command", sender_of("command:sh -c 'exec sleep 600'"))], said.append)
    notifier.send("small", "done")
    wait_for(lambda: notifier.say_problems() or said, seconds=60)
    notifier.close()
    assert "timed out after 0.3 seconds" in said[0] and "\n" not in said[0]


@pytest.mark.hostile("--notify")
def test_a_message_of_shell_characters_is_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    send = sender_of(writer(tmp_path / "said"))
    send("small; touch harm", "$(touch harm) `touch harm` | tee harm > harm && -x '\"")
    assert (tmp_path / "said").read_text() == (
        "small; touch harm: $(touch harm) `touch harm` | tee harm > harm && -x '\"\n"
    )
    assert not (tmp_path / "harm").exists()


class Receiver(BaseHTTPRequestHandler):
    got: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on the test's output."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address for apprise on this machine, and what arrived there."""
    got: list[dict[str, Any]] = []
    handler = type("Own", (Receiver,), {"got": got})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}", got
        server.shutdown()


def test_apprise_sends_it(receiver: tuple[str, list[dict[str, Any]]]) -> None:
    pytest.importorskip("apprise", reason="needs apprise: pip install 'optuna-sweeps[notify]'")
    url, got = receiver
    notifier = Notifier([("json", sender_of(url))], lambda line: None)
    notifier.send("small", "done: 6 trials finished")
    notifier.close()
    assert [(message["title"], message["message"]) for message in got] == [
        ("small", "done: 6 trials finished")
    ]


@pytest.mark.hostile("--notify")
def test_an_address_that_is_none_is_said_before_anything_runs(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    words = ["study", str(make_study().path), "--results", str(results), "--notify"]
    assert main([*words, "command:no-such-program"]) == 2
    assert "with a program that is there" in capsys.readouterr().err
    assert not results.exists()


def test_a_missing_apprise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(
        InputError, match=r"--notify slack:: needs apprise: pip install 'optuna-sweeps\[notify\]'"
    ):
        sender_of("slack://secret")


def test_no_more_than_one_new_best_a_minute(records: Records, make_study: MakeStudy) -> None:
    file = make_study()
    found = study_store.open_study(records, file, study_store.Origin({}))
    sent: list[str] = []
    now = [1000.0]
    view = NotifyingView(silent(), Recorder(sent), "small", clock=lambda: now[0])  # type: ignore[arg-type]
    view.begin(StudyRun(found, 1))

    def ends(value: float) -> None:
        found.add_trial(optuna.trial.create_trial(value=value))
        number = len(found.get_trials()) - 1
        view.event(Event("end", 0, {"number": number, "outcome": "complete", "value": value, "message": ""}))
        view.tick([])

    for value in (0.1, 0.2, 0.15, 0.3):
        ends(value)
        now[0] += 1
    now[0] += PAUSE_SECONDS
    ends(0.05)
    assert sent == ["new best: score 0.1 (trial 0)", "new best: score 0.3 (trial 3)"]


def silent() -> SilentView:
    return SilentView(Console(file=io.StringIO()))


class Recorder:
    def __init__(self, sent: list[str]) -> None:
        self.sent = sent

    def send(self, title: str, text: str) -> None:
        self.sent.append(text)

    def say_problems(self) -> None:
        """There are none."""


def test_events_other_than_a_complete_trial_are_no_news(records: Records, make_study: MakeStudy) -> None:
    file = make_study()
    found = study_store.open_study(records, file, study_store.Origin({}))
    sent: list[str] = []
    view = NotifyingView(silent(), Recorder(sent), "small")  # type: ignore[arg-type]
    view.begin(StudyRun(found, 1))
    found.add_trial(optuna.trial.create_trial(value=0.5))
    view.event(Event("end", 0, {"number": 0, "outcome": "pruned", "value": 0.5, "message": ""}))
    view.tick([])
    assert sent == []
