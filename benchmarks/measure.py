"""Seconds that a piece of work takes, by the clock and of the processor."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Spent(NamedTuple):
    """Seconds by the clock, and of the processor (of processes that have ended, too)."""

    clock: float
    processor: float


def now() -> Spent:
    """What has been spent until now."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime)


def spent(work: Callable[[], Any]) -> Spent:
    """What `work` takes."""
    before = now()
    work()
    after = now()
    return Spent(after.clock - before.clock, after.processor - before.processor)
