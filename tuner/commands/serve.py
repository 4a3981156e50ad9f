"""`serve`: the storage for agents of other hosts, through a tunnel."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt

DESCRIPTION = """\
Lets agents of other machines work on the studies of this one: they come through an ssh tunnel and use
--storage grpc://127.0.0.1:PORT. It has no password and no encryption, so it listens on this machine alone.
Agents live through a restart of it: they keep what they report for up to ten minutes."""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "serve",
        summary="serve the storage to agents of other machines",
        description=DESCRIPTION,
        example=(
            "python -m tuner serve\n"
            "  elsewhere: ssh -N -L 13000:127.0.0.1:13000 THIS_MACHINE &\n"
            "             python -m tuner study loss_weighting --storage grpc://127.0.0.1:13000"
        ),
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="(default: 127.0.0.1)")
    parser.add_argument("--port", type=opt.positive, default=13000, metavar="N", help="(default: 13000)")
    opt.add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.storage import serve

    serve.serve(opt.storage_url(options), host=options.host, port=options.port, console=opt.error_console())
