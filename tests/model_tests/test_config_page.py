"""docs/config.md: every key, with a meaning, as the code has it."""

from __future__ import annotations

import runpy
from pathlib import Path

from model.config import Config

ROOT = Path(__file__).parents[2]


def rows() -> dict[str, list[str]]:
    lines = (ROOT / "docs" / "config.md").read_text(encoding="utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_key_is_on_the_page_with_a_meaning_and_no_other() -> None:
    assert set(rows()) == set(Config().to_dict())
    assert [key for key, row in rows().items() if not row[2]] == []


def test_the_page_is_what_the_code_and_the_studies_say() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "write_config.py"))["page"]
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == page(), "run docs/write_config.py"
