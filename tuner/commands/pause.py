"""`pause`: as `stop`, and says how to go on."""

from __future__ import annotations

from tuner.commands import options as opt
from tuner.commands.stop import add_verb


def add(subparsers: opt.Subparsers) -> None:
    add_verb(subparsers, "pause", summary="like stop; prints the command that continues")
