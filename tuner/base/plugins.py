"""Plugins of installed packages. They are found through entry points and imported on first use.

| group | each entry is |
| --- | --- |
| `optuna_sweeps.workloads` | a `Workload` class, under the name that study files use |
| `optuna_sweeps.plugins` | a module with one or more of the functions in `HOOKS` |
| `optuna_sweeps.programs` | `main(arguments)` of a program: `tuner NAME …` |
| `optuna_sweeps.commands` | a module with `add(subparsers)`, which adds a command of `tuner` |
| `optuna_sweeps.executors` | a module like `tuner.plugins.pools.dask_workers` |
| `optuna_sweeps.storages` | `connect(url)` for URLs with this scheme: Optuna's storage, the queue of trials |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import Any

from tuner.base.errors import InputError

WORKLOADS, PLUGINS, PROGRAMS = "optuna_sweeps.workloads", "optuna_sweeps.plugins", "optuna_sweeps.programs"
COMMANDS, EXECUTORS, STORAGES = "optuna_sweeps.commands", "optuna_sweeps.executors", "optuna_sweeps.storages"
HOOKS = {
    "sections": "(material) -> list of report sections about the results folder",
    "needed_runs": "(results) -> study name → numbers of trials whose run folders are in use elsewhere",
    "checks": "() -> [(name, function() -> (passed, finding))] for `tuner doctor`",
}


@cache
def _groups() -> dict[str, dict[str, EntryPoint]]:
    """All entry points by group and name; of two with one name, the first on the path."""
    groups: dict[str, dict[str, EntryPoint]] = {}
    for point in (point for package in distributions() for point in package.entry_points):
        groups.setdefault(point.group, {}).setdefault(point.name, point)
    return groups


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return _groups().get(group, {})


def program(name: str) -> Callable[[list[str]], int] | None:
    """The `main(arguments)` of an installed program; None if no program has this name.

    Raises InputError if packages that the program needs are not installed.
    """
    if not name.isidentifier() or name not in installed(PROGRAMS):
        return None
    try:
        found: Callable[[list[str]], int] = installed(PROGRAMS)[name].load()
    except ModuleNotFoundError as error:
        raise InputError(f"{name}: {error}; install it: pip install 'optuna-sweeps[model]'") from None
    return found


def hooks(name: str) -> list[Callable[..., Any]]:
    """The functions of this name (one of `HOOKS`) in all plugins whose packages are installed."""
    return [getattr(module, name) for module in modules(PLUGINS) if hasattr(module, name)]


def modules(group: str) -> Iterator[Any]:
    """The modules of a group. Skips those whose packages are not installed."""
    for point in installed(group).values():
        try:
            yield point.load()
        except ImportError:
            continue
