"""Phrases that readers stumbled over come back in no string, comment or page."""

from __future__ import annotations

import re
from pathlib import Path

import figures

ROOT = Path(__file__).parents[1]
ROOMS = ("benchmarks", "docs", "ensemble", "examples", "inference", "model", "tests", "tuner")
BANNED = (
    "0 doubled",
    "says in the morning",
    "these are those of",
    "programs that they were made by",
    "is not shown to differ",
    "about 1 more runs",
    "smaller but real",
    "matters from",
    r"lets? go of",
    r"put back|puts? (?:it|its trial|their trials|the trial|a trial|trials) back",  # returned to the queue
    r"""["'|] ?asks ?["'|]""",  # a column; the word for it is question
)


def test_phrases_that_readers_stumbled_over_are_nowhere() -> None:
    pattern = re.compile("|".join(BANNED), re.IGNORECASE)
    paths = [*ROOT.glob("*.md"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.[pm][yd]"))]
    found = []
    for path in set(paths) - {ROOT / "CHANGELOG.md", Path(__file__)}:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":  # its lines are wrapped, and its figures stand between marks
            text = " ".join(figures.MARK.sub(lambda mark: mark["value"], text).split())
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert len(paths) > 500 and sorted(found) == []
