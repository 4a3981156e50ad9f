"""Functions that report to Ray Tune, or log to W&B, run as they are: what they tell is what they report."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tuner.definition.metric import Metric
from tuner.workloads.history import numbers
from tuner.workloads.stream import Stream

NOWHERE = Path(os.devnull)
RAYS = ("ray.tune", "ray.train", "ray.air.session")  # as far as the function has imported them


@contextlib.contextmanager
def rays_reports(function: Callable[..., Any], report: Callable[[int, Any], None]) -> Iterator[None]:
    """Meanwhile Ray's `report` tells `report`, epoch after epoch from 0; outside of Ray it tells nobody."""
    modules = [sys.modules[name] for name in RAYS if name in sys.modules]
    places = [vars(module) for module in modules if "report" in vars(module)]
    theirs = [place["report"] for place in places]
    own = getattr(function, "__globals__", {})  # where `from ray.tune import report` put it
    before = [(place, "report", place["report"]) for place in places]
    before += [(own, name, value) for name, value in own.items() if any(value is each for each in theirs)]
    epochs = iter(range(sys.maxsize))

    def tell(metrics: Mapping[str, Any] | None = None, *_: Any, checkpoint: Any = None, **more: Any) -> None:
        report(next(epochs), {**(metrics or {}), **more})

    for place, name, _ in before:
        place[name] = tell
    try:
        yield
    finally:
        for place, name, value in before:
            place[name] = value


@contextlib.contextmanager
def wandbs_reports(
    function: Callable[..., Any], metric: Metric, report: Callable[[int, Any], None] | None
) -> Iterator[Callable[[], dict[str, float]]]:
    """Meanwhile each value of the metric that the function logs to W&B is told to `report`.

    Args:
        report: None: the function reports by itself.

    Yields:
        What gives the metrics that were logged, and the score of the run.
    """
    if report is None or not _mentions_wandb(function):
        yield dict
        return
    from tuner.workloads.child.tuner_listening import listening  # W&B, a second

    stream = Stream(NOWHERE, NOWHERE, metric)

    def hear(event: Mapping[str, Any]) -> None:
        if stream.take(event):
            report(stream.history.iterations - 1, numbers(stream.history.summary))

    def found() -> dict[str, float]:
        stream.settle()
        return stream.history.metrics

    with listening(hear):
        yield found


def _mentions_wandb(function: Callable[..., Any]) -> bool:
    """Whether W&B is imported, or the function's file speaks of it and so may import it."""
    if "wandb" in sys.modules:
        return True
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
        return file is not None and b"wandb" in Path(file).read_bytes().lower()
    except (TypeError, OSError):  # it has no file
        return False
