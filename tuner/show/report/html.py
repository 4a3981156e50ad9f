"""Writes the report as one HTML page that needs no network, and its numbers as CSV files."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from tuner.base.files import whole_file
from tuner.show.report import plotly_charts
from tuner.show.report.blocks import Document, Table, Text
from tuner.show.report.charts import Chart, write_csv

HERE = Path(__file__).parent


def write(document: Document, path: Path) -> list[Path]:
    """Writes the page to `path` and the numbers of its charts to `<stem>_data/`. Returns all files."""
    from plotly.offline import get_plotlyjs

    folder = data_folder(path)
    written = [write_csv(chart, folder) for chart in document.charts()]
    page = render(document, data=folder.name, plotly=get_plotlyjs())
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_text(page, encoding="utf-8")
    return [path, *written]


def data_folder(path: Path) -> Path:
    """The folder of the CSV files of the report at `path`."""
    return path.with_name(f"{path.stem}_data")


def render(document: Document, *, data: str, plotly: str) -> str:
    """The page as text. Jinja's autoescape escapes names from studies; `escape` escapes texts in charts.

    Args:
        data: folder of the CSV files, relative to the page.
        plotly: the source of plotly.js.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests |= {
        "text": lambda block: isinstance(block, Text),
        "table": lambda block: isinstance(block, Table),
        "chart": lambda block: isinstance(block, Chart),
    }
    environment.policies["json.dumps_function"] = _dumps
    return environment.get_template("page.html.j2").render(
        document=document,
        data=data,
        plotly=plotly,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        figures=plotly_charts.figures,
    )


def _dumps(value: object, **options: object) -> str:
    """Compact JSON. Numbers that are not finite become null, which plotly draws as a gap."""
    return json.dumps(_finite(value), separators=(",", ":"), ensure_ascii=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6) if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
