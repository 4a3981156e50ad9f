"""Imports a user's function where its own imports find what lies beside it, and sees how to call it.

Little is imported here: a process that only looks at a function should start at once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.base.errors import InputError

PACKAGES = str(Path(__file__).resolve().parents[2])  # where a process that looks at a function finds this one
OPTIONAL = ("run_folder", "checkpoint")
OBJECTIVE = "objective"


def load_function(name: str, *, folder: Path, key: str = OBJECTIVE) -> Callable[..., Any]:
    """Imports `package.module:function`, or `file.py:function`, from `folder` or else the current one.

    Args:
        key: the study file's, for messages.

    Raises:
        InputError: no such module or function.
    """
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise InputError(f"{key}: expected package.module:function, got '{name}'")
    if module_name == "__main__":
        raise InputError(
            f"'{function_name}' was given in Python: only that script or notebook can run it. Put it in a "
            f"file, and name it in a study file (objective: file.py:{function_name}) to run it by commands"
        )
    if module_name.endswith(".py"):
        places = list(dict.fromkeys((folder, Path.cwd())))
        path = next((place / module_name for place in places if (place / module_name).is_file()), None)
        if path is None:
            where = " nor in ".join(map(str, places))
            raise InputError(f"{key} '{name}': {module_name} is not in {where}")
        path = path.resolve()
        # a name of its own where the engine has a module of this one (a user's `tuner.py`)
        module = module_of_file(path, path.stem if path.stem not in sys.modules else f"_{path.stem}")
    else:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and not module_name.startswith(error.name):
                raise
            where = f"looked in {folder} and {Path.cwd()}"
            raise InputError(f"{key} '{name}': no module '{module_name}' ({where})") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"{key} '{name}': {module_name} has no function '{function_name}'")
    found: Callable[..., Any] = function
    return found


def module_of_file(path: Path, name: str) -> Any:
    """Imports a file under the name `name`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _optimises_nothing(path):
        spec.loader.exec_module(module)
    return module


class _Reached(BaseException):
    """A script of Optuna's has come to its own `study.optimize`; no `except Exception` of its keeps it."""


@contextlib.contextmanager
def _optimises_nothing(path: Path) -> Iterator[None]:
    """While the script at `path` is imported: `study.optimize` ends the import, studies are in memory alone.

    What stands behind that call is about the study's result. Without this, each process that looks at the
    objective would run the whole study first, and find the second time that its name is taken.
    """
    if b".optimize(" not in path.read_bytes():
        yield
        return
    from unittest import mock

    import optuna  # half a second, which only such a script waits for

    create = optuna.create_study

    @functools.wraps(create)
    def in_memory(**told: Any) -> optuna.Study:
        return create(**{**told, "storage": None})

    with (
        mock.patch.object(optuna.Study, "optimize", side_effect=_Reached),
        mock.patch.object(optuna, "create_study", in_memory),
        mock.patch.object(optuna.study, "create_study", in_memory),
        contextlib.suppress(_Reached),
    ):
        yield


def put_first(folder: Path) -> None:
    """Puts the study file's folder, then the current one, first on the module search path of this process."""
    for entry in (str(Path.cwd()), str(folder)):
        if sys.path[:1] != [entry]:
            sys.path.insert(0, entry)


def arguments(function: Callable[..., Any], config: Any, report: Callable[..., None]) -> tuple[Any, ...]:
    """The positional arguments that a function takes: the configuration, and `report` where it has a second.
    An objective of Optuna's takes a trial (`takes_trial`): `config` is to be one then. A function for
    `wandb.agent` takes none.

    Raises:
        InputError: it needs more.
    """
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    places = [p for p in positional if p.name not in OPTIONAL]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return config, report
    needed = [p.name for p in places if p.default is p.empty]
    by_name = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in OPTIONAL]
    unseen = not places and (by_name or any(p.kind is p.VAR_KEYWORD for p in parameters))
    if len(needed) > 2 or unseen or any(p.default is p.empty for p in by_name):
        name = getattr(function, "__name__", "the function")
        raise InputError(f"{name}{inspect.signature(function)}: expected (config) or (config, report)")
    if not places:
        return ()
    if takes_trial(function):
        return (config,)
    takes_report = len(needed) == 2 or (len(places) > 1 and places[1].name == "report")
    return (config, report) if takes_report else (config,)


def takes_trial(function: Callable[..., Any]) -> bool:
    """Whether a function is an objective of Optuna's: it needs one argument, which is a `trial`."""
    parameters = inspect.signature(function).parameters.values()
    needed = [
        p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(needed) != 1:
        return False
    said = needed[0].annotation
    return needed[0].name == "trial" or getattr(said, "__name__", str(said)).rpartition(".")[2] == "Trial"


def named(function: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Those of the arguments `offered` that a function names as parameters."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in offered.items() if name in parameters}


def look_at(name: str, *, folder: Path, key: str = OBJECTIVE) -> dict[str, Any]:
    """Imports a function in a process of its own and tells its `file`, the file's `digest`, its `defaults`.

    Args:
        key: the study file's that names it. An objective is called with a configuration, and maybe `report`;
            any other function with one argument.

    Raises:
        InputError: it cannot be imported or called so; the line says where and why.
    """
    path = [entry for entry in (os.environ.get("PYTHONPATH"), PACKAGES) if entry]
    with TemporaryDirectory() as scratch:
        to = Path(scratch) / "answer.json"
        code = "import sys; from tuner.workloads import user_code; user_code.answer(*sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, name, str(folder), str(to), key],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if not to.exists():
            last = (done.stderr.strip().splitlines() or [f"it ended with exit status {done.returncode}"])[-1]
            raise InputError(f"{key} '{name}': its file could not be imported: {last}")
        found: dict[str, Any] = json.loads(to.read_text(encoding="utf-8"))
    if found.get("error"):
        raise InputError(found["error"])
    return found


def answer(name: str, folder: str, to: str, key: str) -> None:
    """What the process of `look_at` runs."""
    put_first(Path(folder))
    try:
        function = load_function(name, folder=Path(folder), key=key)
        if key == OBJECTIVE:
            arguments(function, {}, lambda epoch, metrics: None)
        else:
            try:
                inspect.signature(function).bind(None)
            except TypeError:
                had = inspect.signature(function)
                raise InputError(f"{key} '{name}': expected one argument, it has {had}") from None
        file = inspect.getsourcefile(inspect.unwrap(function)) or name
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if Path(file).is_file() else ""
        defaults = getattr(function, "defaults", None)
        found = {
            "file": file,
            "digest": digest,
            "defaults": dict(defaults) if isinstance(defaults, Mapping) else None,
            "trial": takes_trial(function),
        }
    except InputError as error:
        found = {"error": str(error)}
    except (Exception, SystemExit) as error:
        remedy = ""
        if isinstance(error, ModuleNotFoundError) and error.name:
            remedy = f"; install it: pip install {error.name.partition('.')[0]}"
        found = {"error": f"{key} '{name}': {_where(error)}: {type(error).__name__}: {error}{remedy}"}
    Path(to).write_text(json.dumps(found, default=str), encoding="utf-8")


def _where(error: BaseException) -> str:
    """File and line of the user's code that an exception comes from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    own = [frame for frame in frames if not frame.filename.startswith(PACKAGES + os.sep + "tuner")]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "its file"
