"""Functions that log to W&B alone run as they are: what they log is what they report."""

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
        score = stream.history.score
        return numbers(stream.history.summary) | ({} if score is None else {metric.name: score})

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
