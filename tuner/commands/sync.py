"""`sync`: uploads W&B runs that were written offline."""

from __future__ import annotations

import argparse
import json
import sys

from tuner.commands import options as opt

DESCRIPTION = """\
Uploads what the W&B server does not have yet: offline runs, and runs rebuilt from run folders where the W&B
file is torn or was never written. Can be repeated: what is up is left alone. Needs a key (`wandb login`
or WANDB_API_KEY); WANDB_BASE_URL names a server of your own."""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "sync",
        summary="upload offline W&B runs",
        description=DESCRIPTION,
        example="python -m tuner sync loss_weighting",
    )
    parser.add_argument("study", nargs="*", metavar="NAME", help="studies (default: all)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from model.errors import WorkFailed
    from tuner.sync import sync

    columns = (TextColumn("uploading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=opt.error_console(), transient=True) as bar:
        task = bar.add_task("", total=None)
        report = sync(
            options.results,
            options.study,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if options.json:
        found = {"uploaded": report.uploaded, "rebuilt": report.rebuilt, "already_uploaded": report.before}
        sys.stdout.write(
            json.dumps({**found, "failed": [str(file) for file in report.failed]}, indent=1) + "\n"
        )
    else:
        rebuilt = f" ({report.rebuilt} rebuilt from their run folders)" if report.rebuilt else ""
        sys.stdout.write(f"{report.uploaded} uploaded{rebuilt}, {report.before} were up already\n")
    if report.failed:
        raise WorkFailed(f"the server did not take {len(report.failed)} runs; see {report.log}")
