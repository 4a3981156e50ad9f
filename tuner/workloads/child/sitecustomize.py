"""Runs at the start of every Python process of a tuned script; makes its W&B metrics visible to the tuner.

Python imports a module of this name by itself; the tuner puts this folder on the script's PYTHONPATH. Nothing
of W&B is imported here: hooks are set, and when the script imports W&B itself

- `Run.log` and updates of `run.summary` are also written, as JSON lines, to the file $TUNER_EVENTS;
- runs are offline whatever the script asks for (unless the study's runs go online) and `wandb.login()` does
  nothing: there is no server;
- W&B's rules for a sweep hold: each trial has its own run id, and `id` in the script is ignored;
- SIGTERM (the trial is pruned) ends the script through SystemExit, so that W&B closes its file in order.

Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python. A
failure in here must never reach the script; it is told to the tuner as an event instead. The hooks are in the
files beside this one, which are read only where a script needs them.
"""

# ruff: noqa: PTH100, PTH120  (importing pathlib would cost every process of the script)
from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys

from tuner_hook_events import EVENTS, Events, guarded  # type: ignore[import-not-found]
from tuner_wandb_private import MODULES  # type: ignore[import-not-found]

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from typing import Any

# The modules that are changed, each with the file and the function that change it.
HOOKS = {
    **MODULES,
    "tensorboardX.writer": ("tuner_hook_loggers", "patch_tensorboard"),
    "torch.utils.tensorboard.writer": ("tuner_hook_loggers", "patch_tensorboard"),
    "trackio.run": ("tuner_hook_loggers", "patch_trackio"),
    "swanlab.sdk.internal.run": ("tuner_hook_loggers", "patch_swanlab"),
    "mlflow.tracking._tracking_service.client": ("tuner_hook_loggers", "patch_mlflow"),
}


class Finder:
    """Lets Python find modules as always, and changes those in HOOKS once they are executed."""

    def __init__(self, events: Events) -> None:
        self.events = events

    def find_spec(self: Any, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in HOOKS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def change(module: Any) -> None:
            file, function = HOOKS[name]
            getattr(importlib.import_module(file), function)(module, self.events)

        def exec_module(module: Any) -> None:
            execute(module)
            guarded(self.events, change)(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def run_shadowed() -> None:
    """Runs the `sitecustomize` that this one hides, if there is one (a distribution's, a coverage tool's)."""
    here = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def tell_of_death(events: Events) -> None:
    """Tells with which error the main thread of the script ended: children that it waits for may never end.

    Only in the first process of the trial; those that it starts end by themselves, or are its affair.
    """
    if os.environ.get("TUNER_MAIN"):
        return
    os.environ["TUNER_MAIN"] = str(os.getpid())
    owner, before = os.getpid(), sys.excepthook

    def tell(kind: Any, error: Any, trace: Any) -> None:
        import traceback

        if os.getpid() == owner and not issubclass(kind, KeyboardInterrupt):
            lines = traceback.format_exception(kind, error, trace)
            events.write("died", traceback="".join(lines)[-4000:])

    def hook(kind: Any, error: Any, trace: Any) -> None:
        before(kind, error, trace)
        guarded(events, tell)(kind, error, trace)

    sys.excepthook = hook


if EVENTS:
    tell_of_death(Events(EVENTS))
    sys.meta_path.insert(0, Finder(Events(EVENTS)))
run_shadowed()
