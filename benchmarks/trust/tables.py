"""The tables of bench_trust.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import figures
import numpy as np
from trust.simulation import RACES, WAYS, Result, Simulated

from tuner.stats.intervals import t_interval

Reading = Callable[[Simulated, Result], float]


def _share(name: str) -> Reading:
    def share(_: Simulated, result: Result) -> float:
        values = getattr(result, name)
        told = values[~np.isnan(values)]
        return 100 * float(told.mean()) if len(told) else float("nan")

    return share


def _in_deviations(name: str) -> Reading:
    return lambda of, result: float(getattr(result, name).mean()) / of.task.deviation


READINGS: Mapping[str, tuple[str, Reading, str]] = {
    "runs": ("extra runs", lambda _, result: float(result.runs.mean()), ".1f"),
    "worse": ("worse than the default, %", _share("worse"), ".0f"),
    "lost": ("lost to the best, in standard deviations", _in_deviations("lost"), ".2f"),
    "over": ("score above its truth, in standard deviations", _in_deviations("over"), "+.2f"),
    "test": ("worse on test data, %", _share("test"), ".0f"),
    "covers": ("intervals of a gain that hold, %", _share("covers"), ".0f"),
    "won": ("those of winners, %", _share("won"), ".0f"),
}
MAIN = ("runs", "worse", "lost", "over", "test")


def task_lines(of: Simulated) -> list[str]:
    """One line a way of choosing, for a task."""
    unit = of.task.deviation
    lines = [f"\n{of.task.name}, {of.default} ({of.task.metric}; a standard deviation is {unit:.2g})"]
    for way, result in of.ways.items():
        told = "  ".join(f"{name} {READINGS[name][1](of, result):{READINGS[name][2]}}" for name in READINGS)
        lines.append(f"  {way:52} {told}  lost in units {result.lost.mean():.2g}")
    return lines


def over_tasks(results: Sequence[Simulated], way: str, name: str) -> str:
    """Median over tasks, range, and the mean with its interval over tasks."""
    _, reading, form = READINGS[name]
    values = [reading(of, of.ways[way]) for of in results]
    told = [value for value in values if not np.isnan(value)]
    if not told:
        return "–"
    mean, low, high = t_interval(told)
    interval = f" [{low:{form}}, {high:{form}}]" if len(told) > 1 else ""
    return f"{np.median(told):{form}} ({min(told):{form}} to {max(told):{form}}); {mean:{form}}{interval}"


def ways(results: Sequence[Simulated]) -> list[str]:
    """All ways of choosing: median over tasks, range, and the mean with its interval."""
    return _table(results, WAYS, MAIN)


def intervals(results: Sequence[Simulated]) -> list[str]:
    """How often the intervals of the races hold."""
    return _table(results, RACES, ("covers", "won"))


def _table(results: Sequence[Simulated], rows: Sequence[str], columns: Sequence[str]) -> list[str]:
    lines = [
        f"| chosen by | {' | '.join(READINGS[name][0] for name in columns)} |",
        f"| --- |{' --- |' * len(columns)}",
    ]
    for way in rows:
        lines.append(f"| {way} | {' | '.join(over_tasks(results, way, name) for name in columns)} |")
    return lines


def stored(group: str, results: Sequence[Simulated]) -> dict[str, figures.Value]:
    return {}


def units(values: Mapping[str, figures.Value]) -> dict[str, str]:
    return {}
