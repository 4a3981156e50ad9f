"""A web server for this machine only, safe from other web pages in the same browser."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.console import Console

from tuner.base.errors import InputError

HOST = "127.0.0.1"
NAMES = frozenset({HOST, "localhost"})  # allowed host names in requests
MOST_CONNECTIONS = 64  # a browser opens six
SILENT_SECONDS = 20.0  # after which a connection that sends nothing is closed
READING = frozenset({"GET", "HEAD", "OPTIONS"})

Start = Callable[..., Any]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]


def dashboard_address(port: int = 8080) -> str:
    """Where `tuner dashboard` serves optuna-dashboard. The end of a study names it too."""
    return f"http://{HOST}:{port}/dashboard/"


class Server(ThreadingMixIn, WSGIServer):
    """One thread per request, so that an open connection does not block other requests."""

    daemon_threads = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Closes a connection beyond the most that are open at a time."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores browsers that close the connection early, or say nothing. Reports other errors."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Quiet(WSGIRequestHandler):
    """Logs no requests, because the dashboard polls every few seconds."""

    timeout = SILENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        pass


def local_only(app: Any) -> Application:
    """Wraps `app` so that it answers only requests to `localhost`, and writes only for its own pages.

    Prevents DNS rebinding: a web page with a host name that resolves to 127.0.0.1 could otherwise read or
    delete studies through the browser. Prevents also that another page sends a form or JSON: a browser says
    in `Origin` or `Sec-Fetch-Site` which page a request comes from.
    """

    def guarded(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        name = str(environ.get("HTTP_HOST", "")).rpartition(":")[0] or str(environ.get("HTTP_HOST", ""))
        if name not in NAMES:
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [f"open it as http://{HOST}\n".encode()]
        if environ.get("REQUEST_METHOD") not in READING and not _is_own(environ):
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"another web page may not change studies\n"]
        return app(environ, start)  # type: ignore[no-any-return]

    return guarded


def _is_own(environ: dict[str, Any]) -> bool:
    """Whether a request comes from a page of this server, or from no browser."""
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if site not in (None, "same-origin", "none"):
        return False
    return origin is None or origin == f"http://{environ.get('HTTP_HOST')}"


def serve(app: Application, *, port: int, console: Console, lines: Sequence[str]) -> None:
    """Serves `app` until Ctrl-C, after it has printed `lines`.

    Raises:
        InputError: the port is taken.
    """
    try:
        server = make_server(HOST, port, app, server_class=Server, handler_class=Quiet)
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror}; choose another") from None
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
