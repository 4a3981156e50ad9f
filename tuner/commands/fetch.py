"""Downloads run folders from the artefact store that are not in the results folder. `ensemble build`,
`ensemble compare`, `verify`, `report` and `export` do this automatically.
"""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "fetch",
        "download run folders of other machines from the artefact store",
        __doc__,
        "tuner fetch loss_weighting",
    )
    parser.add_argument("studies", nargs="*", metavar="NAME", help="studies (default: all)")
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.base.errors import WorkFailed
    from tuner.storage.study import load_study

    records = opt.records(options)
    for name in options.studies:
        load_study(records, name)
    found = opt.fetched(records, options.studies, options.results, say_failures=False)
    if options.json:
        opt.write_json({"runs": found.runs, "bytes": found.size, "failed": found.failed})
    if found.failed:
        more = f" (and {len(found.failed) - 1} more)" if len(found.failed) > 1 else ""
        raise WorkFailed(f"{found.failed[0]}{more}")
