"""Writes the report as one HTML page that needs no network, and its numbers as CSV files.

Its charts are drawn by `charts.js`, so the page is small. The content security policy names the hashes of the
page's own script and style: nothing else runs, whatever a study is called.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from tuner.base.files import make_folder, whole_file
from tuner.show.report import palette
from tuner.show.report.blocks import Cards, Document, Table, Text
from tuner.show.report.charts import MINOR, Chart, write_csv

HERE = Path(__file__).parent
DIGITS = 6  # of the numbers in the page; the CSV files have all


def write(document: Document, path: Path) -> list[Path]:
    """Writes the page to `path` and the numbers of its charts to `<stem>_data/`. Returns all files."""
    folder = data_folder(path)
    written = [write_csv(chart, folder) for chart in document.charts()]
    make_folder(path.parent)
    with whole_file(path) as beside:
        beside.write_text(render(document, data=folder.name), encoding="utf-8")
    return [path, *written]


def data_folder(path: Path) -> Path:
    """The folder of the CSV files of the report at `path`."""
    return path.with_name(f"{path.stem}_data")


def render(document: Document, *, data: str, live: Mapping[str, Any] | None = None) -> str:
    """The page as text. Jinja's autoescape escapes names from studies; charts set texts, never markup.

    Args:
        data: folder of the CSV files, relative to the page; "" if there are none.
        live: the version of a live page, its studies, and an example of a trial's values.
    """
    style = palette.css() + _read("page.css")
    script = "\n".join(map(_read, ("charts.js", "page.js", *(("live.js",) if live else ()))))
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        f"connect-src '{'self' if live else 'none'}'; base-uri 'none'; form-action 'none'"
    )
    names = {"STATES": palette.STATES, "GREY": palette.GREY, "MINOR": MINOR, "MARKS": palette.MARKS}
    return _template().render(
        document=document,
        data=data,
        style=style,
        script=script,
        policy=Markup(policy),
        live=live,
        names=_json(names),
        numbers=lambda plot: _json({"type": type(plot).__name__, **asdict(plot)}),
    )


@cache
def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests |= {
        name: lambda block, kind=kind: isinstance(block, kind)
        for name, kind in (("text", Text), ("table", Table), ("chart", Chart), ("cards", Cards))
    }
    return environment.get_template("page.html.j2")


def _digest(text: str) -> str:
    """The hash by which a content security policy allows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(value: object) -> Markup:
    """Compact JSON that can stand in a script. Numbers that are not finite become null: a gap."""
    return htmlsafe_json_dumps(_finite(value), separators=(",", ":"), ensure_ascii=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
