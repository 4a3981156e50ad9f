"""Prints texts, tables and answers on a terminal.

The colours of states are those of Okabe and Ito (2008), which colour-blind people tell apart.
"""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tuner.claims.answer import Answer

GREEN, ORANGE, VERMILLION, SKY, PURPLE = "#009E73", "#E69F00", "#D55E00", "#56B4E9", "#CC79A7"
GREY = "#888888"
STATES = {  # of trials and agents
    "complete": GREEN,
    "pruned": ORANGE,
    "failed": VERMILLION,
    "interrupted": GREY,
    "running": SKY,
    "paused": PURPLE,
    "refused": VERMILLION,
    "overdue": VERMILLION,
}
Cell = str | Text
SENTENCE = 40  # longer cells stand on lines of their own where a table is too wide


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    right: Container[str] = (),
    whole: Container[str] = (),
    padding: tuple[int, ...] = (0, 2, 0, 0),
) -> Table:
    """A table without lines. Texts are shown as they are; a `Text` may have colours.

    Args:
        right: headings of columns that are aligned at the right. whole: of columns that are never wrapped.
    """
    made = Table(box=None, padding=padding, header_style="bold")  # type: ignore[arg-type]
    for heading in headings:
        justify = "right" if heading in right else "left"
        made.add_column(escape(heading), justify=justify, no_wrap=heading in whole)  # type: ignore[arg-type]
    for row in rows:
        made.add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def fitting(columns: Sequence[Sequence[str]], width: int) -> Table:
    """Columns with their headings as a table: as they are, turned by 90°, or a paragraph for each row.

    The first of these that fits into `width` characters.
    """
    across = list(zip(*columns, strict=True))
    for shape in (columns, across):
        if sum(max(map(len, cells)) + 2 for cells in shape) <= width:
            headings, *rows = zip(*shape, strict=True)
            return table(headings, rows, right=headings[1:], whole=headings, padding=(0, 1))
    grid = Table.grid(padding=(0, 1))
    names, longest = across[0][1:], max(len(cell) for row in across for cell in row)
    for place, *cells in across[1:]:
        words = (f"{name} {value}" for name, value in zip(names, cells, strict=True))
        grid.add_row(escape(place), escape(("\n" if longest > SENTENCE else ", ").join(words)))
    return grid


def show_answer(answer: Answer, console: Console, places: Sequence[str] = ()) -> None:
    """Prints an answer of `claims/judge.py` and the command that would decide it.

    Args:
        places: options of that command, which name the storage and the results folder.
    """
    say(answer.sentence, console)
    if answer.decide:
        runs = f" ({answer.to_decide})" if answer.to_decide else ""
        say(f"To decide{runs}:", console)
        say_commands({answer.decide: ""}, places, console)


def say(text: str, console: Console) -> None:
    """Prints a text: in whole words on a terminal, in one line elsewhere."""
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def say_whole(text: str, console: Console) -> None:
    """Prints a text in one line, which a terminal breaks where it ends."""
    console.print(text, markup=False, soft_wrap=True)


def say_commands(commands: Mapping[str, str], places: Sequence[str], console: Console) -> None:
    """Prints each command in one line, so that it can be copied, and beside it what it is for."""
    lines = [shlex.join([*shlex.split(command), *places]) for command in commands]
    width = max(map(len, lines))
    for line, purpose in zip(lines, commands.values(), strict=True):
        say_whole(f"  {line:<{width}}  {purpose}".rstrip(), console)
