"""`list`: studies of this folder with their results, and the shipped studies."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "list",
        summary="list the studies here with their results, and the shipped ones",
        description="Lists the studies here with their results, and the shipped ones.",
        example="tuner list",
    )
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.show import status

    found = status.listed(opt.storage_url(options))
    if options.json:
        opt.write_json(found)
        return
    console = opt.console()
    console.print(status.list_table(found, width=console.width))
