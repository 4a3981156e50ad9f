"""`serve`: serves the storage to agents on other machines, through an ssh tunnel."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tuner.commands import options as opt

DESCRIPTION = """\
Lets agents on other machines work on the studies of this machine. They connect through an ssh tunnel and use
--storage grpc://127.0.0.1:PORT. The server has no authentication and no encryption, so only this machine can
reach it. With --token-file, clients must send the token; they read it from the file in $TUNER_TOKEN_FILE. You
can restart the server: agents keep their reports for up to ten minutes."""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "serve",
        summary="serve the storage to agents on other machines",
        description=DESCRIPTION,
        example=(
            "tuner serve\n"
            "  on another machine: ssh -N -L 13000:127.0.0.1:13000 THIS_MACHINE &\n"
            "                      tuner study loss_weighting --storage grpc://127.0.0.1:13000"
        ),
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=opt.port, default=13000, metavar="N", help="port (default: 13000)")
    parser.add_argument(
        "--token-file",
        type=Path,
        default=os.environ.get("TUNER_TOKEN_FILE"),
        metavar="FILE",
        help="a secret of at least 16 characters that clients must send; needed for a --host other than this "
        "machine (default: $TUNER_TOKEN_FILE)",
    )
    opt.add_options(parser, "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.plugins.server import serve

    serve.serve(
        opt.storage_url(options),
        host=options.host,
        port=options.port,
        console=opt.error_console(),
        token_file=options.token_file,
    )
