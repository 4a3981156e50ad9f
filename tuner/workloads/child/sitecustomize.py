"""Runs at the start of every Python process of a tuned script; makes its W&B metrics visible to the tuner.

Python imports a module of this name by itself; the tuner puts this folder on the script's PYTHONPATH. Nothing
of W&B is imported here: hooks are set, and when the script imports W&B itself

- `Run.log` and updates of `run.summary` are also written, as JSON lines, to the file $TUNER_EVENTS;
- runs are offline whatever the script asks for, and `wandb.login()` does nothing: there is no server;
- SIGTERM (the trial is pruned) ends the script through SystemExit, so that W&B closes its file in order.

Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python. A
failure in here must never reach the script; it is told to the tuner as an event instead.
"""

# ruff: noqa: PTH100, PTH120  (importing pathlib would cost every process of the script)
from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import json
import os
import sys
import time

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

EVENTS = "TUNER_EVENTS"
TRIAL = "TUNER_TRIAL"


class Events:
    """The file that the tuner follows: one JSON object a line, each appended by a single write."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor: int | None = None
        self.muted = False  # while this module itself writes into a summary

    def write(self, kind: str, **content: Any) -> None:
        if self.muted:
            return
        if self.descriptor is None:
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        line = json.dumps({"kind": kind, "time": time.time(), **content})
        os.write(self.descriptor, line.encode() + b"\n")


def plain(value: Any) -> Any:
    """A number, text or boolean for JSON (also from an array or tensor of one element), or None."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        inner = {str(name): plain(item) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item is not None}
    if callable(getattr(value, "item", None)) and getattr(value, "size", None) is not None:
        count = value.numel() if callable(getattr(value, "numel", None)) else value.size
        return plain(value.item()) if count == 1 else None
    return None


def guarded(events: Events, hook: Callable[..., Any]) -> Callable[..., Any]:
    """`hook`, with its failure told to the tuner and kept from the script."""

    @functools.wraps(hook)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return hook(*args, **kwargs)
        except Exception as error:
            try:
                events.write("problem", message=f"{type(error).__name__}: {error}")
            except Exception:
                return None
        return None

    return run


