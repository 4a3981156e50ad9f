"""`dashboard`: optuna-dashboard on the storage, for this machine only."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "dashboard",
        summary="show studies in optuna-dashboard",
        description=(
            "Serves optuna-dashboard on 127.0.0.1. Adds a note to each study, and to each trial its "
            "constraints, the files of its run folder and its learning curve. The dashboard has no password "
            "and can delete studies."
        ),
        example="tuner dashboard --port 8080",
    )
    parser.add_argument("--port", type=opt.port, default=8080, metavar="N", help="port (default: 8080)")
    opt.add_options(parser, "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.plugins.dashboard import server as dashboard

    dashboard.serve(
        opt.storage_url(options), results=options.results, port=options.port, console=opt.error_console()
    )
