"""`python -m model`: recordings in, a trained run out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# The current folder is the user's: its files must not stand in for modules of this project.
if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).resolve().parents[1] != Path.cwd():
    del sys.path[0]

from tuner.base.command_line import Help, add_common_options, program_name, run_command


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
    parser = argparse.ArgumentParser(prog=program_name("model"), description=__doc__, formatter_class=Help)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "import",
        help="recordings (.csv, .csv.gz) into a data set",
        description="Reads recordings into a compact data set and says what was found and dropped.",
        epilog="example:\n  python -m model import ~/recordings --to data/mill",
        formatter_class=Help,
    )
    command.add_argument("sources", nargs="+", metavar="DIR", help="folders or files")
    command.add_argument("--to", type=Path, help="the data set's folder (default: data/ and the first name)")
    command.add_argument("--json", action="store_true", help="the report as one JSON object")
    add_common_options(command)
    command.set_defaults(run=_import)

    command = commands.add_parser(
        "synthesize",
        help="the simulator's recordings",
        description="Makes recordings of a simulated mill: six operations, each run several times.",
        epilog="example:\n  python -m model synthesize --csv recordings --recordings 2",
        formatter_class=Help,
    )
    command.add_argument("--to", type=Path, default=Path("data/simulator"), help="default: data/simulator")
    command.add_argument("--csv", type=Path, metavar="DIR", help="write .csv.gz files there instead")
    command.add_argument("--seed", type=int, default=0, help="equal seeds give equal recordings (default: 0)")
    command.add_argument(
        "--recordings", type=int, default=6, metavar="N", help="of each operation (default: 6)"
    )
    command.add_argument(
        "--operations", nargs="+", metavar="NAME", help="such as face pocket (default: all six)"
    )
    command.add_argument("--scale", type=float, default=1.0, help="of the programs' length (default: 1)")
    add_common_options(command)
    command.set_defaults(run=_synthesize)

    command = commands.add_parser(
        "baseline",
        help="what is reached without a network",
        description="Scores simple predictors on the parts and labels that training uses.",
        epilog="example:\n  python -m model baseline --data data/mill --track recordings",
        formatter_class=Help,
    )
    _add_data(command)
    command.add_argument("--track", choices=("recordings", "windows"), default="recordings", help="see docs")
    command.add_argument("--split-seed", type=int, default=42, help="of the recordings' parts (default: 42)")
    command.add_argument("--seed", type=int, default=0, help="of the trees (default: 0)")
    command.add_argument("--vocabulary", type=Path, metavar="FILE", help="a published vocabulary to count in")
    command.add_argument("--json", action="store_true", help="one JSON object")
    add_common_options(command)
    command.set_defaults(run=_baseline)

    command = commands.add_parser(
        "train",
        help="one run, for trying things",
        description="Trains one network and keeps it in a run folder.",
        epilog="examples:\n  python -m model train --data data/mill --set epochs=5 --set d_model=96\n"
        "  python -m model train --data data/mill --config winner.yaml   # of tuner export NAME",
        formatter_class=Help,
    )
    _add_data(command)
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML or JSON with values; --set goes over it"
    )
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="see docs/config.md")
    command.add_argument(
        "--seed", type=int, help="of weights, order and augmentation (default: the config's)"
    )
    command.add_argument("--output", type=Path, metavar="DIR", help="default: results/runs/single/<number>")
    command.add_argument("--json", action="store_true", help="the metrics as one JSON object")
    add_common_options(command)
    command.set_defaults(run=_train)
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a data set (default: the only imported one, else the simulator's)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
