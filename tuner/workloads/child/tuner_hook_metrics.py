"""Hooks that tell the tuner what a script logs to W&B or TensorBoard (see `sitecustomize.py`).

Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python.
"""

from __future__ import annotations

import functools
import os
import sys

from tuner_hook_events import MODE, guarded, guarded_by, plain, run_key  # type: ignore[import-not-found]

TYPE_CHECKING = False  # importing typing would cost every process of the script
if TYPE_CHECKING:
    from typing import Any

    from tuner.workloads.child.tuner_hook_events import Events


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
