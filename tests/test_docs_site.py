"""The documentation's site: its reference pages are what the code says, and its menu has every page."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import figures
import pytest
import yaml

import tuner

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MEASURED = (
    *("benchmarks", "ensemble", "model_card", "programs", "reliability"),
    *("results", "search", "search_measured", "trust"),
)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["command_line.md", "study_files.md"])
def test_the_reference_is_what_the_code_says(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNER_RESULTS", raising=False)
    assert script("write_reference").PAGES[page]() == (DOCS / page).read_text(), "run docs/write_reference.py"


def pages_of(menu: Any) -> Iterator[str]:
    for entry in menu:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(target, str):
                yield target
            else:
                yield from pages_of(target)


def test_the_menu_has_every_page_once() -> None:
    found = sorted(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    written = {path.name for path in DOCS.glob("*.md")} - {"results_template.md"}
    assert found == sorted(written | set(script("site_hook").PAGES))


@pytest.mark.parametrize(
    ("page", "begins", "link"),
    [
        ("index.md", "# tuner", "](contributing.md)"),
        ("changelog.md", "# Changelog", "](programs.md)"),
        ("contributing.md", "# Contributing", ""),
    ],
)
def test_pages_from_outside_docs_have_links_that_hold_on_the_site(page: str, begins: str, link: str) -> None:
    text = script("site_hook").text_of(page)
    assert text.startswith(begins) and link in text and "](docs/" not in text


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "python.md").read_text()
    assert [name for name in tuner.__all__ if f"::: tuner.{name}\n" not in text] == []


def test_pages_show_the_stored_figures() -> None:
    stale = [path.name for path, text in script("write_figures").pages().items() if path.read_text() != text]
    assert stale == [], "run docs/write_figures.py"


def test_every_stored_figure_has_its_command_date_and_machine_and_is_shown() -> None:
    pages = "".join(path.read_text() for path in script("write_figures").pages())
    for key, figure in figures.load().items():
        assert figure["command"] and figure["date"] and figure["machine"], key
        assert f"<!--={key}" in pages, f"{key}: no page shows it"


def test_measured_pages_have_no_table_of_figures_of_their_own() -> None:
    for name in MEASURED:
        text = figures.MARK.sub("", (DOCS / f"{name}.md").read_text())
        assert [line for line in text.splitlines() if re.match(r"\|.*\| [+-]?\d+\.\d+ ", line)] == [], name


def test_no_line_begins_with_a_figure() -> None:
    """Markdown takes a line that begins with a comment for HTML, and shows its `**` as they are."""
    for path in script("write_figures").pages():
        assert not re.search(r"^\s*(?:[-*>] )?<!--=[^>]*-->.", path.read_text(), re.MULTILINE), path.name


def test_a_page_without_its_figure_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"scale\.nothing"):
        figures.filled("a <!--=scale.nothing-->1<!--/-->", figures.load())


def test_recorded_figures_go_where_their_marks_are(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    figures.record(
        {"a.b": "2", "a.c": ["| x |", "| 3 |"]}, command="python a.py", units={"a.b": "%"}, file=file
    )
    figures.record({"a.b": "4"}, command="python a.py", file=file)
    page = "it is <!--=a.b-->1<!--/--> %\n\n<!--=a.c-->\n| old |\n<!--/-->\n"
    filled = figures.filled(page, figures.load(file))
    assert filled == "it is <!--=a.b-->4<!--/--> %\n\n<!--=a.c-->\n| x |\n| 3 |\n<!--/-->\n"
    assert figures.found_in(filled) == ({"a.b": "4", "a.c": ["| x |", "| 3 |"]}, {})


def test_the_readme_begins_with_what_it_is_and_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert "training script" in lines[2]
    assert [any(line.startswith(f"make {name} ") for line in lines[:25]) for name in ("run", "test")] == [
        True
    ] * 2


def test_the_comparison_with_sources_is_that_of_the_readme() -> None:
    lists = [
        re.search(
            r"^- \*\*Your W&B sweep file and script\*\*.*?\n\n", path.read_text(), re.MULTILINE | re.DOTALL
        )
        for path in (ROOT / "README.md", DOCS / "from_wandb_sweeps.md")
    ]
    assert lists[0] and lists[1] and lists[0][0] == lists[1][0]


def test_the_sweep_file_of_the_readme_is_a_part_of_the_example() -> None:
    block = re.search(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    shown = yaml.safe_load(block[1])
    whole = yaml.safe_load((ROOT / "examples" / "digits" / "sweep.yaml").read_text())
    whole["parameters"] = {name: whole["parameters"][name] for name in shown["parameters"]}
    assert {key: whole[key] for key in shown} == shown


def test_tables_of_the_readme_fit_on_a_phone() -> None:
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|")]
    assert rows and max(line.count("|") for line in rows) <= 3


def test_pictures_fetch_nothing_from_elsewhere() -> None:
    for path in (DOCS / "pictures").glob("*.svg"):
        assert not re.search(r"(?:href|src)=\"http|@import|url\(http", path.read_text()), path.name


def test_every_option_has_a_sentence() -> None:
    rows = [
        line.split(" | ") for line in (DOCS / "command_line.md").read_text().splitlines() if line[:3] == "| `"
    ]
    assert len(rows) > 150
    assert [row[0] for row in rows if not row[-1].strip(" |")] == []
