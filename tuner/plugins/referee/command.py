"""`referee`: whether the changes that a loop made to a program are better, or noise."""

from __future__ import annotations

import argparse
from pathlib import Path

from tuner.commands import options as opt
from tuner.plugins.referee import run as duel

DESCRIPTION = """\
Reads what a loop wrote about its runs (results.tsv, a CSV, JSON lines, files of W&B, MLflow or Trackio,
metrics in a git history) and says of each change: keep, discard, or run again. Of what it keeps at most one
in twenty is false, however often you look. It needs no study, and writes only `referee.jsonl`: a line for
each ruling.
Exit status, for the last arm or --candidate: 0 keep, 10 discard, 11 run again, 12 failed, 13 not
comparable."""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "referee",
        summary="is a change of your program better, or noise? (for loops and coding agents)",
        description=DESCRIPTION,
        example="tuner referee --metric val_bpb",
    )
    add_reading_options(parser)
    parser.add_argument(
        "--candidate", metavar="ARM", help="the arm that is asked for (default: the last one)"
    )
    parser.add_argument(
        "--report",
        type=opt.report_file,
        metavar="FILE.html|FILE.pdf",
        help="also write the leaderboard as a page",
    )
    duel.add_evaluation_option(parser)
    opt.add_options(parser, "json")
    parser.set_defaults(run=run)
    duel.add(parser.add_subparsers(title="commands", metavar="run"))


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what the history is."""
    parser.add_argument(
        "--source", type=Path, metavar="FILE", help="a table, or what a tracker keeps (default: found here)"
    )
    parser.add_argument("--metric", metavar="NAME", help="the column that counts (default: found by name)")
    parser.add_argument("--goal", choices=("minimize", "maximize"), help="default: by the metric's name")
    parser.add_argument("--arm", metavar="COLUMN", help="the column that names what ran (default: by name)")


def run(options: argparse.Namespace) -> int:
    from tuner.plugins.referee import history, own, show
    from tuner.plugins.referee.arms import STATUS

    folder = Path.cwd()
    found = history.read(folder, options.source, metric=options.metric, goal=options.goal, arm=options.arm)
    referee = history.refereed(folder, found, options.evaluation)
    ruling = show.ruling_of(referee, options.candidate, found)
    own.note_ruling(folder, ruling, found.metric)
    if options.json:
        opt.write_json(show.to_dict(referee, found, ruling))
    else:
        show.leaderboard(referee, found, ruling, opt.console())
    if options.report:
        opt.write_report(show.document(referee, found, ruling), options.report)
    return STATUS[ruling.word]
