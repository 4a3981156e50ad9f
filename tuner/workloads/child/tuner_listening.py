"""In an agent that calls a function: hears what the function logs to W&B, with the hooks of a script.

Only the standard library, and no syntax newer than Python 3.7, as the hooks.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Listener:
    """Stands for the hooks' file of events: passes each on to `hear` once its call is over."""

    def __init__(self) -> None:
        self.hear: Callable[[dict[str, Any]], None] | None = None
        self.muted = False
        self._waiting: list[dict[str, Any]] = []

    def begin(self, hear: Callable[[dict[str, Any]], None] | None) -> None:
        self.hear = hear
        self._waiting.clear()

    def write(self, kind: str, **content: Any) -> None:
        if self.hear is not None and not self.muted:
            self._waiting.append({"kind": kind, **content})

    def problem(self, message: Any) -> None:
        self.write("problem", message=message)

    def flush(self) -> None:
        while self.hear is not None and self._waiting:
            self.hear(self._waiting.pop(0))

    def flushing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """What `hear` raises, the call raises: a run of a trial that is over ends at its next `log`."""

        @functools.wraps(call)
        def called(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            self.flush()
            return result

        return called


_listener: list[Listener] = []  # one for this process, once W&B is changed


@contextlib.contextmanager
def listening(hear: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Meanwhile `hear` is told of each W&B run, and of all that is logged to it, as events."""
    if not _listener:
        _listener.append(_changed(Listener()))
    (listener,) = _listener
    listener.begin(hear)
    try:
        yield
        listener.flush()
    finally:
        listener.begin(None)


def _changed(listener: Any) -> Listener:
    sys.path.append(os.path.dirname(__file__))  # noqa: PTH120  (the hooks import each other by name)
    import tuner_hook_events as events  # type: ignore[import-not-found]
    import tuner_hook_metrics as metrics  # type: ignore[import-not-found]
    import tuner_wandb_private as private  # type: ignore[import-not-found]
    import wandb

    run_module, summary_module = (sys.modules[f"wandb.sdk.wandb_{name}"] for name in ("run", "summary"))
    metrics.patch_run(run_module, listener)
    metrics.patch_summary(summary_module, listener)
    run_class: Any = run_module.Run
    run_class.log = listener.flushing(run_class.log)

    @events.guarded_by(listener)
    def begun(run: Any) -> None:
        listener.write("init", run=events.run_key(run), folder="", rank=0)
        if private.mode_and_folder(run)[0] == "disabled":
            metrics.listen_to_disabled(run, listener)
            client: Any = wandb
            run.log = client.log = listener.flushing(run.log)

    original = wandb.init

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        run = original(*args, **kwargs)
        begun(run)
        return run

    wandb.init = init
    found: Listener = listener
    return found
