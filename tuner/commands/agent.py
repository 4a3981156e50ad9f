"""`agent`: one agent that joins a study, as `wandb agent` does."""

from __future__ import annotations

import argparse
import contextlib
import functools
from pathlib import Path

from tuner.commands import options as opt

DESCRIPTION = """\
Runs trials of a study that 'sweep' or 'study' made, one at a time, until the study is done. You can start
several agents, also in other terminals and on other machines."""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "agent",
        summary="run one agent of a study",
        description=DESCRIPTION,
        example="tuner agent digits-sgd --count 5",
    )
    parser.add_argument("study", metavar="NAME", help="a study in the storage")
    parser.add_argument(
        "--count",
        type=opt.positive,
        metavar="N",
        help="stop after N trials of this agent, failed ones included",
    )
    parser.add_argument("--timeout", type=opt.seconds, metavar="2h", help="stop after this long")
    parser.add_argument("--data", type=Path, metavar="DIR", help="what trials read (default: as before)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sampler (default: 0)")
    opt.add_wandb(parser)
    opt.add_notify(parser)
    opt.add_json(parser)
    opt.add_verbose(parser)
    opt.add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.commands.study import run_and_show
    from tuner.run.request import Request
    from tuner.storage.access import open_records
    from tuner.storage.study import load_study

    url = opt.storage_url(options)
    say = functools.partial(opt.error_console().print, markup=False)
    with contextlib.closing(open_records(url, waits=True, say=say)) as records:
        file = load_study(records, opt.study_name(options.study)).file
    request = Request(
        file,
        url,
        options.results,
        agents=1,
        count=options.count,
        timeout=options.timeout,
        data=options.data,
        seed=options.seed,
        wandb=options.wandb,
    )
    run_and_show(request, options)
