"""Lists the studies here with their results, and the shipped ones (only by name, where others were begun
and none of them).
"""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "list",
        "list the studies here with their results, and the shipped ones",
        __doc__,
        "tuner list",
    )
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.show import status
    from tuner.show.console import say

    found = status.listed(opt.storage_url(options))
    if options.json:
        opt.write_json(found)
        return
    console = opt.console()
    shown = status.of_interest(found)
    console.print(status.list_table(shown, width=console.width))
    if len(shown) < len(found):
        names = ", ".join(study["name"] for study in found[len(shown) :])
        say(f"not started, of the example that comes with the tuner: {names}", console)
