"""`dashboard`: optuna-dashboard on the storage, for this machine alone."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "dashboard",
        summary="optuna-dashboard on the storage",
        description=(
            "Opens optuna-dashboard on 127.0.0.1, with a note on what each study asks, the constraints of "
            "each trial, and as its artifacts the run folder's files, its learning curve and lines it read. "
            "It has no password and can delete studies."
        ),
        example="python -m tuner dashboard --port 8080",
    )
    parser.add_argument("--port", type=opt.positive, default=8080, metavar="N")
    opt.add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.show.dashboard import server as dashboard

    dashboard.serve(
        opt.storage_url(options), results=options.results, port=options.port, console=opt.error_console()
    )
