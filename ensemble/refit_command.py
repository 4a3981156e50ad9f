"""`python -m ensemble refit`: the options, and what is told while it runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tuner.base.command_line import Help, add_common_options, settings
from tuner.base.errors import InputError

DESCRIPTION = """\
Trains a bundle's networks once more, on every recording of their data set, and writes the bundle NAME-refit.
Weights, temperatures and decoding stay as chosen. The recordings held out to choose them are worth more as
training data once that is done; what this gains is measured with --but-test, which keeps `test` apart.

examples:
  python -m ensemble refit                       # the newest bundle, for use
  python -m ensemble refit mill10 --but-test     # to measure, with inference evaluate data/mill --part test
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "refit", help="a last fit on all recordings, for use", description=DESCRIPTION, formatter_class=Help
    )
    parser.add_argument("name", nargs="?", help="a bundle's name or folder (default: the newest)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the members' data set (default: found below data/)"
    )
    parser.add_argument("--but-test", action="store_true", help="leave the part test out")
    parser.add_argument("--agents", type=int, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="over the members' configs"
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Refits, with a line for each member that is ready."""
    import os
    from datetime import UTC, datetime

    from ensemble.bundle import Bundle, find_bundle
    from ensemble.programs import required_data
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
