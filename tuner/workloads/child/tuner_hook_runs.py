"""Hooks that make W&B's runs in a script those of its trial: mode, ids, folder, end (see `sitecustomize.py`).

Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python.
"""

# ruff: noqa: PTH100  (importing pathlib would cost every process of the script)
from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys

import tuner_wandb_private as private  # type: ignore[import-not-found]
from tuner_hook_events import (  # type: ignore[import-not-found]
    EVENTS,
    FOLDER,
    MODE,
    RESUMED,
    RUN,
    SWEEP,
    TRIAL,
    guarded,
    guarded_by,
    run_key,
)
from tuner_hook_metrics import listen_to_disabled  # type: ignore[import-not-found]

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from typing import Any

    from tuner.workloads.child.tuner_hook_events import Events


def patch_init(module: Any, events: Events) -> Any:
    """Runs are offline and follow the rules of a sweep; the tuner learns where their files are."""
    original = module.init
    signature = inspect.signature(original)
    told: list[object] = []  # runs; W&B gives the active one again to who asks twice

    @guarded_by(events)
    def prepare(given: Any) -> None:
        # what the script asks for in the call, its settings, `wandb.setup` or the environment
        asked = given.get("mode") or private.asked_in(given.get("settings")) or private.session_mode(module)
        online = MODE == "online" and asked not in ("offline", "dryrun")  # nothing else goes online
        given["mode"] = "disabled" if "disabled" in (asked, MODE) else "online" if online else "offline"
        if FOLDER and given.get("dir") is None and "WANDB_DIR" not in os.environ:
            given["dir"] = FOLDER
        if RUN and SWEEP:
            follow_the_rules(private.session_settings(module), given)

    @guarded_by(events)
    def tell(run: Any) -> None:
        if any(run is other for other in told):
            return
        told.append(run)
        mode, folder = private.mode_and_folder(run)
        disabled = mode == "disabled"
        folder = "" if disabled else os.path.abspath(folder)
        events.write("init", run=run_key(run), folder=folder, rank=rank())
        if disabled:
            listen_to_disabled(run, events)
        elif TRIAL.isdigit():
            note(events, run, {"number": int(TRIAL)})
        if RESUMED.isdigit() and not disabled and not run.resumed:
            private.mark_resumed(run, int(RESUMED))
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


def online_or_offline(module: Any, original: Any, given: Any, events: Events) -> Any:
    """A run online; offline where the server is gone since the study began. No trial fails for W&B."""
    try:
        return original(**given)
    except Exception as error:
        if type(error).__name__ == "UsageError":
            raise
        events.problem("W&B offline: " + " ".join(str(error).split()))
        if RUN and SWEEP:
            private.session_settings(module).run_id = next_id()  # the client holds on to the other
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
    private.begin_in_sweep(settings, asked, SWEEP)
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


def patch_record(module: Any, events: Events) -> Any:
    """`run.sweep_id` is for the script alone: W&B's server knows no such sweep and would refuse the run."""

    def change(original: Any) -> Any:
        @functools.wraps(original)
        def make(*args: Any, **kwargs: Any) -> Any:
            record = original(*args, **kwargs)
            guarded(events, private.forget_sweep)(record, SWEEP)
            return record

        return make

    private.change_record(module, change)


def patch_login(module: Any, events: Events) -> Any:
    """No server, so nothing to log in to; a key in the script is not needed and not looked at."""
    if MODE == "online":
        return

    @functools.wraps(module.login)
    def login(*args: Any, **kwargs: Any) -> bool:
        return True

    module.login = login
