"""Uploads runs that the W&B server does not have. Nothing is uploaded twice."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers, "sync", "upload offline W&B runs", __doc__, "tuner sync loss_weighting"
    )
    parser.add_argument("studies", nargs="*", metavar="NAME", help="studies (default: all)")
    opt.add_options(parser, "json")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from rich.progress import Progress

    from tuner.base.errors import WorkFailed
    from tuner.tracking.sync import sync

    with Progress(console=opt.error_console(), transient=True) as progress:
        task = progress.add_task("uploading", total=None)
        done = sync(
            options.results,
            options.studies,
            progress=lambda count, total: progress.update(task, completed=count, total=total),
        )
    if options.json:
        opt.write_json(asdict(done))
    else:
        opt.console().print(
            f"{done.uploaded} uploaded, {done.rebuilt} of them rebuilt from their run folders, "
            f"{done.before} were uploaded before",
            markup=False,
        )
    problems = [*done.damaged]
    if done.failed:
        problems.append(f"the server did not accept {len(done.failed)} runs; see {done.log}")
    if problems:
        raise WorkFailed("; ".join(problems))
