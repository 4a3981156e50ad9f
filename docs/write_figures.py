"""Writes the figures in README.md from the pages that the benchmarks' output is on.

python docs/write_figures.py            # writes them
python docs/write_figures.py --check    # exit 1 when they are stale
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: python docs/write_figures.py -->\n", "<!-- end of figures -->"


class Figure(NamedTuple):
    """A measured figure.

    Attributes:
        page: where the output of `command` is; found: a pattern with groups; words: a sentence with them.
    """

    page: str
    found: str
    words: str
    command: str


FIGURES = (
    Figure(
        "docs/reliability.md",
        r"^kills passed \d+ studies, (\d+) kills [^$]*?(\d+) trials finished[^$]*?"
        r"(\d+) lost, (\d+) doubled, (\d+) orphans",
        "**{2} lost, {3} doubled** of {1} trials, and {4} processes left, after agents and supervisors were "
        "killed {0} times",
        "python benchmarks/bench_reliability.py --kills 75 kills",
    ),
    Figure(
        "docs/trust.md",
        r"^\| best score on one split \|.*\| (\d+)% \|\n(?:.*\n)*?\| race with the default .*\| (\d+)% \|",
        "**{1} %** of simulated studies end with a winner that is worse than the default; it is {0} % if the "
        "best score wins",
        "python benchmarks/bench_trust.py",
    ),
    Figure(
        "docs/programs.md",
        r"^\| part test, .*\n(?:\|.*\n)*?"
        r"\| vote of known recordings \| [^|]*\| ([\d.]+) \[([\d.]+)–([\d.]+)\]",
        "**{0} %** [{1}–{2}] of the rows of held-out real recordings of known programs get the right line of "
        "G-code",
        "python benchmarks/bench_programs.py --data data/mill",
    ),
)


def block() -> str:
    """The table of figures."""
    rows = []
    for figure in FIGURES:
        match = re.search(figure.found, (ROOT / figure.page).read_text(encoding="utf-8"), re.MULTILINE)
        if match is None:
            sys.exit(f"{figure.page}: the figure of `{figure.command}` is not there")
        words = figure.words.format(*match.groups())
        rows.append(f"| {words} | `{figure.command}` | [{Path(figure.page).stem}]({figure.page}) |\n")
    return "".join(["| measured | by | more |\n| --- | --- | --- |\n", *rows])


def page() -> str:
    """README.md with the figures as they are now."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + block() + END + rest.partition(END)[2]


if __name__ == "__main__":
    text = page()
    if "--check" not in sys.argv:
        README.write_text(text, encoding="utf-8")
    elif text != README.read_text(encoding="utf-8"):
        sys.exit("README.md is stale: run `python docs/write_figures.py`")
