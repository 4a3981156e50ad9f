"""Says whether a configuration is better than another, by how much, how sure this is, and how many more runs
would decide it. The 95 % interval stays valid however often you ask. TRIAL is STUDY/NUMBER; STUDY alone means
its winner. Without 'against' the winner is compared with the default configuration. Exit status: 0 better,
3 not better (no difference that matters, or worse), 4 not decided (open, too few runs, no winner), 2 wrong
input.
"""

from __future__ import annotations

import argparse

from tuner.commands import options as opt

OPEN, NOT_BETTER = 4, 3  # exit statuses beside 0 (better), 1 and 2 (errors)


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "verdict",
        "is a configuration better than another, how sure is that, what would decide it",
        __doc__,
        "tuner verdict loss_weighting/7 against loss_weighting/0 --json",
    )
    parser.add_argument("what", metavar="STUDY|TRIAL", help="the winner of a study, or a trial STUDY/NUMBER")
    parser.add_argument(
        "against", nargs="*", metavar="against TRIAL", help="the word 'against' and the trial to compare with"
    )
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tuner.base.errors import InputError
    from tuner.claims import judge
    from tuner.show.console import show_answer

    words = options.against
    if words and (len(words) != 2 or words[0] != "against"):
        given = " ".join(words)
        raise InputError(f"verdict: expected 'against STUDY/NUMBER' after {options.what}, got {given}")
    answer = judge.between(opt.material(options), options.what, words[1] if words else None)
    if options.json:
        opt.write_json(answer.to_dict())
    else:
        show_answer(answer, opt.console(), opt.places(options))
    return OPEN if answer.better is None else 0 if answer.better else NOT_BETTER
