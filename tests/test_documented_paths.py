"""Files, tests and examples that the pages name are there, and excerpts say what the files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tuner.definition.loading import load_study_file

ROOT = Path(__file__).parent.parent
PAGES = sorted(["README.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))])
OWN_SCRIPT = "docs/own_script.md"
NAMED = re.compile(r"\b(?:tests|benchmarks|examples)/[\w/]+\.(?:py|yaml)\b")
SELECTED = re.compile(r"pytest (tests/\S+\.py) -k (\w+)")
EXCERPT = re.compile(r"^```\w+\n# (examples/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    assert [name for name in sorted(set(NAMED.findall(text_of(page)))) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_selection_of_tests_selects_some(page: str) -> None:
    for file, word in SELECTED.findall(text_of(page)):
        assert re.search(rf"def test_\w*{word}", text_of(file)), f"{page}: pytest {file} -k {word}"


def test_excerpts_of_examples_are_lines_of_their_files_in_order() -> None:
    excerpts = EXCERPT.findall(text_of(OWN_SCRIPT))
    assert len(excerpts) > 10
    for file, excerpt in excerpts:
        rest = iter(text_of(file).splitlines())
        missing = [line for line in excerpt.splitlines() if line not in rest]
        assert missing == [], f"not in {file}, or not in this order"


def test_the_page_runs_every_example_and_names_its_study() -> None:
    page = text_of(OWN_SCRIPT)
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("examples/*/*.yaml")}
    assert set(re.findall(r"^    tuner study (\S+)", page, re.MULTILINE)) == files
    studies = {load_study_file(ROOT / file).name for file in files}
    assert set(re.findall(r"^    tuner (?:best|export) ([\w-]+)", page, re.MULTILINE)) <= studies