def patch_run(module: Any, events: Events) -> None:
    """`Run.log` does what it always did, then tells the tuner."""
    original = module.Run.log

    @guarded_by(events)
    def tell(run: Any, data: Any, step: Any = None, commit: Any = None, **_: Any) -> None:
        events.write("log", run=run_key(run), data=plain(dict(data)), step=step, commit=commit)

    @functools.wraps(original)
    def log(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        tell(self, *args, **kwargs)
        return result

    module.Run.log = log
    patch_metric(module, events)


def patch_metric(module: Any, events: Events) -> None:
    """`define_metric("loss", summary="min")` gives the run's summary a `loss.min`."""
    original = module.Run._define_metric

    @guarded_by(events)
    def tell(
        run: Any, name: str, step: Any = None, sync: Any = None, hidden: Any = None, summary: Any = None
    ) -> None:
        if summary:
            events.write("define", run=run_key(run), name=name, summary=summary)

    @functools.wraps(original)
    def define(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        tell(self, *args[:5], **{key: value for key, value in kwargs.items() if key in ("name", "summary")})
        return result

    module.Run._define_metric = define


def patch_tensorboard(module: Any, events: Events) -> None:
    """Scalars for TensorBoard are metrics in a run with `sync_tensorboard`: W&B reads them from its files."""
    original = module.SummaryWriter.add_scalar

    @guarded_by(events)
    def tell(tag: str, value: Any, step: Any = None) -> None:
        client = sys.modules.get("wandb")
        run = getattr(client, "run", None)
        if run is not None and getattr(client, "patched", {}).get("tensorboard"):
            data = plain({tag: value, "global_step": step})
            events.write("log", run=f"{run_key(run)}/tensorboard", data=data, step=step, commit=None)

    @functools.wraps(original)
    def add_scalar(
        self: Any, tag: str, scalar_value: Any, global_step: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        result = original(self, tag, scalar_value, global_step, *args, **kwargs)
        tell(tag, scalar_value, global_step)
        return result

    module.SummaryWriter.add_scalar = add_scalar


def patch_summary(module: Any, events: Events) -> None:
    """What a script writes into `run.summary` is a metric too."""
    original = module.Summary._update

    @guarded_by(events)
    def tell(record: Any) -> None:
        data = {}
        for item in record.update:
            value = plain(item.value)
            if value is not None:
                data[".".join(str(key) for key in item.key)] = value
        events.write("summary", data=data)

    @functools.wraps(original)
    def update(self: Any, record: Any) -> None:
        original(self, record)
        tell(record)

    module.Summary._update = update


def patch_init(module: Any, events: Events) -> None:
    """Runs are offline, and the tuner learns where their files are."""
    original = module.init

    @guarded_by(events)
    def tell(run: Any) -> None:
        settings = getattr(run, "settings", None)
        events.write("init", run=run_key(run), folder=str(getattr(settings, "sync_dir", "")))
        if os.environ.get(TRIAL, "").isdigit():
            note(events, run, {"number": int(os.environ[TRIAL])})
        end_in_order(run, events)

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("mode") is not None:
            kwargs["mode"] = "offline"
        if isinstance(kwargs.get("settings"), dict):
            kwargs["settings"] = {**kwargs["settings"], "mode": "offline"}
        elif hasattr(kwargs.get("settings"), "mode"):
            kwargs["settings"].mode = "offline"
        run = original(*args, **kwargs)
        tell(run)
        return run

    module.init = init


def patch_login(module: Any, events: Events) -> None:
    """No server, so nothing to log in to; a key in the script is not needed and not looked at."""

    @functools.wraps(module.login)
    def login(*args: Any, **kwargs: Any) -> bool:
        return True

    module.login = login


def guarded_by(events: Events) -> Any:
    return functools.partial(guarded, events)


def run_key(run: Any) -> str:
    return str(getattr(run, "id", "") or "")


def note(events: Events, run: Any, data: dict[str, Any]) -> None:
    """Adds the tuner's own remarks to a run's summary; they are no metrics."""
    events.muted = True
    try:
        run.summary.update(data)
    finally:
        events.muted = False


def end_in_order(run: Any, events: Events) -> None:
    """SIGTERM raises SystemExit in the process that made the run, unless the script handles it itself."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    owner = os.getpid()

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != owner:  # a forked worker: ends as it would have without us
            os.kill(os.getpid(), signal.SIGTERM)
            return
        with contextlib.suppress(Exception):  # the run may be finished already
            note(events, run, {"state": "pruned"})
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def patch_by(name: str) -> Callable[[Any, Any], None]:
    """A change that stands in `tuner_sweeps`, which only some scripts need."""

    def patch(module: Any, events: Events) -> None:
        import tuner_sweeps  # type: ignore[import-not-found]  # it lies beside this file

        tell = guarded(events, lambda value: events.write("returned", data=plain(value)))
        tuner_sweeps.change(name, module, tell)

    return patch


PATCHES = {
    "wandb.sdk.wandb_sweep": patch_by("sweep"),
    "wandb.wandb_agent": patch_by("agent"),
    "wandb.sdk.wandb_run": patch_run,
    "wandb.sdk.wandb_summary": patch_summary,
    "wandb.sdk.wandb_init": patch_init,
    "wandb.sdk.wandb_login": patch_login,
    "tensorboardX.writer": patch_tensorboard,
    "torch.utils.tensorboard.writer": patch_tensorboard,
}


class Finder:
    """Lets Python find W&B's modules as always, and patches those in PATCHES once they are executed."""

    def __init__(self, events: Events) -> None:
        self.events = events

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        patch = PATCHES.get(name)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module
        change = guarded(self.events, patch)

        def exec_module(module: Any) -> None:
            execute(module)
            change(module, self.events)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def run_shadowed() -> None:
    """Runs the `sitecustomize` that this one hides, if there is one (a distribution's, a coverage tool's)."""
    here = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get(EVENTS):
    sys.meta_path.insert(0, Finder(Events(os.environ[EVENTS])))
run_shadowed()
