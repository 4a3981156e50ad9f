"""Shows trials by state, the best value over time, and the time of training: spent, and saved by pruning."""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers, "status", "show the state of studies", __doc__, "tuner status loss_weighting"
    )
    parser.add_argument("study", nargs="?", metavar="NAME", help="one study (default: all)")
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    import optuna

    from tuner.show.console import say
    from tuner.show.status import status_table
    from tuner.show.summary import Summary, pruned_words
    from tuner.storage.study import load_study

    records = opt.records(options)
    names = [options.study] if options.study else sorted(optuna.get_all_study_names(records))
    found = [Summary.of(load_study(records, name)) for name in names]
    if options.json:
        opt.write_json([study.to_dict() for study in found])
        return
    console = opt.console()
    console.print(status_table(found, width=console.width))
    for study in found:
        if study.stopped:
            say(f"{study.name} stopped: {study.stopped}", console)
    if options.study:
        (study,) = found
        say(f"cost: {study.spent}", console)
        if study.pruned_at:
            say(f"pruned: {pruned_words(study.pruned_at)}", console)
        say(f"more: tuner report {study.name}", console)
