"""Prints the best complete trials (feasible ones first) and the verdict."""

from __future__ import annotations

import argparse
import sys

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "best",
        "the best trials of a study",
        __doc__,
        "tuner best loss_weighting --top 3 --format yaml",
    )
    parser.add_argument("study", nargs="?", metavar="NAME", help="study (default: the only one)")
    parser.add_argument("--top", type=opt.positive, default=10, metavar="K", help="how many (default: 10)")
    parser.add_argument(
        "--format", choices=("table", "json", "yaml"), default="table", help="output format (default: table)"
    )
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", help="the same as --format json"
    )
    opt.add_options(parser, "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from tuner.show.console import show_answer
    from tuner.show.status import best_table, best_trials, shown_only_words
    from tuner.show.summary import Summary
    from tuner.storage.study import load_study

    records = opt.records(options)
    source = load_study(records, options.study or _only_study(records))
    study_file = source.file
    study = Summary.of(source, study_file)
    ranks = best_trials(study, options.results, top=options.top)
    answer = study.answer
    if options.format == "table":
        console = opt.console()
        if ranks:
            console.print(best_table(ranks, study_file, width=console.width))
            show_answer(answer, console, opt.places(options))
        else:
            console.print(f"{study.name}: {answer.headline}", markup=False)
        for line in shown_only_words(study):
            console.print(line, markup=False, soft_wrap=True)
        return
    found = [rank.to_dict(study_file.metric.name) for rank in ranks]
    for rank in found:
        if rank["number"] == answer.winner:
            rank["verdict"] = answer.to_dict()
    if options.format == "json":
        opt.write_json(found)
        return
    from tuner.definition.export import config_yaml

    for rank in found:
        sys.stdout.write(f"---\n{config_yaml(rank)}")


def _only_study(records):  # type: ignore[no-untyped-def]
    """The name of the only study in the storage."""
    import optuna

    from tuner.base.errors import InputError

    names = sorted(optuna.get_all_study_names(records))
    if len(names) != 1:
        raise InputError(f"name a study (in this storage: {', '.join(names) or 'none'})")
    return names[0]
