"""Stops the agents of a study, in any terminal and on any machine. They finish their epoch and return their
trials to the queue. The study is kept; 'agent' or 'study' continues it.
"""

from __future__ import annotations

import argparse
import shlex
from typing import Literal

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    add_verb(subparsers, "stop", summary="stop the agents of a study, on every machine")


def add_verb(subparsers: opt.Subparsers, verb: Literal["stop", "pause"], *, summary: str) -> None:
    """The subcommand `stop` or `pause`."""
    parser = opt.subcommand(subparsers, verb, summary, __doc__, f"tuner {verb} loss_weighting")
    parser.add_argument("study", metavar="NAME", help="a study in the storage")
    parser.add_argument(
        "--now", action="store_true", help="stop running trials at once; they return to the queue"
    )
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run, verb=verb)


def run(options: argparse.Namespace) -> None:
    from tuner.storage.study import Stop, load_study

    records = opt.records(options)
    study = load_study(records, opt.study_name(options.study, records, options.results))
    asked = Stop(options.verb, options.now)
    running = study.ask_to_stop(asked)
    go_on = shlex.join(["tuner", "agent", study.study_name, *opt.places(options)])
    if options.json:
        opt.write_json({"study": study.study_name, "running": running, "now": options.now, "go_on": go_on})
        return
    console = opt.console()
    if not running:
        console.print(
            f"{study.study_name}: none of its trials runs; agents that wait will leave", markup=False
        )
    else:
        trials = "1 trial runs: it ends" if running == 1 else f"{running} trials run: they end"
        when = "at once" if options.now else "after this epoch"
        console.print(f"{study.study_name}: {trials} {when}", markup=False)
    if options.verb == "pause":
        console.print(f"to continue: {go_on}", markup=False, soft_wrap=True)
