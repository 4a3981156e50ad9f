"""Runs trials of a study that 'sweep' or 'study' made, one at a time, until the study is done. You can start
several agents, also in other terminals and on other machines.
"""

from __future__ import annotations

import argparse
import contextlib
import functools

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers, "agent", "run one agent of a study", __doc__, "tuner agent digits-sgd --count 5"
    )
    parser.add_argument("study", metavar="NAME", help="a study in the storage")
    parser.add_argument(
        "--count",
        type=opt.positive,
        metavar="N",
        help="stop after N trials of this agent, failed ones included",
    )
    opt.add_options(parser, "timeout")
    opt.add_options(parser, "data", help="what trials read (default: as before)")
    opt.add_options(parser, "seed", "wandb", "notify", "json", "verbose", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.commands.study import run_and_show
    from tuner.storage.access import open_records
    from tuner.storage.study import load_study

    url = opt.storage_url(options)
    say = functools.partial(opt.error_console().print, markup=False)
    with contextlib.closing(open_records(url, waits=True, say=say)) as records:
        file = load_study(records, opt.study_name(options.study, records, options.results)).file
    run_and_show(opt.request_for(options, file, agents=1), options)
