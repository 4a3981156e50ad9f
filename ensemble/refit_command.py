"""`tuner ensemble refit`: options and progress."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tuner.base.command_line import Help, add_common_options, settings
from tuner.base.errors import InputError

DESCRIPTION = """\
Trains the networks of a bundle once more, on all recordings of their data set, and writes the bundle
NAME-refit. Weights, temperatures and decoding are kept; the recordings held out to choose them become
training data. Use --but-test, which leaves `test` out, to measure the gain.

examples:
  tuner ensemble refit                       # the newest bundle, for use
  tuner ensemble refit mill10 --but-test     # to measure, with inference evaluate data/mill --part test
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "refit", help="a last fit on all recordings", description=DESCRIPTION, formatter_class=Help
    )
    parser.add_argument("name", nargs="?", help="a bundle's name or folder (default: the newest)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data set of the members (default: searched in data/)"
    )
    parser.add_argument("--but-test", action="store_true", help="leave test out")
    parser.add_argument("--agents", type=int, metavar="N", help="number of processes (default: one per core)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="config value that overrides those of the members",
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Refits; prints a line for each finished member."""
    import os
    from datetime import UTC, datetime

    from ensemble.bundle import Bundle, find_bundle
    from ensemble.library import required_data
    from ensemble.refit import refit

    folder = find_bundle(options.results, options.name)
    bundle = Bundle.load(folder)
    data = required_data(bundle, options.data)
    if options.agents is not None and options.agents < 1:
        raise InputError(f"--agents: expected 1 or more, got {options.agents}")
    jobs = min(options.agents or os.cpu_count() or 1, len(bundle.members))
    sys.stderr.write(f"training {len(bundle.members)} networks again, {jobs} at a time\n")
    ready: list[str] = []

    def done(member: str) -> None:
        ready.append(member)
        sys.stderr.write(f"{member}: done, {len(ready)} of {len(bundle.members)}\n")

    new = refit(
        bundle,
        folder,
        results=options.results,
        data=data,
        but_test=options.but_test,
        jobs=jobs,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        done=done,
        changes=settings(options.set),
    )
    sys.stdout.write(f"wrote {new}\n")
