"""`list`: the shipped studies with question, cost and progress."""

from __future__ import annotations

import argparse
import json
import sys

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers, "list", summary="list the shipped studies", example="python -m tuner list"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    opt.add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.show.status import listing

    rows = listing.rows(opt.storage_url(options))
    if options.json:
        sys.stdout.write(json.dumps([row.to_dict() for row in rows], indent=1) + "\n")
        return
    opt.console().print(listing.table(rows))
