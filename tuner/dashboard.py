"""optuna-dashboard on the storage, bound to loopback: its interface writes and deletes with no password."""

from __future__ import annotations

import socket

from rich.console import Console

from model.errors import InputError
from tuner.report import notes
from tuner.storage import open_records, storage_errors

HOST = "127.0.0.1"


def serve(url: str, *, port: int, console: Console) -> None:
    """Serves until Ctrl-C.

    Raises:
        InputError: the port is taken, or there is no storage yet.
    """
    from optuna_dashboard import run_server

    with storage_errors(url):
        records = open_records(url)
        notes.write_notes(records._backend)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"--port {port}: {error.strerror}; choose another") from None
    console.print(f"optuna-dashboard on http://{HOST}:{port}/dashboard/ (Ctrl-C ends it)", markup=False)
    console.print(
        "it has no password and can change and delete studies: it listens on this machine alone. "
        f"From elsewhere: ssh -L {port}:{HOST}:{port} THIS_MACHINE",
        markup=False,
        soft_wrap=True,
    )
    run_server(records._backend, host=HOST, port=port)
