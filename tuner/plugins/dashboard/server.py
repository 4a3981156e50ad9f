"""Serves optuna-dashboard on loopback only, because it can change and delete studies without a password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from tuner.base import extras
from tuner.plugins.dashboard import notes
from tuner.plugins.dashboard.storage import DashboardStorage, TrialFiles
from tuner.show import local_server
from tuner.show.local_server import HOST, Application, local_only
from tuner.storage.access import open_records

UPLOADS = "artifacts"


def application(url: str, results: Path) -> Application:
    """The dashboard of the storage at `url`, with notes and the files of trials.

    Raises:
        InputError: there is no storage yet, or optuna-dashboard is not installed.
    """
    wsgi = extras.need("dashboard", "tuner dashboard").wsgi

    records = open_records(url)
    notes.write_notes(records)
    storage = DashboardStorage(records, results)
    app = wsgi(storage, artifact_store=TrialFiles(storage, results / UPLOADS))
    refuse_renames(app)
    return local_only(app)


def refuse_renames(app: Any) -> None:
    """Replaces the endpoint of the dashboard that renames studies.

    The dashboard would copy what it shows to a new study and delete the old one. What it does not show
    (leases of trials) would be lost, and the run folders lie under the old name.
    """
    from bottle import HTTPResponse

    def refuse(study_id: int) -> HTTPResponse:
        return HTTPResponse({"reason": "a study keeps its name, because its run folders have it"}, 409)

    (route,) = (route for route in app.routes if route.rule.endswith("/rename"))
    route.callback = refuse


def serve(url: str, *, results: Path, port: int, console: Console) -> None:
    """Serves the dashboard until Ctrl-C.

    Raises:
        InputError: the port is taken, or there is no storage yet.
    """
    lines = [
        f"optuna-dashboard on {local_server.dashboard_address(port)} (Ctrl-C stops it)",
        "it has no password and can change and delete studies, so only this machine can reach it. "
        f"From another machine: ssh -L {port}:{HOST}:{port} THIS_MACHINE",
    ]
    local_server.serve(application(url, results), port=port, console=console, lines=lines)
