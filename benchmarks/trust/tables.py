"""The tables of bench_trust.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import figures
import numpy as np
from arena.summary import Floats, over_tasks
from trust.simulation import BEST, CROSS, LATER, PROPOSAL, RACE, Simulated


class Column(NamedTuple):
    """A number of each task, and how tasks are summed up.

    Attributes:
        of: the number, from the studies of a task and a way of choosing; NaN where it says nothing.
        form: how it is written. middle: of several tasks.
    """

    title: str
    of: Callable[[Simulated, str], float]
    form: str
    middle: Callable[[Floats], float]

    def cell(self, results: Sequence[Simulated], way: str) -> str:
        """`1 [0, 2], 0 to 3`: all tasks together with an interval over tasks, and the range."""
        values = np.array([self.of(result, way) for result in results])
        values = values[~np.isnan(values)]
        if not len(values):
            return "–"
        together = over_tasks(values[:, None], self.middle)
        return f"{together:{self.form}}, {values.min():{self.form}} to {values.max():{self.form}}"


def _told(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _mean(values: Floats) -> float:
    told = _told(values)
    return float(told.mean()) if len(told) else float("nan")


def _percent(values: Floats) -> float:
    return 100 * _mean(values)


WORSE = Column("worse than the default, %", lambda of, way: _percent(of.ways[way].worse), ".0f", np.mean)
COLUMNS = (
    Column("extra runs", lambda of, way: _mean(of.ways[way].runs), ".0f", np.mean),
    WORSE,
    Column(
        "lost to the best, in standard deviations",
        lambda of, way: _mean(of.ways[way].lost) / of.task.deviation,
        ".2f",
        np.median,
    ),
    Column(
        "score above the truth",
        lambda of, way: _mean(of.ways[way].over) / of.task.deviation,
        ".2f",
        np.median,
    ),
    Column("worse on test data, %", lambda of, way: _percent(of.ways[way].test), ".0f", np.mean),
)


def ways(results: Sequence[Simulated]) -> figures.Lines:
    """All ways of choosing over tasks."""
    lines = figures.Lines()
    lines.head("chosen by", *(column.title for column in COLUMNS), words=range(len(COLUMNS) + 1))
    for way in results[0].ways:
        lines.row(way, *(column.cell(results, way) for column in COLUMNS))
    return lines


def intervals(results: Sequence[Simulated]) -> figures.Lines:
    """How often the intervals of the gain over the default hold, over the studies of all tasks."""
    lines = figures.Lines()
    lines.head("", "intervals", "hold, %", "of winners", "hold, %", words=(0, 2, 4))
    rows = {
        RACE: (RACE, ""),
        LATER: (LATER, ""),
        "an ordinary t interval from the runs of the race": (RACE, "plain_"),
    }
    for title, (way, kind) in rows.items():
        cells: list[object] = []
        for name in ("covers", "won"):
            told = [_told(getattr(of.ways[way], kind + name)) for of in results]
            count = sum(map(len, told))
            cells += [count, f"{over_tasks(told, _percent):.1f}" if count else "–"]
        lines.row(title, *cells)
    return lines


def by_task(results: Sequence[Simulated]) -> figures.Lines:
    """The best score, five cross-validated and the race, for each task."""
    shown = {"best score": BEST, "cross-validated": CROSS, "race": RACE}
    lines = figures.Lines()
    heads = [f"{name}: worse, %; lost" for name in shown]
    lines.head("task, default", "a deviation", *heads, "intervals that hold", words=(0, 2, 3, 4))
    for of in results:
        cells = [f"{WORSE.of(of, way):.0f}; {_mean(of.ways[way].lost):.2g}" for way in shown.values()]
        told = _told(of.ways[RACE].covers)
        name = f"{of.task.name}, {of.default} ({of.task.metric})"
        lines.row(name, f"{of.task.deviation:.2g}", *cells, f"{told.sum():.0f} of {len(told)}")
    return lines


def no_more_lost(results: Sequence[Simulated], way: str) -> int:
    """In how many tasks a way loses at most as much to the best as cross-validation with as many runs."""
    return sum(bool(_mean(of.ways[way].lost) <= _mean(of.ways[CROSS].lost)) for of in results)


def stored(group: str, results: Sequence[Simulated]) -> dict[str, figures.Value]:
    """The figures of a group of tasks; those of the kept ones are also in sentences of README and docs."""
    tasks = by_task(results)
    found: dict[str, figures.Value] = {
        f"trust.{group}": ways(results),
        f"trust.{group}_intervals": intervals(results),
        f"trust.{group}_lost": f"{no_more_lost(results, RACE)}",
        f"trust.{group}_proposal_lost": f"{no_more_lost(results, PROPOSAL)}",
        f"trust.{group}_tasks": f"{len(results)}",
    }
    if group != "kept":
        return found
    for key, way in (("after_race", RACE), ("by_best_score", BEST), ("by_cross_validation", CROSS)):
        shares = [WORSE.of(of, way) for of in results]
        found[f"trust.worse_{key}"] = f"{np.mean(shares):.0f}"
        found[f"trust.most_worse_{key}"] = f"{max(shares):.0f}"
    return found | {"trust.by_task": tasks}


def units(values: Mapping[str, figures.Value]) -> dict[str, str]:
    """Those of the figures that have one."""
    return {key: "%" for key in values if "worse_" in key}
