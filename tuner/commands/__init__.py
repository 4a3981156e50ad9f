"""The subcommands of `python -m tuner`. Each has `add(subparsers)` and imports heavy modules in `run`."""

from tuner.commands import (
    best,
    completion,
    dashboard,
    doctor,
    export,
    fetch,
    gc,
    list,
    report,
    serve,
    status,
    study,
    sync,
    tour,
    verify,
)

ALL = (
    *(list, study, status, best, verify, export, report, fetch, gc),
    *(dashboard, serve, sync, doctor, tour, completion),
)
