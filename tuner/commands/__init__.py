"""The subcommands of `python -m tuner`; each has `add(subparsers)` and imports what it needs late."""

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
    run,
    serve,
    status,
    study,
    sync,
    tour,
    verify,
)

ALL = (
    *(list, study, run, status, best, verify, export, report, fetch, gc),
    *(dashboard, serve, sync, doctor, tour, completion),
)
