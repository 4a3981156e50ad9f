"""Plugins of installed packages. They are found through entry points and imported on first use.

| group | each entry is |
| --- | --- |
| `optuna_sweeps.workloads` | a `Workload` class, under the name that study files use |
| `optuna_sweeps.plugins` | a module with one or more of the functions in `HOOKS` |
| `optuna_sweeps.programs` | `main(arguments)` of a program: `tuner NAME …` |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tuner.base.errors import InputError

WORKLOADS, PLUGINS, PROGRAMS = "optuna_sweeps.workloads", "optuna_sweeps.plugins", "optuna_sweeps.programs"
HOOKS = {
    "sections": "(material) -> list of report sections about the results folder",
    "needed_runs": "(results) -> study name → numbers of trials whose run folders are in use elsewhere",
    "checks": "() -> [(name, function() -> (passed, finding))] for `tuner doctor`",
}


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def program(name: str) -> Callable[[list[str]], int] | None:
    """The `main(arguments)` of an installed program; None if no program has this name.

    Raises:
        InputError: packages that the program needs are not installed.
    """
    if not name.isidentifier() or name not in installed(PROGRAMS):
        return None
    try:
        found: Callable[[list[str]], int] = installed(PROGRAMS)[name].load()
    except ModuleNotFoundError as error:
        raise InputError(f"{name}: {error}; install it: pip install 'optuna-sweeps[model]'") from None
    return found


def hooks(name: str) -> list[Callable[..., Any]]:
    """The functions with this name in all plugins. Skips plugins whose packages are not installed.

    Raises:
        ValueError: `name` is not in `HOOKS`.
    """
    if name not in HOOKS:
        raise ValueError(f"no hook '{name}' (there are: {', '.join(HOOKS)})")
    found = []
    for point in installed(PLUGINS).values():
        try:
            module = point.load()
        except ImportError:
            continue
        if hasattr(module, name):
            found.append(getattr(module, name))
    return found
