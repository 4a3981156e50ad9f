"""`tuner model`: imports recordings, trains a network on them, and scores baselines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# The current folder is the user's: its files must not stand in for modules of this project.
if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).resolve().parents[1] != Path.cwd():
    del sys.path[0]

from tuner.base.command_line import Help, Parser, add_common_options, program_name, run_command


def _import(options: argparse.Namespace) -> None:
    from model.data_commands import run_import

    run_import(options)


def _synthesize(options: argparse.Namespace) -> None:
    from model.data_commands import run_synthesize

    run_synthesize(options)


def _baseline(options: argparse.Namespace) -> None:
    from model.data_commands import run_baseline

    run_baseline(options)


def _train(options: argparse.Namespace) -> None:
    from model.train_command import run_train

    run_train(options)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all four subcommands; nothing heavy is imported before one of them runs."""
    parser: argparse.ArgumentParser = Parser(
        prog=program_name("model"), description=__doc__, formatter_class=Help
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "import",
        help="import recordings (.csv, .csv.gz) as a data set",
        description="Imports recordings as a compact data set and reports what was found and dropped.",
        epilog="example:\n  tuner model import ~/recordings --to data/mill",
        formatter_class=Help,
    )
    command.add_argument("sources", nargs="+", metavar="DIR", help="folders or files with recordings")
    command.add_argument(
        "--to", type=Path, help="folder of the data set (default: data/NAME, by the first source)"
    )
    command.add_argument("--json", action="store_true", help="print the report as one JSON object")
    add_common_options(command)
    command.set_defaults(run=_import)

    command = commands.add_parser(
        "synthesize",
        help="simulate recordings",
        description="Simulates recordings of a mill: six operations, each run several times.",
        epilog="example:\n  tuner model synthesize --csv recordings --recordings 2",
        formatter_class=Help,
    )
    command.add_argument(
        "--to",
        type=Path,
        default=Path("data/simulator"),
        help="folder of the data set (default: data/simulator)",
    )
    command.add_argument("--csv", type=Path, metavar="DIR", help="write .csv.gz files to DIR instead")
    command.add_argument("--seed", type=int, default=0, help="equal seeds give equal recordings (default: 0)")
    command.add_argument(
        "--recordings", type=int, default=6, metavar="N", help="recordings per operation (default: 6)"
    )
    command.add_argument(
        "--operations", nargs="+", metavar="NAME", help="operations, such as face pocket (default: all six)"
    )
    command.add_argument(
        "--scale", type=float, default=1.0, help="factor on the length of the programs (default: 1)"
    )
    add_common_options(command)
    command.set_defaults(run=_synthesize)

    command = commands.add_parser(
        "baseline",
        help="score simple predictors that need no network",
        description="Scores simple predictors on the same split and labels as training.",
        epilog="example:\n  tuner model baseline --data data/mill --track recordings",
        formatter_class=Help,
    )
    _add_data(command)
    command.add_argument(
        "--track",
        choices=("recordings", "windows"),
        default="recordings",
        help="how to split, see docs/recordings.md",
    )
    command.add_argument("--split-seed", type=int, default=42, help="seed of the split (default: 42)")
    command.add_argument("--seed", type=int, default=0, help="seed of the trees (default: 0)")
    command.add_argument("--vocabulary", type=Path, metavar="FILE", help="published vocabulary to score with")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    add_common_options(command)
    command.set_defaults(run=_baseline)

    command = commands.add_parser(
        "train",
        help="train one network",
        description="Trains one network and keeps it in a run folder.",
        epilog="examples:\n  tuner model train --data data/mill --set epochs=5 --set d_model=96\n"
        "  tuner model train --data data/mill --config winner.yaml   # from tuner export NAME",
        formatter_class=Help,
    )
    _add_data(command)
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML or JSON file with config values; --set overrides them",
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a config value, see docs/config.md"
    )
    command.add_argument(
        "--seed",
        type=int,
        help="seed of weights, order of windows and augmentation (default: from the config)",
    )
    command.add_argument(
        "--output", type=Path, metavar="DIR", help="run folder (default: results/runs/single/NUMBER)"
    )
    command.add_argument("--json", action="store_true", help="print the metrics as one JSON object")
    add_common_options(command)
    command.set_defaults(run=_train)
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the data set (default: the only imported one, else simulated data)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
