"""The subcommands of `tuner`. Each has `add(subparsers)` and imports heavy modules in `run`.

Those that the engine can do without are in `tuner/plugins/`.
"""

from tuner.commands import (
    agent,
    best,
    completion,
    doctor,
    enqueue,
    export,
    fetch,
    gc,
    list,
    pause,
    report,
    run,
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
    *(list, study, sweep, agent, stop, pause, run, enqueue, status, best, verify, verdict),
    *(export, report, fetch, gc, sync, doctor, tour, completion),
)
