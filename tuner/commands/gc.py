"""Removes weights of runs that are not among the best 20 of a study, not on its Pareto front and not in a
bundle. Also removes unfinished run folders, temporary files of processes that have ended, and unused objects
in the artefact store. Skips studies that are running. Data sets, bundles and folders that belong to no study
stay.
"""

from __future__ import annotations

import argparse
import sys

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "gc",
        "remove weights and temporary files that are no longer needed",
        __doc__,
        "tuner gc --dry-run",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.artifacts import gc
    from tuner.base.errors import InputError, WorkFailed
    from tuner.storage.access import find_records

    if not options.results.is_dir():
        raise InputError(f"{options.results}: no such results folder; name it with --results")
    url = opt.storage_url(options)
    found = gc.find(find_records(url), options.results)
    failed = [] if options.dry_run else gc.remove(found)
    totals = found.totals()
    if options.json:
        content = {kind: {"count": count, "bytes": size} for kind, (count, size) in totals.items()}
        answer = {"removed": not options.dry_run, "kinds": content, "skipped": found.skipped}
        opt.write_json({**answer, "failed": failed})
    else:
        for line in found.skipped:
            sys.stderr.write(f"skipped: {line}\n")
        for kind, (count, size) in totals.items():
            sys.stdout.write(f"{kind}: {count} ({_megabytes(size)})\n")
        count, size = len(found.items), sum(item.size for item in found.items)
        done = "would be removed" if options.dry_run else "removed"
        sys.stdout.write(f"{done}: {count} in all, {_megabytes(size)}\n" if count else "nothing to remove\n")
    if failed:
        raise WorkFailed(f"{len(failed)} could not be removed; the first: {failed[0]}")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
