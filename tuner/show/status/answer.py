"""Prints an answer of `claims/judge.py` on a terminal."""

from __future__ import annotations

from rich.console import Console

from tuner.claims.answer import Answer


def show_answer(answer: Answer, console: Console) -> None:
    """Prints an answer and the command that would decide it."""
    console.print(answer.sentence, markup=False, soft_wrap=True)
    if answer.decide:
        runs = f" ({answer.to_decide})" if answer.to_decide else ""
        console.print(f"To decide{runs}: {answer.decide}", markup=False, soft_wrap=True)
