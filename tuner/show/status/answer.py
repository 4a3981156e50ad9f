"""Prints an answer of `claims/judge.py` on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console

from tuner.claims.answer import Answer


def show_answer(answer: Answer, console: Console, places: Sequence[str] = ()) -> None:
    """Prints an answer and the command that would decide it.

    Args:
        places: options of that command, which name the storage and the results folder.
    """
    say(answer.sentence, console)
    if answer.decide:
        runs = f" ({answer.to_decide})" if answer.to_decide else ""
        say(f"To decide{runs}:", console)
        say_commands([shlex.split(answer.decide)], [""], places, console)


def say(text: str, console: Console) -> None:
    """Prints a text: in whole words on a terminal, in one line elsewhere."""
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def say_commands(
    commands: Sequence[Sequence[str]], purposes: Sequence[str], places: Sequence[str], console: Console
) -> None:
    """Prints each command in one line, so that it can be copied, and beside it what it is for."""
    lines = [shlex.join([*words, *places]) for words in commands]
    width = max(map(len, lines))
    for line, purpose in zip(lines, purposes, strict=True):
        console.print(f"  {line:<{width}}  {purpose}".rstrip(), markup=False, soft_wrap=True)
