"""Prints an answer of `claims/judge.py` on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console

from tuner.claims.answer import Answer

COMMAND = 34  # characters of a command, before what it is for


def show_answer(answer: Answer, console: Console, places: Sequence[str] = ()) -> None:
    """Prints an answer and the command that would decide it.

    Args:
        places: options of that command, which name the storage and the results folder.
    """
    say(answer.sentence, console)
    if answer.decide:
        runs = f" ({answer.to_decide})" if answer.to_decide else ""
        say(f"To decide{runs}:", console)
        say_command(shlex.split(answer.decide), places, console)


def say(text: str, console: Console) -> None:
    """Prints a text: in whole words on a terminal, in one line elsewhere."""
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def say_command(words: Sequence[str], places: Sequence[str], console: Console, what: str = "") -> None:
    """Prints a command in one line, so that it can be copied, and `what` it is for."""
    command = shlex.join([*words, *places])
    console.print(f"  {command:<{COMMAND}}  {what}".rstrip(), markup=False, soft_wrap=True)
