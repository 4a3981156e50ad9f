"""`status`: the state of the studies in the storage."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "status",
        summary="show the state of studies",
        description="Shows trials by state, the best value over time, and the time of training: spent, and "
        "saved by pruning.",
        example="tuner status loss_weighting",
    )
    parser.add_argument("study", nargs="?", metavar="NAME", help="one study (default: all)")
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    import optuna

    from tuner.show.status import summary
    from tuner.show.status.answer import say
    from tuner.storage.stored import load_study

    with opt.records(options) as records:
        names = [options.study] if options.study else sorted(optuna.get_all_study_names(records))
        states = [summary.state_of(records, load_study(records, name)) for name in names]
    if options.json:
        opt.write_json([state.to_dict() for state in states])
        return
    console = opt.console()
    console.print(summary.states_table(states, width=console.width))
    for state in states:
        if state.stopped:
            say(f"{state.name} stopped: {state.stopped}", console)
    if options.study:
        (state,) = states
        say(f"cost: {state.cost}", console)
        if state.pruned_at:
            say(f"pruned: {summary.pruned_words(state.pruned_at)}", console)
        say(f"more: tuner report {state.name}", console)
