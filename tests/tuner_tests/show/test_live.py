"""The live page as a browser asks for it: token, new content, and what its buttons ask for."""

from __future__ import annotations

import argparse
import io
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

import pytest
from optuna.trial import TrialState, create_trial

from tuner.base.errors import InputError
from tuner.commands import report
from tuner.definition.study_file import StudyFile
from tuner.show import local_server
from tuner.show.report.live import LivePage
from tuner.storage import study_store
from tuner.storage.records import Records
from tuner.storage.study import load_study

STUDY = """
method: random
run_cap: 40
metric: {name: score, goal: maximize}
parameters: {x: {min: 0.0, max: 1.0}}
tuner: {objective: "objective.py:train", max_epochs: 2}
"""
TOKEN = "a-token-of-this-page"
Ask = Callable[..., tuple[str, str]]


@pytest.fixture
def ask(records: Records, make_study: Callable[..., StudyFile], tmp_path: Path) -> Ask:
    """`ask(path, method, body, headers)`: status and text of the page of a study with one trial."""
    file = make_study(STUDY)
    study = study_store.open_study(records, file, study_store.Origin({}))
    _add(study, file, 0.5)
    page = LivePage(records, [file.name], tmp_path, token=TOKEN, cookie="c")

    def asked(path: str, body: Any = None, *, cookie: str = f"c={TOKEN}", **headers: str) -> tuple[str, str]:
        said: list[str] = []
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = path.partition("?")
        environ = {
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": "GET" if body is None else "POST",
            "HTTP_HOST": "127.0.0.1:8090", "HTTP_COOKIE": cookie, "CONTENT_LENGTH": str(len(sent)),
            "wsgi.input": io.BytesIO(sent), **headers,
        }  # fmt: skip
        answer = b"".join(page.app(environ, lambda status, _: said.append(status)))
        page._next = 0.0  # the next answer need not wait
        return said[0][:3], answer.decode()

    return asked


def _add(study: Any, file: StudyFile, x: float) -> None:
    distributions = file.space.distributions()
    study.add_trial(create_trial(value=x, params={"x": x}, distributions=distributions))


def test_a_page_is_only_for_who_has_its_address(ask: Ask) -> None:
    assert ask("/", cookie="")[0] == ask("/?token=guess", cookie="")[0] == "403"
    assert ask("/version", cookie="c=guess")[0] == "403"
    assert ask(f"/?token={TOKEN}", cookie="")[0] == "303", "it sets a cookie"
    assert ask("/")[0] == "200"
    assert ask("/stop", {"study": "x"}, cookie="")[0] == "403"
    assert ask("/stop", {"study": "x"}, HTTP_ORIGIN="http://evil.example")[0] == "403"


def test_the_page_follows_the_study(ask: Ask, records: Records) -> None:
    _, page = ask("/")
    _, version = ask("/version")
    assert version in page and "1 of 40 trials" in page and "connect-src 'self'" in page
    assert ask("/version")[1] == version
    (name,) = [line for line in page.splitlines() if "<option>" in line][:1]
    study = load_study(records, name.partition("<option>")[2].partition("<")[0])
    study.add_trial(create_trial(state=TrialState.RUNNING))
    assert ask("/version")[1] != version
    assert "1 running" in ask("/")[1]


def test_its_buttons_stop_and_pause_a_study_and_queue_a_trial(ask: Ask, records: Records) -> None:
    name = ask("/")[1].partition("<option>")[2].partition("<")[0]
    for verb in ("pause", "stop"):
        status, said = ask(f"/{verb}", {"study": name})
        asked = load_study(records, name).stop_asked()
        assert status == "200" and name in said and asked is not None and asked.verb == verb
    assert ask("/enqueue", {"study": name, "values": "x=0.25"}) == ("200", f"trial 1 of {name} is queued")
    assert load_study(records, name).trials[1].state is TrialState.WAITING


