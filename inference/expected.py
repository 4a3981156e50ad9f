"""Compares an expected G-code file with the merged programs of a library, move by move.

Modal words, line numbers and comments do not count: a move is its mode (G0 – G3) with the coordinates that
its line names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from model.library import Library
from model.merged_program import MergedProgram, merged
from model.tokens import canonical
from tuner.base.errors import InputError
from tuner.base.files import check_file

AXES = "XYZIJKR"
LARGEST = 16 * 2**20  # bytes of a program
_WORD = re.compile(r"([A-Z])([+-]?(?:\d+\.?\d*|\.\d+))")
Move = tuple[str, tuple[tuple[str, float], ...]]


@dataclass(frozen=True)
class Difference:
    """The first place where a known program leaves an expected one: both lines, and its line number."""

    expected: str
    found: str
    number: int


def read_program(path: Path) -> list[str]:
    """The canonical lines of a G-code file.

    Raises:
        InputError: it cannot be read, or has no move.
    """
    try:
        text = check_file(path, LARGEST).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"--program {path}: {error.strerror or error}") from None
    lines = [line for line in map(canonical, text.splitlines()) if line]
    if not moves_of(lines):
        raise InputError(f"--program {path}: no move in it; expected lines such as G1 X1.5 Y2")
    return lines


def moves_of(lines: Iterable[str]) -> list[tuple[Move, str]]:
    """The moves of a program, each with its line."""
    mode, found = "", []
    for line in lines:
        values = []
        for letter, number in _WORD.findall(line):
            if letter == "G" and number in ("0", "1", "2", "3"):
                mode = f"G{number}"
            elif letter in AXES:
                values.append((letter, round(float(number), 4)))
        if values:
            found.append(((mode, tuple(values)), line))
    return found


def operations_of(library: Library, expected: list[str]) -> list[str]:
    """The operations whose merged program the expected one contains."""
    if not library.numbered:
        raise InputError("--program: the library has no line numbers; import its recordings again")
    found = []
    for operation in sorted(set(library.operations)):
        k = int((library.operations == operation).argmax())
        if difference(expected, merged(library, k)) is None:
            found.append(operation)
    return found


def difference(expected: list[str], program: MergedProgram) -> Difference | None:
    """The first place where a known program is not the expected one; None if there is none.

    Lines that no log caught may be anything, so expected moves between two known lines are accepted if so
    many line numbers lie between them.
    """
    texts = program.texts()
    wanted, own = moves_of(expected), moves_of(texts)
    by_text = {text: line.number for text, line in zip(texts, program.lines, strict=True)}
    number = [by_text[text] for _, text in own]
    codes = {move: code for code, move in enumerate(dict.fromkeys(m for m, _ in [*wanted, *own]))}
    ours, theirs = ([codes[m] for m, _ in moves] for moves in (own, wanted))
    for kind, a, a_end, b, _ in SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        hidden = number[b] - number[b - 1] - 1 if 0 < b < len(own) else number[0] if b == 0 else 0
        if kind == "equal" or (kind == "delete" and a_end - a <= hidden):
            continue
        there = wanted[a][1] if a < len(wanted) else "(the end)"
        found = own[b][1] if b < len(own) else "(the end)"
        return Difference(expected=there, found=found, number=number[min(b, len(own) - 1)])
    return None
