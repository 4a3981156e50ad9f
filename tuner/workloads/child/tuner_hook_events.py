"""What a tuned script tells the tuner: JSON lines, written so that no failure reaches the script.

Only the standard library, and no syntax newer than Python 3.7: the script may run in another Python.
"""

from __future__ import annotations

import functools
import json
import os
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


def guarded_by(events: Events) -> Any:
    return functools.partial(guarded, events)


def run_key(run: Any) -> str:
    return str(getattr(run, "id", "") or "")
