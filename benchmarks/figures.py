"""The measured figures of README and docs. All are in `docs/figures.json`; only scripts write there.

Benchmarks with `--write` and `docs/write_results.py` call `record`. In a page a figure is between two marks,
and `python docs/write_figures.py` puts it there:

    needs <!--=anytime.lowest-->0.3<!--/--> of the epochs

    <!--=scale.hosts-->
    | a table | of lines |
    <!--/-->
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "figures.json"
MARK = re.compile(r"<!--=(?P<key>[\w.]+)(?: (?P<unit>[^>\n]+?))?-->(?P<value>.*?)<!--/-->", re.DOTALL)

Value = str | Sequence[str]  # a figure as it is shown, or the lines of a table


class Lines(list[str]):
    """Lines of Markdown, printed as they come."""

    def say(self, *lines: str) -> None:
        """Adds lines as they are."""
        self += lines
        print(*lines, sep="\n", flush=True)

    def row(self, *cells: object) -> None:
        """Adds a row of a table."""
        self.say(f"| {' | '.join(map(str, cells))} |")

    def head(self, *columns: str, words: Collection[int] = (0,)) -> None:
        """Begins a table; `words` are the places of the columns that are no numbers."""
        self.row(*columns)
        self.row(*("---" if place in words else "--:" for place in range(len(columns))))


def parser(about: str | None) -> argparse.ArgumentParser:
    """The arguments that all benchmarks have; `about` is the text of `--help`."""
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--write", action="store_true", help="store the figures for the docs")
    return found


def own_command() -> str:
    """The command line of the benchmark that runs, without `--write`."""
    script = Path(sys.argv[0]).name
    return "python " + shlex.join([f"benchmarks/{script}", *(w for w in sys.argv[1:] if w != "--write")])


def record(
    values: Mapping[str, Value],
    *,
    command: str = "",
    units: Mapping[str, str] | None = None,
    measured: date | None = None,
    file: Path = FILE,
) -> None:
    """Adds figures to the file, or replaces those of the same key.

    Args:
        values: by key (`scale.hosts`: part before the dot for the benchmark): what a page shows.
        command: what prints them; default: the one that runs. units: by key. measured: default: today.
    """
    stored = load(file)
    about = {
        "command": command or own_command(),
        "date": (measured or date.today()).isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",  # without its name
    }
    for key, value in values.items():
        shown: dict[str, Any] = {"value": value} if isinstance(value, str) else {"lines": list(value)}
        if unit := (units or {}).get(key):
            shown["unit"] = unit
        stored[key] = shown | about
    text = json.dumps(dict(sorted(stored.items())), indent=1, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def load(file: Path = FILE) -> dict[str, dict[str, Any]]:
    """All figures by key: `value` or `lines`, `unit`, `command`, `date`, `machine`."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def found_in(page: str) -> tuple[dict[str, Value], dict[str, str]]:
    """The figures between the marks of a page, and their units."""
    values: dict[str, Value] = {}
    units: dict[str, str] = {}
    for mark in MARK.finditer(page):
        key, unit, value = mark["key"], mark["unit"], mark["value"]
        values[key] = value.strip("\n").split("\n") if "\n" in value else value
        if unit:
            units[key] = unit
    return values, units


def filled(page: str, stored: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the stored figures between its marks.

    Raises:
        KeyError: a key of the page that is not stored.
    """

    def shown(mark: re.Match[str]) -> str:
        figure = stored[mark["key"]]
        value = figure.get("value") or "\n".join(["", *figure["lines"], ""])
        begin = mark[0][: mark.start("value") - mark.start()]
        return f"{begin}{value}<!--/-->"

    return MARK.sub(shown, page)
