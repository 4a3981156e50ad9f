"""Reads from the text of a script what it does without arguments. Nothing of it is run.

Looked at are `add_argument("--lr", default=…)` of argparse, the options of click and typer's decorators
(`@click.option("--lr", default=…)`), and the dictionary given to `wandb.init(config=…)` or
`wandb.config.setdefaults(…)`. Values count where they are written down (a number, a text, a list).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tuner.base.nested import nested

OPTIONS = ("add_argument", "option")
CONFIGS = ("init", "setdefaults")


def defaults_in(program: Path, names: Collection[str]) -> dict[str, Any] | None:
    """The defaults of a script for all of `names`; None unless it states each of them."""
    try:
        tree = ast.parse(program.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    written = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found |= dict(_of_call(node, written))
    known = {name: _lookup(name, found) for name in names}
    if not names or any(value is _UNKNOWN for value in known.values()):
        return None
    return nested({tuple(name.split(".")): value for name, value in known.items()})


_UNKNOWN = object()


def _of_call(node: ast.Call, written: Mapping[str, ast.expr]) -> Iterator[tuple[str, Any]]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    if called in OPTIONS:
        flags = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        long = next((flag for flag in flags if flag.startswith("--")), None)
        value = _value(keywords.get("default"), written)
        if long is not None and value is not _UNKNOWN:
            name = _value(keywords.get("dest"), written)
            yield (name if isinstance(name, str) else long[2:].replace("-", "_")), value
            yield long[2:], value
    elif called in CONFIGS:
        given = keywords.get("config") if called == "init" else next(iter(node.args), None)
        config = _value(given, written)
        if isinstance(config, dict):
            yield from config.items()


def _value(node: ast.expr | None, written: Mapping[str, ast.expr]) -> Any:
    if isinstance(node, ast.Name):
        node = written.get(node.id)
    if node is None:
        return _UNKNOWN
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        node = ast.Dict([ast.Constant(k.arg) for k in node.keywords], [k.value for k in node.keywords])
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _UNKNOWN


def _lookup(name: str, found: Mapping[str, Any]) -> Any:
    value: Any = found
    for part in (name,) if name in found else name.split("."):
        value = value.get(part, _UNKNOWN) if isinstance(value, Mapping) else _UNKNOWN
    return value
