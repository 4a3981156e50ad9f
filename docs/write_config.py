"""Writes docs/config.md from model/config.py (meaning, default, range) and studies/ (who varies a key).

python docs/write_config.py            # writes it
python docs/write_config.py --check    # exit 1 when it is stale
"""

from __future__ import annotations

import re
import sys
import typing
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

from model import config
from model.config import Config

DOCS = Path(__file__).parent
TARGET = DOCS / "config.md"
STUDIES = DOCS.parent / "studies"

INTRODUCTION = """\
# Configuration of a training run

<!-- written by docs/write_config.py from model/config.py; edit the comments there -->

A run's config is flat: `tuner model train --set d_model=192 --set loss_type=focal` sets keys by name,
a study varies them by name, and `config.json` in a run's folder has every value that was used, defaults
included. An unknown key, a value of the wrong type or out of range, and a `d_model` that is not a multiple
of `heads` are errors. The message has the key, the value, what was expected and the nearest valid name.

Lengths are in **rows** (a row is about 0.26 s), learning rates are per optimiser step, standard deviations
are multiples of a channel's standard deviation, probabilities are per window, from 0 to 1. A loss with weight
0 is not computed.
"""


def rows_by_section(source: str) -> dict[str, list[tuple[str, str]]]:
    """The fields of Config in their order: {section: [(key, comment)]}."""
    body = source[source.index("class Config") : source.index("def __post_init__")]
    sections: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in body.splitlines():
        if heading := re.match(r"    # -- (.+)", line):
            current = sections.setdefault(heading[1], [])
        elif field := re.match(r"    (\w+): [^=]+ = [^#]+?(?:  # (.+))?$", line):
            current.append((field[1], field[2] or ""))
    return sections


def studies_by_key(folder: Path) -> dict[str, list[str]]:
    """Which study files vary a key (rather than fix it): {key: [study names]}."""
    varied: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.yaml")):
        study = YAML(typ="safe").load(path) or {}
        for key, distribution in (study.get("parameters") or {}).items():
            if isinstance(distribution, dict) and "value" not in distribution:
                varied.setdefault(key, []).append(path.stem)
    return varied


def allowed(key: str) -> str:
    """The values that `key` takes, in words."""
    kind = typing.get_type_hints(Config)[key]
    if typing.get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if kind is bool:
        return "`true`, `false`"
    low, high = {name: (low, high) for name, low, high in config._RANGES}.get(key, (None, None))
    free = "text" if str in (kind, *typing.get_args(kind)) else "whole number"
    text = free if low is None else f"{low:,g} – {high:,g}"
    return f"{text} or `null`" if type(None) in typing.get_args(kind) else text


def page() -> str:
    """The whole text of config.md."""
    defaults: dict[str, Any] = Config().to_dict()
    varied = studies_by_key(STUDIES)
    parts = [INTRODUCTION]
    for section, rows in rows_by_section(Path(config.__file__).read_text(encoding="utf-8")).items():
        name, _, files = section.partition(" (")
        parts.append(f"## {name[0].upper()}{name[1:]}\n")
        parts.append(f"Read by {_code(files)}\n" if files else "")
        parts.append("| key | default | values | meaning | varied by |\n| --- | --- | --- | --- | --- |")
        for key, comment in rows:
            default = "null" if defaults[key] is None else str(defaults[key]).replace("True", "true")
            default = default.replace("False", "false")
            studies = ", ".join(f"`{study}`" for study in varied.get(key, []))
            parts.append(f"| `{key}` | {default} | {allowed(key)} | {comment} | {studies or '–'} |")
        parts.append("")
    return "\n".join(parts)


def _code(files: str) -> str:
    paths, _, rest = files.partition(")")
    return ", ".join(f"`{path}`" for path in paths.split(", ")) + (rest or "") + "."


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv:
        current = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
        if current != text:
            sys.exit("docs/config.md is stale: run `python docs/write_config.py`")
    else:
        TARGET.write_text(text, encoding="utf-8")
