"""Which workload a study file asks for: the only place where the kinds are told apart."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tuner.base import plugins
from tuner.base.errors import InputError, nearest
from tuner.definition.study_file import StudyFile
from tuner.workloads.function import FunctionWorkload
from tuner.workloads.given import unpacked
from tuner.workloads.script import ScriptWorkload
from tuner.workloads.user_code import module_of_file
from tuner.workloads.workload import Workload

DEFAULT = "default"  # the installed workload of a study file that names nothing to run


def workload_of(
    file: StudyFile, *, wandb: Literal["online", "offline", "off"] = "offline", results: Path | None = None
) -> Workload:
    """The workload of a study.

    Args:
        wandb: how W&B runs are written that its trials make themselves.
        results: the results folder; None: the one that a trial's run folder lies in.

    Raises:
        InputError: there is no such workload, or what it needs is not installed.
    """
    kind: Callable[[StudyFile], Workload]
    if file.program is not None or file.command is not None:
        kind = ScriptWorkload
    elif file.objective is not None:
        kind = FunctionWorkload
    elif file.function is not None:  # a class that was given in Python
        kind = unpacked(file.function)
    else:
        kind = _named(file, file.workload or DEFAULT)
    workload = kind(file)
    workload.wandb, workload.results = wandb, results
    return workload


def workload_if_known(file: StudyFile) -> Workload:
    """As `workload_of`; one that only answers the usual where the study's own cannot be had here.

    For reading what was recorded: a report may be made where the code that ran is not installed.
    """
    try:
        return workload_of(file)
    except InputError:
        return Workload(file)


def _named(file: StudyFile, name: str) -> type[Workload]:
    module, colon, attribute = name.partition(":")
    if not colon:
        return _installed(name)
    where = f"{file.path}: workload '{name}'"
    try:
        if module.endswith(".py"):
            path = Path(file.path).parent / module
            if not path.is_file():
                raise FileNotFoundError(path)
            if str(path.parent) not in sys.path:
                sys.path.append(str(path.parent))
            loaded = module_of_file(path, f"{path.stem}_workload")  # its name when an agent unpickles it
        else:
            loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"{where}: {_missing(error)}") from None
    except FileNotFoundError as error:
        raise InputError(f"{where}: {error} does not exist") from None
    found = getattr(loaded, attribute, None)
    if not (isinstance(found, type) and issubclass(found, Workload)):
        raise InputError(f"{where}: expected a class that extends tuner.Workload, got {found!r}")
    return found


def _installed(name: str) -> type[Workload]:
    known = plugins.installed(plugins.WORKLOADS)
    if name not in known:
        if name == DEFAULT:
            raise InputError("the study names nothing to run: program, command, tuner.objective or workload")
        hint = nearest(name, known)
        raise InputError(f"no workload '{name}' is installed{hint} (there are: {', '.join(known) or 'none'})")
    try:
        found: type[Workload] = known[name].load()
    except ModuleNotFoundError as error:
        raise InputError(f"workload '{name}': {_missing(error)}") from None
    return found


def _missing(error: ModuleNotFoundError) -> str:
    return f"{error}; install it (the shipped studies need: pip install 'optuna-sweeps[model]')"
