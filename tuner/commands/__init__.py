"""The subcommands of `python -m tuner`. Each has `add(subparsers)` and imports heavy modules in `run`."""

from tuner.commands import (
    best,
    completion,
    dashboard,
    doctor,
    enqueue,
    export,
    fetch,
    gc,
    import_,
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
    *(list, study, enqueue, import_, status, best, verify, export, report, fetch, gc),
    *(dashboard, serve, sync, doctor, tour, completion),
)
