"""The next trial gets these values. The sampler draws all other values. Queued trials run in order, and
count as trials of the study.
"""

from __future__ import annotations

import argparse
import json
import sys

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "enqueue",
        "queue the next trial of a study",
        __doc__,
        "tuner enqueue loss_weighting gamma=2.5 loss_type=focal",
    )
    parser.add_argument("study", metavar="NAME|FILE.yaml", help="a study that exists")
    parser.add_argument("values", nargs="+", metavar="KEY=VALUE", help="a parameter and its value")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    opt.add_options(parser, "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from tuner.run.enqueue import enqueue

    records = opt.records(options)
    name = opt.study_name(options.study, records, options.results)
    queued = enqueue(records, name, opt.settings(options.values, what="enqueue"))
    if options.json:
        sys.stdout.write(json.dumps({"study": name, **asdict(queued)}) + "\n")
        return
    behind = f", after {queued.ahead} that were queued before" if queued.ahead else ""
    console = opt.console()
    console.print(f"{name}: trial {queued.number} is queued{behind}", markup=False)
    if queued.total is not None:
        console.print(
            f"{queued.total} trials of the study are finished, running or queued already, and it wants no "
            f"more: this one is run by 'tuner study … --trials {queued.needs}'",
            markup=False,
        )
