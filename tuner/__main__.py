"""Runs studies of your training script, and says whether their winners are really better."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

try:
    HERE = Path.cwd()
except FileNotFoundError:
    sys.exit("error: the current folder is not there any more; change to one that is")
# `python -m tuner` puts the current folder first on the path. What lies there is the user's: its `model.py`,
# `utils.py` or `studies/` must not stand in for a module of this project.
if sys.path[:1] in ([""], [str(HERE)]) and Path(__file__).resolve().parents[1] != HERE:
    del sys.path[0]

import argparse

from tuner import commands
from tuner.base import plugins
from tuner.base.command_line import Help, Parser, Version, program_name, run_command, write_error
from tuner.base.errors import InputError

EXAMPLES = """\
examples:
  {program} study sweep.yaml --agents 2      run a study of your script, or continue it
  {program} list                             the studies of this folder, and what they found
  {program} verdict NAME                     is the best configuration of a study really better?
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command of the tuner, or a program that is installed beside it (`tuner ensemble …`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        other = plugins.program(words[0]) if words else None
    except InputError as error:
        write_error(error)
        return 2
    return run_command(build_parser(), words) if other is None else other(words[1:])


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; nothing heavy is imported before one of them runs."""
    program = program_name("tuner")
    parser = Parser(
        prog=program,
        description=__doc__,
        epilog=EXAMPLES.format(program=program),
        formatter_class=Help,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and leave")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (*commands.ALL, *plugins.modules(plugins.COMMANDS)):
        module.add(subparsers)
    for name in plugins.installed(plugins.PROGRAMS):
        subparsers.add_parser(name, add_help=False, help=f"another program: {program} {name} -h")
    parser.set_defaults(parser=parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
