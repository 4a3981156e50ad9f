"""`completion`: what a shell needs to complete this program's commands, options and files."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tuner.commands import options as opt

SHELLS = ("bash", "zsh", "tcsh")
DESCRIPTION = """\
Prints a script for the shell. With it the tab key completes commands, options and files of tuner.
  bash: eval "$(tuner completion bash)" in ~/.bashrc
  zsh:  tuner completion zsh > _tuner, in a folder of $fpath
  tcsh: tuner completion tcsh > FILE, and `source FILE` in ~/.tcshrc"""


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "completion",
        "completion for bash, zsh or tcsh",
        DESCRIPTION,
        'eval "$(tuner completion bash)"',
    )
    parser.add_argument("shell", choices=SHELLS, help="your shell")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    import shtab

    parser: argparse.ArgumentParser = options.parser
    parser.prog = "tuner"
    _files(parser, {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY})
    sys.stdout.write(shtab.complete(parser, shell=options.shell) + "\n")


def _files(parser: argparse.ArgumentParser, kinds: dict[str, Any]) -> None:
    """Marks the arguments, of subcommands too, whose words on the help page say that they are files."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                _files(inner, kinds)
        for word, kind in kinds.items():
            if word in str(action.metavar or ""):
                action.complete = kind  # type: ignore[attr-defined]
