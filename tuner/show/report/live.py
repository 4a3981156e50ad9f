"""`report --live`: the page while studies run, with buttons that pause, stop and enqueue.

The page asks every two seconds for the version of what it shows, and takes new content when it changes. So
the server keeps no connection open. Only this machine can reach it. Its address holds a token, as Jupyter's
does: other users of the machine cannot open it, and other web pages are refused (`tuner.show.local_server`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import optuna
from rich.console import Console

from tuner.base.command_line import settings
from tuner.base.endings import in_short
from tuner.base.errors import InputError
from tuner.claims import material as materials
from tuner.run.enqueue import enqueue
from tuner.show import local_server
from tuner.show.local_server import HOST, Application, Start, local_only
from tuner.show.report import html, sections
from tuner.storage.records import Records
from tuner.storage.study import Stop, load_study

REST = 10  # the page is built again after as many times what building took: at most a tenth of a core
MOST_BODY = 65_536  # bytes of a request


def serve(records: Records, names: Sequence[str], results: Path, *, port: int, console: Console) -> None:
    """Serves the page of the studies `names` (none: all that there are) until Ctrl-C.

    Raises:
        InputError: the port is taken.
    """
    token = secrets.token_urlsafe(16)
    page = LivePage(records, names, results, token=token, cookie=f"tuner_{port}")
    lines = [
        f"the report on http://{HOST}:{port}/?token={token} (Ctrl-C stops the page; studies continue)",
        f"only this machine can reach it. From another: ssh -L {port}:{HOST}:{port} THIS_MACHINE",
    ]
    local_server.serve(page.app, port=port, console=console, lines=lines)


@dataclass
class LivePage:
    """The application. `names`: the studies to show; none: all that there are."""

    records: Records
    names: Sequence[str]
    results: Path
    token: str
    cookie: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _version: str = ""
    _page: bytes = b""
    _next: float = 0.0

    @property
    def app(self) -> Application:
        return local_only(self._answer)

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", "/"), environ.get("REQUEST_METHOD")
        given = parse_qs(environ.get("QUERY_STRING", "")).get("token", [""])[0]
        if path == "/" and self._is_token(given):
            cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            start("303 See Other", [("Location", "/"), ("Set-Cookie", cookie)])
            return []
        if not self._is_token(self._cookie_of(environ)):
            said = "open the address that `report --live` printed: it has a token"
            return _text(start, "403 Forbidden", said)
        if method == "POST":
            return self._do(path.strip("/"), environ, start)
        with self._lock:
            self._refresh()
            if path == "/version":
                return _text(start, "200 OK", self._version)
            if path != "/":
                return _text(start, "404 Not Found", "there is no such page")
            start("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")])
            return [self._page]

    def _cookie_of(self, environ: Mapping[str, Any]) -> str:
        try:
            found = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(self.cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _refresh(self) -> None:
        """Builds the page again if a study has changed and building it is due."""
        began = time.monotonic()
        if began < self._next:
            return
        self.records.refresh()
        version = self._look()
        if version != self._version:
            self.records.forget()  # a changed study has written its old trials in its new terms
            material = materials.load(self.records, self.names, self.results, made=datetime.now())
            open_first = sorted(material.studies, key=lambda study: study.done)
            best = {} if open_first[0].winner is None else open_first[0].winner.params
            example = " ".join(f"{k}={v}" for k, v in list(best.items())[:2]) or "learning_rate=0.01"
            live = {"version": version, "studies": [s.name for s in open_first], "example": example}
            self._page = html.render(sections.document(material), data="", live=live).encode()
            self._version = version
        self._next = time.monotonic() + REST * (time.monotonic() - began)

    def _look(self) -> str:
        """A text that changes with the studies."""
        found = hashlib.sha256()
        for name in self.names or optuna.get_all_study_names(self.records):
            study = load_study(self.records, name)
            found.update(repr((name, sorted(study.user_attrs.items(), key=lambda item: item[0]))).encode())
            for trial in study.get_trials(deepcopy=False):
                found.update(repr((trial.state, trial.values, len(trial.intermediate_values))).encode())
        return found.hexdigest()

    def _do(self, verb: str, environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        try:
            size = int(environ.get("CONTENT_LENGTH") or 0)
            if not 0 <= size <= MOST_BODY:
                raise InputError(f"the request is larger than {MOST_BODY} bytes")
            asked = json.loads(environ["wsgi.input"].read(size))  # before the lock: a client may be slow
            with self._lock:
                said = self._ask(verb, str(asked["study"]), str(asked.get("values") or ""))
                self._next = 0.0
        except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return _text(start, "400 Bad Request", in_short(error))
        return _text(start, "200 OK", said)

    def _ask(self, verb: str, name: str, values: str) -> str:
        study = load_study(self.records, name)
        if verb == "enqueue":
            queued = enqueue(self.records, name, settings(values.split(), what="enqueue"))
            return f"trial {queued.number} of {name} is queued"
        if verb not in ("stop", "pause"):
            raise InputError(f"expected stop, pause or enqueue, got '{verb}'")
        running = study.ask_to_stop(Stop(verb))
        trials = "1 running trial ends" if running == 1 else f"{running} running trials end"
        return f"{name}: {trials} after the epoch. To continue: tuner agent {name}"


def _text(start: Start, status: str, text: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return [text.encode(errors="replace")]
