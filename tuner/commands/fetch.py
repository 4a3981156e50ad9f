"""Downloads run folders from the artefact store that are not in the results folder. `ensemble build`,
`ensemble compare`, `verify`, `report` and `export` do this automatically.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.commands import options as opt

if TYPE_CHECKING:
    from tuner.artifacts.run_store import Fetched
    from tuner.storage.records import Records


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
    found = fetched(records, options.studies, options.results, say_failures=False)
    if options.json:
        opt.write_json({"runs": found.runs, "bytes": found.size, "failed": found.failed})
    if found.failed:
        more = f" (and {len(found.failed) - 1} more)" if len(found.failed) > 1 else ""
        raise WorkFailed(f"{found.failed[0]}{more}")


def fetched(
    records: Records,
    studies: Sequence[str],
    results: Path,
    *,
    top: int | None = None,
    say_failures: bool = True,
) -> Fetched:
    """Downloads missing run folders of `studies` (none named: of all).

    Prints progress to stderr. A failing store is not an error, because the results folder may have enough.
    """
    import optuna

    from tuner.artifacts.run_store import ATTRIBUTE, fetch_missing

    known = optuna.get_all_study_names(records)
    names = [
        name
        for name in (studies or known)
        if name in known and ATTRIBUTE in records.get_study_user_attrs(records.get_study_id_from_name(name))
    ]
    found = fetch_missing(records, names, results, top=top)
    if found.runs:
        runs = "run folder" if found.runs == 1 else "run folders"
        sys.stderr.write(f"fetched {found.runs} {runs} ({found.size / 2**20:.1f} MiB) from the store\n")
    if say_failures:
        for line in found.failed:
            sys.stderr.write(f"not fetched: {line}\n")
    return found
