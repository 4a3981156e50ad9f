"""Hooks that tell the tuner what a script logs to W&B (see `sitecustomize.py`).

Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python.
"""

from __future__ import annotations

import functools
import sys

import tuner_wandb_private as private  # type: ignore[import-not-found]
from tuner_hook_events import MODE, guarded, guarded_by, plain, run_key  # type: ignore[import-not-found]

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tuner.workloads.child.tuner_hook_events import Events


def followed_by(tell: Callable[..., Any]) -> Callable[..., Any]:
    """Changes a function: it does what it always did, then its arguments are told."""

    def change(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            tell(*args, **kwargs)
            return result

        return call

    return change


def tell_log(events: Events) -> Any:
    """Tells the tuner what `run.log` was given."""

    @guarded_by(events)
    def tell(run: Any, data: Any, step: Any = None, commit: Any = None, **_: Any) -> None:
        events.write("log", run=run_key(run), data=plain(dict(data)), step=step, commit=commit)

    return tell


def tell_metric(events: Events) -> Any:
    """Tells the tuner that `define_metric("loss", summary="min")` gives the run's summary a `loss.min`."""

    @guarded_by(events)
    def tell(
        run: Any, name: str, step: Any = None, sync: Any = None, hidden: Any = None, summary: Any = None,
        *_: Any, **__: Any,
    ) -> None:  # fmt: skip
        if summary:
            events.write("define", run=run_key(run), name=name, summary=summary)

    return tell


def patch_run(module: Any, events: Events) -> None:
    """What a run logs and defines is told; one that the server has is marked."""
    module.Run.log = followed_by(tell_log(events))(module.Run.log)
    private.change_define_metric(module, followed_by(tell_metric(events)))
    if MODE == "online":
        private.change_finish(module, followed_by(guarded(events, private.mark_uploaded)))


def patch_summary(module: Any, events: Events) -> None:
    """What a script writes into `run.summary` is a metric too."""

    @guarded_by(events)
    def tell(summary: Any, record: Any) -> None:
        found = {name: plain(value) for name, value in private.written(record).items()}
        data = {name: value for name, value in found.items() if value is not None}
        events.write("summary", run=run_key(private.run_of(summary)), data=data)

    private.change_summary(module, followed_by(tell))


def listen_to_disabled(run: Any, events: Events) -> None:
    """What a disabled run is given goes nowhere with W&B; the tuner still hears it."""
    original, summary = run.log, run.summary

    @functools.wraps(original)
    def log(*args: Any, **kwargs: Any) -> None:
        events.muted = True  # it writes into the summary
        try:
            original(*args, **kwargs)
        finally:
            events.muted = False

    class Summary(type(summary)):  # type: ignore[misc]
        def __setitem__(self: Any, name: Any, value: Any) -> None:
            super().__setitem__(name, value)
            guarded(events, events.write)("summary", run=run_key(run), data=plain({name: value}))

        __setattr__ = __setitem__

        def update(self: Any, *args: Any, **kwargs: Any) -> None:
            for name, value in dict(*args, **kwargs).items():
                self[name] = value

    client: Any = sys.modules["wandb"]
    run.log = client.log = followed_by(functools.partial(tell_log(events), run))(log)
    define = followed_by(functools.partial(tell_metric(events), run))(run.define_metric)
    run.define_metric = client.define_metric = define
    run.summary = client.summary = Summary(summary)
