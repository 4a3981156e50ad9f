"""A study that is written in Python: a dictionary for its space, and shorthands for the usual ranges.

| in the dictionary | means |
| --- | --- |
| `(low, high)` | a range; two whole bounds give whole numbers |
| `[a, b, c]` | one of these values |
| `log(low, high)`, `steps(low, high, step)`, `normal(mu, sigma)` | other distributions |
| a dictionary | what a sweep file says: `{"distribution": "beta", "a": 2, "b": 5}` |
| anything else | a constant |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.base.errors import InputError
from tuner.base.words import slug
from tuner.definition.loading import from_plain
from tuner.definition.study_file import StudyFile

_WHERE = re.compile(r"^.*?\.yaml(:\d+)?: ")  # the file and line of a message: there is no file


def log(low: float, high: float) -> dict[str, Any]:
    """A range on a logarithmic scale; two whole bounds give whole numbers."""
    quantised = {"q": 1} if type(low) is type(high) is int else {}
    kind = "q_log_uniform_values" if quantised else "log_uniform_values"
    return {"distribution": kind, "min": low, "max": high, **quantised}


def steps(low: float, high: float, step: float) -> dict[str, Any]:
    """The multiples of `step` from `low` to `high`."""
    return {"distribution": "q_uniform", "min": low, "max": high, "q": step}


def normal(mu: float, sigma: float) -> dict[str, Any]:
    """A normal distribution."""
    return {"distribution": "normal", "mu": mu, "sigma": sigma}


def study_from_python(
    name: str,
    space: Mapping[str, Any] | None,
    *,
    metric: str,
    goal: str,
    method: str,
    own: Mapping[str, Any],
) -> StudyFile:
    """The study file of a dictionary space; None: the objective draws its own.

    Args:
        own: the keys under `tuner:`; those that are None are left out.

    Raises:
        InputError: the study or the parameter, and what was expected.
    """
    if not (space is None or isinstance(space, Mapping)):
        raise InputError(f"study '{name}': expected a dictionary as space, got {space!r}")
    raw = {
        "name": name,
        "method": method,
        "metric": {"name": metric, "goal": goal},
        **({} if space is None else {"parameters": _parameters(space, ())}),
        "tuner": {key: _plain(value, key) for key, value in own.items() if value is not None},
    }
    path = Path.cwd() / f"{slug(name)}.yaml"
    try:
        return from_plain(raw, name=slug(name), path=path)
    except InputError as error:
        raise InputError(f"study '{name}': {_WHERE.sub('', str(error))}") from None


def _parameters(space: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    return {str(name): _parameter(value, (*path, str(name))) for name, value in space.items()}


def _parameter(value: Any, path: tuple[str, ...]) -> dict[str, Any]:
    """A parameter as a sweep file has it."""
    name = ".".join(path)
    if isinstance(value, Mapping):
        if isinstance(value.get("parameters"), Mapping):
            return {**value, "parameters": _parameters(value["parameters"], path)}
        return {str(key): _plain(inner, f"{name}.{key}") for key, inner in value.items()}
    if isinstance(value, tuple):
        bounds = [_plain(bound, name) for bound in value]
        if len(bounds) != 2 or not all(type(bound) in (int, float) for bound in bounds):
            raise InputError(
                f"parameter '{name}': expected (low, high), got {value!r}; use a list for choices"
            )
        return {"min": bounds[0], "max": bounds[1]}
    if isinstance(value, list):
        return {"values": [_plain(choice, name) for choice in value]}
    return {"value": _plain(value, name)}


def _plain(value: Any, name: str) -> Any:
    """`value` as JSON has it; numbers of numpy become Python's."""
    if callable(getattr(value, "item", None)) and not getattr(value, "shape", ()):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, name) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, name) for inner in value]
    raise InputError(
        f"'{name}': expected numbers, text, true or false, or lists of them, got {value!r}; give its name, "
        "and let the function look it up"
    )
