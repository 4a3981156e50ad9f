"""Runs at the start of every Python process of a tuned script; makes its W&B metrics visible to the tuner.

Python imports a module of this name by itself; the tuner puts this folder on the script's PYTHONPATH. Nothing
of W&B is imported here: hooks are set, and when the script imports W&B itself

- `Run.log` and updates of `run.summary` are also written, as JSON lines, to the file $TUNER_EVENTS;
- runs are offline whatever the script asks for (unless the study's runs go online) and `wandb.login()` does
  nothing: there is no server;
- W&B's rules for a sweep hold: each trial has its own run id, and `id` in the script is ignored;
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
import inspect
import json
import os
import sys
import time

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Read once: a script may clear every variable WANDB_… (W&B's own example of cross-validation does).
EVENTS = os.environ.get("TUNER_EVENTS", "")
TRIAL = os.environ.get("TUNER_TRIAL", "")
MODE = os.environ.get("TUNER_WANDB_MODE", "offline")  # online, offline or disabled
FOLDER = os.environ.get("TUNER_WANDB_DIR", "")
SWEEP = os.environ.get("TUNER_SWEEP_ID", "")
RUN = os.environ.get("TUNER_RUN_ID", "")  # the id of the trial's first run
RESUMED = os.environ.get("TUNER_RESUMED_STEP", "")  # set where the trial goes on from a checkpoint

LARGEST_WHOLE = 2**63 - 1
DEEPEST = 16  # levels of nested values


class Events:
    """The file that the tuner follows: one JSON object a line, each appended by a single write."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor: int | None = None
        self.muted = False  # while this module itself writes into a summary
        self.told: set[str] = set()  # problems, each once

    def write(self, kind: str, **content: Any) -> None:
        if self.muted:
            return
        if self.descriptor is None:
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        line = json.dumps({"kind": kind, "time": time.time(), **content})
        os.write(self.descriptor, line.encode() + b"\n")

    def problem(self, message: Any) -> None:
        if message not in self.told:
            self.told.add(message)
            self.write("problem", message=message)


