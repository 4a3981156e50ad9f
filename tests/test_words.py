"""Phrases that readers stumbled over come back in no string, comment or page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).name
BANNED = (
    r"\b0 doubled\b",
    r"says in the morning",
    r"these are those of",
    r"programs that they were made by",
    r"is not shown to differ",
    r"\babout 1 more runs\b",
    r"smaller but real",
    r"matters from",
    r"\blets? go of\b",
    r"\bput back\b",  # of a trial: returned to the queue
    r"\bputs? (?:it|its trial|their trials|the trial|a trial|trials) back\b",
    r"""["'|] ?asks ?["'|]""",  # a column; the word for it is question
)


def files() -> list[Path]:
    """The sources and pages of the project; a wheel has no such list."""
    try:
        names = subprocess.run(
            ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.suffix in (".py", ".md")]
    hidden = ("CHANGELOG.md", HERE)
    return [ROOT / name for name in names if Path(name).name not in hidden and not name.startswith(".")]


@pytest.mark.parametrize("phrase", BANNED)
def test_a_phrase_that_readers_stumbled_over_is_nowhere(phrase: str) -> None:
    found = []
    for path in files():
        space = r"\s+" if path.suffix == ".md" else " "  # pages wrap their lines
        pattern = re.compile(phrase.replace(" ", space), re.IGNORECASE)
        text = path.read_text(encoding="utf-8")
        found += [
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}"
            for match in pattern.finditer(text)
        ]
    assert found == []