@pytest.mark.hostile("requests to the live page")
@pytest.mark.parametrize(
    ("verb", "body", "says"),
    [
        ("enqueue", {"values": "y=1"}, "no parameter 'y'"),
        ("enqueue", {"values": "x"}, "expected KEY=VALUE"),
        ("delete", {}, "expected stop, pause or enqueue"),
        ("stop", {"study": "nobody"}, "no study named 'nobody'"),
    ],
)
def test_a_wrong_request_is_one_line(ask: Ask, verb: str, body: dict[str, str], says: str) -> None:
    name = ask("/")[1].partition("<option>")[2].partition("<")[0]
    status, said = ask(f"/{verb}", {"study": name, **body})
    assert status == "400" and says in said and "\n" not in said


@pytest.mark.hostile("requests to the live page")
@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (b"[" * 60_000, {}, "recursion"),
        (b'"' + b"x" * 10, {}, "Unterminated string"),
        (b"[1]", {}, "TypeError"),
        (b"1", {}, "TypeError"),
        (b'{"study": "\\ud800"}', {}, "no study named '?'"),
        (b'{"study": "' + b"x" * 60_000 + b'"}', {}, "no study named 'xxx"),
        (b"{}", {"CONTENT_LENGTH": "-1"}, "the request is larger"),
        (b"{}", {"CONTENT_LENGTH": "70000"}, "the request is larger"),
        (b"{}", {"CONTENT_LENGTH": "²"}, "invalid literal"),
    ],
)
def test_a_hostile_request_is_one_short_line(
    ask: Ask, body: bytes, headers: dict[str, str], says: str
) -> None:
    status, said = ask("/stop", body, **headers)
    assert status == "400" and says in said and "\n" not in said and len(said) < 600
    assert ask("/version", cookie='c="\\')[0] == "403"


class Slow(io.RawIOBase):
    """A body that does not come before the page was asked for again."""

    def __init__(self, meanwhile: Callable[[], Any]) -> None:
        self.meanwhile = meanwhile

    def read(self, size: int = -1) -> bytes:
        self.meanwhile()
        return b"{}"


@pytest.mark.hostile("requests to the live page")
def test_a_slow_request_holds_up_no_other(ask: Ask) -> None:
    shown: list[tuple[str, str]] = []
    ask("/stop", b"{}", **{"wsgi.input": Slow(lambda: shown.append(ask("/version")))})
    assert [status for status, _ in shown] == ["200"]


@pytest.mark.hostile("requests to the live page")
def test_connections_that_say_nothing_are_closed_and_never_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server.Quiet, "timeout", 0.3)
    monkeypatch.setattr(local_server, "MOST_CONNECTIONS", 2)
    server = make_server(
        "127.0.0.1", 0, lambda environ, start: [], server_class=local_server.Server,
        handler_class=local_server.Quiet,
    )  # fmt: skip
    threading.Thread(target=server.serve_forever, daemon=True).start()
    silent = [socket.create_connection(server.server_address, timeout=30) for _ in range(3)]
    assert [connection.recv(1) for connection in silent] == [b""] * 3  # the third at once, the others in time
    server.shutdown()
    server.server_close()


def test_a_file_is_not_written_while_it_is_served(tmp_path: Path) -> None:
    import argparse

    options = argparse.Namespace(live=True, output=[tmp_path / "x.html"], json=False, hypotheses=False)
    with pytest.raises(InputError, match="leave out --output"):
        report.run(options)


def test_the_command_serves_the_page_at_its_port(
    ask: Ask, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr("tuner.show.local_server.serve", lambda app, **how: served.update(how, app=app))
    parser = argparse.ArgumentParser()
    report.add(parser.add_subparsers())
    report.run(parser.parse_args(["report", "--live", "--port", "8123", "--storage", url]))
    assert served["port"] == 8123
    assert any("http://127.0.0.1:8123/?token=" in line for line in served["lines"])
