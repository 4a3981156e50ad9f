"""Trials that call a Python function: `train(config, report) -> metrics`.

The function takes the configuration and, where it names them, more:

| parameter | is |
| --- | --- |
| `config` (the first) | the configuration, a nested dictionary |
| `report` (the second) | `report(epoch from 0, metrics)`, to be called once an epoch; it may end the trial |
| `run_folder` | a folder for the trial's files, kept with it |

It returns a dictionary of metrics, or a number, which is the study's metric. The attribute `defaults` of the
function, a dictionary, is the configuration that a study tries first.

The function is only imported in processes of its own, where the folder of the study file and the current one
come first on `sys.path`: its imports find what lies beside it, whatever this project's modules are called.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.base.errors import InputError, Pruned
from tuner.base.files import read_json, write_json
from tuner.base.run_folder import CONFIG, Report, RunFolder
from tuner.workloads.workload import Inputs, Say, Workload

PACKAGES = str(Path(__file__).resolve().parents[2])  # where a process that looks at a function finds this one
OPTIONAL = ("run_folder",)


class FunctionWorkload(Workload):
    """Calls a function that the study file names, or one that was given in Python."""

    @property
    def folder(self) -> Path:
        """The folder of the study file."""
        return Path(self.file.path).parent.resolve()

    def inputs(self, chosen: Path | None, results: Path, say: Say) -> Inputs:
        """Looks at the function once, so that a mistake in its file is one line and no dead agent."""
        if self.file.function is not None:
            return Inputs(str(self.file.objective))
        found = self._looked_at
        return Inputs(Path(found["file"]).name, found["digest"])

    def defaults(self) -> Mapping[str, Any] | None:
        if self.file.function is not None:
            return getattr(self.function, "defaults", None)
        found: Mapping[str, Any] | None = self._looked_at["defaults"]
        return found

    def run(
        self, config: Mapping[str, Any], report: Report, *, run_folder: Path, inputs: Path | None
    ) -> Mapping[str, float]:
        return call(self.function, config, report, run_folder=run_folder, metric=self.file.metric.name)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function itself, imported into this process: an agent's, or a notebook's own."""
        if self.file.function is not None:
            from joblib.externals import cloudpickle

            found: Callable[..., Any] = cloudpickle.loads(self.file.function)
            return found
        assert self.file.objective is not None
        put_first(self.folder)
        return load_function(self.file.objective, folder=self.folder)

    @cached_property
    def _looked_at(self) -> dict[str, Any]:
        assert self.file.objective is not None
        return look_at(self.file.objective, folder=self.folder)


def call(
    function: Callable[..., Any], config: Mapping[str, Any], report: Report, *, run_folder: Path, metric: str
) -> dict[str, float]:
    """Calls a function for one trial, writes its run folder and returns its metrics.

    Raises:
        InputError: it returned neither metrics nor a number.
        Exception: whatever the function or `report` raised.
    """
    last: dict[str, float] = {}
    with RunFolder(run_folder) as folder:
        write_json(folder.path / CONFIG, dict(config))

        def logged(epoch: int, metrics: Mapping[str, float]) -> None:
            last.update(metrics)
            folder.log(epoch, metrics)
            report(epoch, metrics)

        try:
            returned = function(*_arguments(function, config, logged), **_named(function, folder.path))
        except Pruned:
            folder.finish({"state": "pruned", "metrics": last})
            raise
        found = {**last, **_metrics(returned, metric)}
        folder.finish({"state": "complete", "metrics": found})
    return found


def load_function(name: str, *, folder: Path) -> Callable[..., Any]:
    """Imports `package.module:function`, or `file.py:function` in `folder`.

    Raises:
        InputError: no such module or function.
    """
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise InputError(f"objective: expected package.module:function, got '{name}'")
    if module_name.endswith(".py"):
        module = _module_of_file((folder / module_name).resolve(), name)
    else:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and not module_name.startswith(error.name):
                raise
            where = f"looked in {folder} and {Path.cwd()}"
            raise InputError(f"objective '{name}': no module '{module_name}' ({where})") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"objective '{name}': {module_name} has no function '{function_name}'")
    found: Callable[..., Any] = function
    return found


