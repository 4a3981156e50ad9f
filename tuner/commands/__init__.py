"""The subcommands of `tuner`. Each has `add(subparsers)` and imports heavy modules in `run`."""

from tuner.commands import (
    agent,
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
    mcp,
    pause,
    report,
    run,
    serve,
    status,
    stop,
    study,
    sweep,
    sync,
    tour,
    verdict,
    verify,
)

ALL = (
    *(list, study, sweep, agent, stop, pause, run, enqueue, import_, status, best, verify, verdict),
    *(export, report, fetch, gc),
    *(dashboard, serve, mcp, sync, doctor, tour, completion),
)
