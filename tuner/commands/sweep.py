"""Makes a study and prints the command that runs it, for agents in other terminals or on other machines.
No trial is run. 'study FILE' does both at once.
"""

from __future__ import annotations

import argparse
import shlex

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "sweep",
        "make a study and print the command that runs it",
        __doc__,
        "tuner sweep examples/wandb_sklearn/sweep.yaml",
    )
    parser.add_argument("study", metavar="NAME|FILE.yaml", help="a sweep file, or a shipped study")
    opt.add_options(parser, "trials")
    opt.add_options(parser, "data", help="what trials read (default: the only data set)")
    opt.add_options(parser, "set", "fresh", "json", "artifacts", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.run import launch, plan
    from tuner.show.live import make_view

    view = make_view(opt.error_console())
    made = plan.make(opt.request_for(options, options.study), view.say)
    study = launch.register(made, view.say)
    total = study.total
    study.records.close()
    command = shlex.join(["tuner", "agent", study.study_name, *opt.places(options)])
    if options.json:
        opt.write_json({"study": study.study_name, "wanted": total, "command": command})
        return
    wanted = "until it is stopped" if total is None else f"{total} trials"
    view.say(f"study {study.study_name} is made: {wanted}. Run it with as many agents as you like:")
    opt.console().print(command, markup=False, soft_wrap=True)
