"""`referee run`: its options, and what it says at its end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tuner.commands import options as opt
from tuner.plugins.referee.repository import EVALUATION

DESCRIPTION = """\
Runs the incumbent and the candidate in pairs, on the same seeds, until the referee can say keep or discard.
A side is a commit (in a git worktree of its own; uncommitted changes count as one), a folder, or a file in
place of the one that the command names. The metric is what the command logs to W&B or prints: JSON lines, or
`val_loss: 0.5`. Each run is kept in `referee.jsonl`. Ctrl-C: the same command goes on. Exit status: 0 keep,
10 discard, 11 run again, 12 the candidate fails, 13 it changes how it is measured."""
OPTIONS: dict[str, dict[str, Any]] = {
    "incumbent": {
        "metavar": "REV|PATH",
        "help": "what to compare with (default: the last one that was kept, else the parent commit)",
    },
    "candidate": {
        "metavar": "REV|PATH",
        "help": "the change (default: the changed files, else HEAD)",
    },
    "metric": {"metavar": "NAME", "help": "what counts (default: as in the history here)"},
    "goal": {"choices": ("minimize", "maximize"), "help": "default: by the metric's name"},
    "source": {"type": Path, "metavar": "FILE", "help": "the history (default: found here)"},
    "pairs": {
        "type": opt.positive,
        "default": 16,
        "metavar": "N",
        "help": "runs of a side at the most (default: 16)",
    },
    "each": {
        "type": opt.seconds,
        "metavar": "5m",
        "help": "equal time: end each run after this long; what it reported last counts",
    },
    "seed-flag": {
        "metavar": "FLAG",
        "help": "how the command takes its seed: --seed-flag=--random-seed, or seed for seed=1 (default: "
        "--seed or a variable, if the script reads one)",
    },
    "seed-variable": {"metavar": "NAME", "help": "the variable that it reads its seed from"},
}


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "run",
        summary="run the incumbent and the candidate in pairs until one can say which is better",
        description=DESCRIPTION,
        example="tuner referee run --metric val_loss -- python train.py",
    )
    add_run_options(parser)
    parser.set_defaults(run=run)


def add_evaluation_option(parser: argparse.ArgumentParser) -> None:
    """The option that names the files which measure."""
    parser.add_argument(
        "--evaluation",
        action="append",
        default=[],
        metavar="FILE",
        help="a file that measures, which no arm may change; can be repeated (default: "
        f"{', '.join(EVALUATION)})",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner referee run`, and the command behind `--`."""

    for name, settings in OPTIONS.items():
        parser.add_argument(f"--{name}", **settings)
    add_evaluation_option(parser)
    opt.add_options(parser, "timeout", "json", "storage")
    opt.add_options(parser, "agents", help="runs at the same time (default: one a GPU, else 1)")
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what trains and prints the metric"
    )


def run(options: argparse.Namespace) -> int:
    """Runs pairs until the referee has an answer. Returns the exit status of its verdict.

    Raises:
        InputError: it is not clear what to run, or there is nothing to compare.
        WorkFailed: the incumbent fails.
        KeyboardInterrupt: the user stopped it; the same command goes on.
    """
    from tuner.plugins.referee import own, show
    from tuner.plugins.referee.arms import STATUS
    from tuner.plugins.referee.duel import Duel
    from tuner.run.executors import processes
    from tuner.show.console import say

    processes.preload()
    console = opt.error_console()
    duel = Duel.of(options, lambda line: say(line, console), opt.storage_url(options))
    with opt.only_json(options.json):
        ruling = duel.run(pairs=options.pairs, agents=options.agents, timeout=options.timeout)
    found, referee = duel.judged()
    own.note_ruling(duel.task.folder, ruling, found.metric)
    if options.json:
        opt.write_json(show.to_dict(referee, found, ruling))
    else:
        say(show.sentence(ruling, referee, found), opt.console())
    return STATUS[ruling.word]