def look_at(name: str, *, folder: Path) -> dict[str, Any]:
    """Imports a function in a process of its own and tells its `file`, the file's `digest`, its `defaults`.

    Raises:
        InputError: it cannot be imported or called with a configuration; the line says where and why.
    """
    with TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        code = "import sys; from tuner.workloads import function; function.answer(*sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, name, str(folder), str(answer)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), PACKAGES])),
            },
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if not answer.exists():
            last = (done.stderr.strip().splitlines() or [f"it ended with exit status {done.returncode}"])[-1]
            raise InputError(f"objective '{name}': its file could not be imported: {last}")
        found: dict[str, Any] = read_json(answer)
    if found.get("error"):
        raise InputError(found["error"])
    return found


def answer(name: str, folder: str, to: str) -> None:
    """What the process of `look_at` runs."""
    put_first(Path(folder))
    try:
        function = load_function(name, folder=Path(folder))
        _arguments(function, {}, lambda epoch, metrics: None)
        file = inspect.getsourcefile(inspect.unwrap(function)) or name
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if Path(file).is_file() else ""
        found = {"file": file, "digest": digest, "defaults": _plain(getattr(function, "defaults", None))}
    except InputError as error:
        found = {"error": str(error)}
    except (Exception, SystemExit) as error:
        found = {
            "error": f"objective '{name}': {_where(error)}: {type(error).__name__}: {error}{_remedy(error)}"
        }
    write_json(Path(to), found)


def put_first(folder: Path) -> None:
    """Puts the study file's folder, then the current one, first on the module search path of this process."""
    for entry in (str(Path.cwd()), str(folder)):
        if sys.path[:1] != [entry]:
            sys.path.insert(0, entry)


def _module_of_file(path: Path, name: str) -> Any:
    # A name of its own where the engine has a module of this one (a user's `tuner.py`).
    own = path.stem if path.stem not in sys.modules else f"_{path.stem}"
    spec = importlib.util.spec_from_file_location(own, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"objective '{name}': {path} is not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module
    spec.loader.exec_module(module)
    return module


def _arguments(function: Callable[..., Any], config: Mapping[str, Any], report: Report) -> tuple[Any, ...]:
    """The positional arguments that a function takes: the configuration, and `report` where it has a second.

    Raises:
        InputError: it takes none, or needs more.
    """
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    places = [p for p in positional if p.name not in OPTIONAL]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return config, report
    needed = [p.name for p in places if p.default is p.empty]
    if not places or len(needed) > 2:
        name = getattr(function, "__name__", "the function")
        raise InputError(f"{name}{inspect.signature(function)}: expected (config) or (config, report)")
    takes_report = len(needed) == 2 or (len(places) > 1 and places[1].name == "report")
    return (config, report) if takes_report else (config,)


def _named(function: Callable[..., Any], run_folder: Path) -> dict[str, Any]:
    return {"run_folder": run_folder} if "run_folder" in inspect.signature(function).parameters else {}


def _metrics(returned: Any, metric: str) -> dict[str, float]:
    """What a function returned, as metrics. Numbers of numpy and torch count as numbers."""
    if returned is None:
        return {}
    if isinstance(returned, Mapping):
        return {str(name): _number(value) for name, value in returned.items()}
    value = _number(returned)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {metric: value}
    raise InputError(f"the function returned {returned!r}; expected a dictionary of metrics or a number")


def _number(value: Any) -> Any:
    """The plain number in a scalar of numpy or torch; anything else as it is."""
    try:
        return value.item() if callable(getattr(value, "item", None)) else value
    except (ValueError, RuntimeError, TypeError):  # it holds several
        return value


def _plain(defaults: Any) -> dict[str, Any] | None:
    if not isinstance(defaults, Mapping):
        return None
    plain: dict[str, Any] = json.loads(json.dumps(dict(defaults), default=str))
    return plain


def _where(error: BaseException) -> str:
    """File and line of the user's code that an exception comes from."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename
    ]
    own = [frame for frame in frames if not frame.filename.startswith(PACKAGES + os.sep + "tuner")]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "its file"


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"; install it: pip install {error.name.partition('.')[0]}"
    return ""