def plain(value: Any, depth: Any = 0) -> Any:
    """A number, text or boolean for JSON (also from an array or tensor of one element), or None."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST_WHOLE:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        if depth == DEEPEST:
            return f"nested deeper than {DEEPEST} levels: left out"
        inner = {str(name): plain(item, depth + 1) for name, item in value.items()}
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
                events.problem(f"{type(error).__name__}: {error}")
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
    if MODE == "online":
        mark_uploaded(module, events)


def patch_metric(module: Any, events: Events) -> None:
    """`define_metric("loss", summary="min")` gives the run's summary a `loss.min`."""
    original = module.Run._define_metric

    @functools.wraps(original)
    def define(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        tell_metric(events, self, *args, **kwargs)
        return result

    module.Run._define_metric = define


def tell_metric(events: Events, run: Any, *args: Any, **kwargs: Any) -> None:
    """Tells the tuner which summaries a script defines, from the arguments of `define_metric`."""

    @guarded_by(events)
    def tell(
        name: str,
        step: Any = None,
        sync: Any = None,
        hidden: Any = None,
        summary: Any = None,
        *_: Any,
        **__: Any,
    ) -> None:
        if summary:
            events.write("define", run=run_key(run), name=name, summary=summary)

    tell(*args, **kwargs)


def patch_tensorboard(module: Any, events: Events) -> None:
    """Scalars for TensorBoard are metrics in a run with `sync_tensorboard`: W&B reads them from its files.

    A disabled run does not read them; there, only its settings say that the script asked for it.
    """
    original = module.SummaryWriter.add_scalar

    @guarded_by(events)
    def tell(tag: str, value: Any, step: Any = None) -> None:
        client: Any = sys.modules.get("wandb")
        run = getattr(client, "run", None)
        if run is not None and (client.patched["tensorboard"] or run.settings.sync_tensorboard):
            data = plain({tag: value, "global_step": step})
            events.write("log", run=run_key(run), stream="/tensorboard", data=data, step=step, commit=None)

    @functools.wraps(original)
    def add_scalar(
        self: Any, tag: str, scalar_value: Any, global_step: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        result = original(self, tag, scalar_value, global_step, *args, **kwargs)
        tell(tag, scalar_value, global_step)
        return result

    module.SummaryWriter.add_scalar = add_scalar


def mark_uploaded(module: Any, events: Events) -> Any:
    """A run that the server has gets the client's own mark, so that `tuner sync` does not send it again."""
    original = module.Run._on_finish

    @guarded_by(events)
    def mark(run: Any) -> None:
        if run.settings.mode == "online" and not run._finish_timed_out:
            os.close(os.open(run.settings.sync_file + ".synced", os.O_CREAT | os.O_WRONLY, 0o644))

    @functools.wraps(original)
    def finish(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        mark(self)
        return result

    module.Run._on_finish = finish


def patch_summary(module: Any, events: Events) -> None:
    """What a script writes into `run.summary` is a metric too."""
    original = module.Summary._update

    @guarded_by(events)
    def tell(summary: Any, record: Any) -> None:
        run = getattr(getattr(summary, "_update_callback", None), "__self__", None)
        data = {}
        for item in record.update:
            value = plain(item.value)
            if value is not None:
                data[".".join(str(key) for key in item.key)] = value
        events.write("summary", run=run_key(run), data=data)

    @functools.wraps(original)
    def update(self: Any, record: Any) -> None:
        original(self, record)
        tell(self, record)

    module.Summary._update = update


def patch_init(module: Any, events: Events) -> Any:
    """Runs are offline and follow the rules of a sweep; the tuner learns where their files are."""
    original = module.init
    signature = inspect.signature(original)
    told: list[object] = []  # runs; W&B gives the active one again to who asks twice

    @guarded_by(events)
    def prepare(given: Any) -> None:
        given["mode"] = mode_for(asked_mode(module, given))
        if FOLDER and given.get("dir") is None and "WANDB_DIR" not in os.environ:
            given["dir"] = FOLDER
        if RUN and SWEEP:
            follow_the_rules(module.wandb_setup.singleton().settings, given)

    @guarded_by(events)
    def tell(run: Any) -> None:
        if any(run is other for other in told):
            return
        told.append(run)
        settings = getattr(run, "settings", None)
        folder = str(getattr(settings, "sync_dir", "") or "")
        disabled = getattr(settings, "mode", None) == "disabled"
        folder = "" if disabled else os.path.abspath(folder)
        events.write("init", run=run_key(run), folder=folder, rank=rank())
        if disabled:
            listen_to_disabled(run, events)
        elif TRIAL.isdigit():
            note(events, run, {"number": int(TRIAL)})
        if RESUMED.isdigit() and not disabled and not run.resumed:
            mark_resumed(run, int(RESUMED))
        end_in_order(run, events)

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        try:
            given = dict(signature.bind(*args, **kwargs).arguments)
        except TypeError:
            return original(*args, **kwargs)  # W&B's own message for what it does not know
        given.update(given.pop("kwargs", {}))
        prepare(given)
        if given.get("mode") == "online":
            run = online_or_offline(module, original, given, events)
        else:
            run = original(**given)
        tell(run)
        return run

    module.init = init


def mark_resumed(run: Any, step: int) -> None:
    """W&B needs a server to know that a run is resumed; here `resumed` and `starting_step` are set."""
    run._settings.resumed = True
    run._starting_step = step


def asked_mode(module: Any, given: Any) -> Any:
    """The mode that the script asks for: in the call, its settings, `wandb.setup` or the environment."""
    settings = given.get("settings")
    in_settings = None
    if isinstance(settings, dict):
        in_settings = settings.get("mode")
    elif "mode" in getattr(settings, "model_fields_set", ()):
        in_settings = settings.mode
    if given.get("mode") or in_settings:
        return given.get("mode") or in_settings
    singleton = getattr(module.wandb_setup, "singleton", None)
    return singleton().settings.mode if singleton else os.environ.get("WANDB_MODE")


def mode_for(asked: Any) -> Any:
    """Nothing goes online unless the study does; "disabled" stays what it means to W&B."""
    if "disabled" in (asked, MODE):
        return "disabled"
    return "online" if MODE == "online" and asked not in ("offline", "dryrun") else "offline"


def online_or_offline(module: Any, original: Any, given: Any, events: Events) -> Any:
    """A run online; offline where the server is gone since the study began. No trial fails for W&B."""
    try:
        return original(**given)
    except Exception as error:
        if type(error).__name__ == "UsageError":
            raise
        events.problem("W&B offline: " + " ".join(str(error).split()))
        if RUN and SWEEP:
            module.wandb_setup.singleton().settings.run_id = next_id()  # the client holds on to the other
        return original(**dict(given, mode="offline"))


def follow_the_rules(settings: Any, given: Any) -> None:
    """What W&B does in a sweep: `id` is ignored; `project` and `entity` where the sweep has its own.

    The first run of a trial has the trial's id, each further one a number behind it.
    """
    asked = given.get("id")
    if not (asked and (asked == RUN or asked.startswith(RUN + "-run"))):  # an id of ours: the run goes on
        if asked:
            warn("id", asked)
        asked = next_id()
    given.pop("id", None)
    settings.run_id = asked
    settings.sweep_id = SWEEP
    for name in ("project", "entity"):
        if given.get(name) and getattr(settings, name) is None:
            setattr(settings, name, given.pop(name))
        elif given.get(name):
            if given[name] != getattr(settings, name):
                warn(name, given[name])
            del given[name]


def warn(name: Any, value: Any) -> None:
    """As W&B does, which is silent here."""
    sys.stderr.write(f"wandb: WARNING Ignoring {name} {value!r} when running a sweep.\n")


def next_id() -> Any:
    """An id that no other process of the trial takes; that of the trial goes to a process of rank 0."""
    number = 1 if rank() else 0
    while True:
        try:
            os.close(os.open(f"{EVENTS}.run-{number}", os.O_CREAT | os.O_EXCL, 0o600))
            return f"{RUN}-run{number}" if number else RUN
        except FileExistsError:
            number += 1


def rank() -> Any:
    """Which of the processes of a distributed training this is."""
    for name in ("RANK", "LOCAL_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def listen_to_disabled(run: Any, events: Events) -> None:
    """What a disabled run is given goes nowhere with W&B; the tuner still hears it."""
    original, original_define, summary = run.log, run.define_metric, run.summary

    @guarded_by(events)
    def tell(data: Any, step: Any = None, commit: Any = None, **_: Any) -> None:
        events.write("log", run=run_key(run), data=plain(dict(data)), step=step, commit=commit)

    def log(*args: Any, **kwargs: Any) -> None:
        events.muted = True  # it writes into the summary
        try:
            original(*args, **kwargs)
        finally:
            events.muted = False
        tell(*args, **kwargs)

    def define_metric(*args: Any, **kwargs: Any) -> Any:
        result = original_define(*args, **kwargs)
        tell_metric(events, run, *args, **kwargs)
        return result

    class Summary(type(summary)):  # type: ignore[misc]
        def __setitem__(self: Any, name: Any, value: Any) -> None:
            super().__setitem__(name, value)
            guarded(events, events.write)("summary", run=run_key(run), data=plain({name: value}))

        __setattr__ = __setitem__

        def update(self: Any, *args: Any, **kwargs: Any) -> None:
            for name, value in dict(*args, **kwargs).items():
                self[name] = value

    client: Any = sys.modules["wandb"]
    for of in (run, client):
        of.log, of.define_metric = log, define_metric
    run.summary = client.summary = Summary(summary)


def patch_record(module: Any, events: Events) -> Any:
    """`run.sweep_id` is for the script alone: W&B's server knows no such sweep and would refuse the run."""
    original = module.InterfaceBase._make_run

    @guarded_by(events)
    def forget(record: Any) -> None:
        if SWEEP and record.sweep_id == SWEEP:
            record.ClearField("sweep_id")

    @functools.wraps(original)
    def make(self: Any, *args: Any, **kwargs: Any) -> Any:
        record = original(self, *args, **kwargs)
        forget(record)
        return record

    module.InterfaceBase._make_run = make


def patch_login(module: Any, events: Events) -> Any:
    """No server, so nothing to log in to; a key in the script is not needed and not looked at."""
    if MODE == "online":
        return

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
    "wandb.sdk.interface.interface": patch_record,
    "tensorboardX.writer": patch_tensorboard,
    "torch.utils.tensorboard.writer": patch_tensorboard,
}


class Finder:
    """Lets Python find W&B's modules as always, and patches those in PATCHES once they are executed."""

    def __init__(self, events: Events) -> None:
        self.events = events

    def find_spec(self: Any, name: str, path: Any = None, target: Any = None) -> Any:
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


if EVENTS:
    sys.meta_path.insert(0, Finder(Events(EVENTS)))
run_shadowed()
