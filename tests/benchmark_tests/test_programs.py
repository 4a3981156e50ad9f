"""The tables of docs/programs.md are put where their markers are."""

from __future__ import annotations

import pytest
from bench_programs import MARK, put


def test_a_section_replaces_what_was_between_its_markers() -> None:
    page = (
        f"before\n{MARK.format('reading')}\nold\n<!-- end -->\nafter\n{MARK.format('live')}\n<!-- end -->\n"
    )
    found = put(page, "reading", ["| a |", "| b |"])
    assert found.splitlines()[:6] == [
        "before",
        MARK.format("reading"),
        "| a |",
        "| b |",
        "<!-- end -->",
        "after",
    ]
    assert put(found, "reading", ["| a |", "| b |"]) == found
    assert "old" not in found


def test_a_page_without_the_markers_is_refused() -> None:
    with pytest.raises(SystemExit, match="the page has no"):
        put("words", "reading", [])
