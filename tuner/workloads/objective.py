"""What a trial runs: our model, a Python function, or an external program, all behind one call.

The contract is `objective(config, report, run_folder=…) -> metrics`: `report(epoch, metrics)` once an epoch,
epochs counted from 0; what `report` raises must be let through.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tuner.base.errors import InputError, Pruned
from tuner.base.files import write_json
from tuner.base.run_folder import CONFIG, Report, RunFolder
from tuner.definition.study_file import StudyFile

BUNDLE_OBJECTIVE = (
    "inference.tune:BundleObjective"  # decodes instead of training; found by name, as any other
)


class Objective(Protocol):
    """Runs one configuration and leaves its run folder."""

    def __call__(
        self, config: Mapping[str, Any], report: Report, *, run_folder: Path
    ) -> Mapping[str, float]: ...


def resolve(study_file: StudyFile, *, data: Path | None) -> Objective:
    """The objective of a study.

    Raises:
        InputError: its function or program cannot be found.
    """
    if study_file.program or study_file.command:
        from tuner.workloads import script

        return script.objective(study_file)
    if study_file.on == "bundle":
        return load_function(BUNDLE_OBJECTIVE, folder=Path())()
    if study_file.objective:
        folder = Path(study_file.path).parent if study_file.path else Path()
        return FunctionObjective(load_function(study_file.objective, folder=folder))
    return ModelObjective(data)


class ModelObjective:
    """Our own network, trained on a data set; the folder is written by `model.train`."""

    def __init__(self, data: Path | None) -> None:
        if data is None:
            raise InputError("this study trains our model: it needs a data set (--data data/NAME)")
        self._data = data

    def __call__(self, config: Mapping[str, Any], report: Report, *, run_folder: Path) -> Mapping[str, float]:
        from model.trainer import train

        return train(config, report, data=self._data, run_folder=run_folder)


class FunctionObjective:
    """Anybody's `train(config, report) -> metrics`; its run folder is written here."""

    def __init__(self, function: Callable[[Mapping[str, Any], Report], Any]) -> None:
        self._function = function

    def __call__(self, config: Mapping[str, Any], report: Report, *, run_folder: Path) -> Mapping[str, float]:
        last: dict[str, float] = {}
        with RunFolder(run_folder) as folder:
            write_json(folder.path / CONFIG, dict(config))

            def logged(epoch: int, metrics: Mapping[str, float]) -> None:
                last.update(metrics)
                folder.log(epoch, metrics)
                report(epoch, metrics)

            try:
                metrics = self._function(config, logged)
            except Pruned:
                folder.finish({"state": "pruned", "metrics": last})
                raise
            if isinstance(metrics, int | float):
                raise InputError(f"the function returned {metrics!r}; expected a dictionary of metrics")
            found = {**last, **(metrics or {})}
            folder.finish({"state": "complete", "metrics": found})
        return found


def load_function(name: str, *, folder: Path) -> Callable[..., Any]:
    """Finds `package.module:function`, or `file.py:function` beside the study file.

    Raises:
        InputError: no such module or function.
    """
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise InputError(f"objective: expected package.module:function, got '{name}'")
    if module_name.endswith(".py"):
        path = (folder / module_name).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise InputError(f"objective '{name}': {path} is not there")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise InputError(
                f"objective '{name}': {error}; modules are looked for from the current folder"
            ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"objective '{name}': {module_name} has no function '{function_name}'")
    return function
