"""`python -m tuner`, `gcode-tuner`: studies, from their list to their winner."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

# `python -m tuner` puts the current folder first on the path. What lies there is the user's: its `model.py`,
# `utils.py` or `studies/` must not stand in for a module of this project.
if sys.path[:1] in ([""], [str(Path.cwd())]) and Path(__file__).resolve().parents[1] != Path.cwd():
    del sys.path[0]

import argparse

from tuner import commands
from tuner.base import plugins
from tuner.base.command_line import Help, program_name, run_command, version

EXAMPLES = """\
examples:
  {program} list                                   what there is to run, what it costs, how far it is
  {program} study loss_weighting --agents 2        run a study, or go on with it
  {program} best loss_weighting                    its best trials
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command of the tuner, or a program that is installed beside it (`gcode-tuner ensemble …`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and (other := plugins.program(words[0])) is not None:
        return other(words[1:])
    return run_command(build_parser(), words)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; nothing heavy is imported before one of them runs."""
    program = program_name("tuner")
    parser = argparse.ArgumentParser(
        prog=program,
        description=__doc__,
        epilog=EXAMPLES.format(program=program),
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=version())
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in commands.ALL:
        module.add(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
