"""The tables of bench_trust.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import figures
import numpy as np
from trust.simulation import BEST, CROSS, LATER, PROPOSAL, RACE, WAYS, Simulated
from trust.tasks import Floats

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)  # percentiles of the resampled tasks


@dataclass(frozen=True)
class Column:
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
        rng = np.random.default_rng(0)
        again = [self.middle(rng.choice(values, len(values))) for _ in range(RESAMPLES)]
        low, high = np.percentile(again, INTERVAL)
        middle, form = self.middle(values), self.form
        return (
            f"{middle:{form}} [{low:{form}}, {high:{form}}], {values.min():{form}} to {values.max():{form}}"
        )


def _share(name: str) -> Callable[[Simulated, str], float]:
    return lambda of, way: 100 * _mean(getattr(of.ways[way], name))


def _deviations(name: str) -> Callable[[Simulated, str], float]:
    return lambda of, way: _mean(getattr(of.ways[way], name)) / of.task.deviation


def _mean(values: Floats) -> float:
    told = values[~np.isnan(values)]
    return float(told.mean()) if len(told) else float("nan")


def _average(values: Floats) -> float:
    return float(np.mean(values))


def _median(values: Floats) -> float:
    return float(np.median(values))


RUNS = Column("extra runs", lambda of, way: _mean(of.ways[way].runs), ".0f", _average)
WORSE = Column("worse than the default, %", _share("worse"), ".0f", _average)
LOST = Column("lost to the best, in standard deviations", _deviations("lost"), ".2f", _median)
OVER = Column("score above the truth", _deviations("over"), ".2f", _median)
TEST = Column("worse on test data, %", _share("test"), ".0f", _average)
COLUMNS = (RUNS, WORSE, LOST, OVER, TEST)


def ways(results: Sequence[Simulated]) -> list[str]:
    """All ways of choosing over tasks."""
    lines = [
        f"| chosen by | {' | '.join(column.title for column in COLUMNS)} |",
        f"| --- |{' --- |' * len(COLUMNS)}",
    ]
    return lines + [
        f"| {way} | {' | '.join(column.cell(results, way) for column in COLUMNS)} |" for way in WAYS
    ]


def intervals(results: Sequence[Simulated]) -> list[str]:
    """How often the intervals of the gain over the default hold, over the studies of all tasks."""
    lines = [
        "| | intervals | hold, % | of winners | hold, % |",
        "| --- | --: | --- | --: | --- |",
    ]
    rows = {
        RACE: (RACE, ""),
        LATER: (LATER, ""),
        "an ordinary t interval from the runs of the race": (RACE, "plain_"),
    }
    for title, (way, kind) in rows.items():
        cells = []
        for name in ("covers", "won"):
            told = [getattr(of.ways[way], kind + name) for of in results]
            told = [values[~np.isnan(values)] for values in told]
            cells += [str(sum(map(len, told))), _pooled(told)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def _pooled(told: Sequence[Floats]) -> str:
    """The share over all studies, with an interval over tasks."""
    if not sum(map(len, told)):
        return "–"
    rng = np.random.default_rng(0)
    again = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([told[i] for i in rng.integers(len(told), size=len(told))])
        again.append(100 * _mean(drawn))
    low, high = np.nanpercentile(again, INTERVAL)
    return f"{100 * np.concatenate(told).mean():.1f} [{low:.1f}, {high:.1f}]"


def by_task(results: Sequence[Simulated]) -> list[str]:
    """The best score, five cross-validated and the race, for each task."""
    shown = {"best score": BEST, "cross-validated": CROSS, "race": RACE}
    heads = [f"{name}: worse, %; lost" for name in shown]
    lines = [
        f"| task, default | a deviation | {' | '.join(heads)} | intervals that hold |",
        "| --- | --: |" + " --- |" * len(shown) + " --: |",
    ]
    for of in results:
        cells = [f"{WORSE.of(of, way):.0f}; {_mean(of.ways[way].lost):.2g}" for way in shown.values()]
        told = of.ways[RACE].covers[~np.isnan(of.ways[RACE].covers)]
        lines.append(
            f"| {of.task.name}, {of.default} ({of.task.metric}) | {of.task.deviation:.2g} | "
            f"{' | '.join(cells)} | {told.sum():.0f} of {len(told)} |"
        )
    return lines


def no_more_lost(results: Sequence[Simulated], way: str) -> int:
    """In how many tasks a way loses at most as much to the best as cross-validation with as many runs."""
    return sum(bool(_mean(of.ways[way].lost) <= _mean(of.ways[CROSS].lost)) for of in results)


def stored(group: str, results: Sequence[Simulated]) -> dict[str, figures.Value]:
    """The figures of a group of tasks; those of the kept ones are also in sentences of README and docs."""
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
    return found | {"trust.by_task": by_task(results)}


def units(values: Mapping[str, figures.Value]) -> dict[str, str]:
    """Those of the figures that have one."""
    return {key: "%" for key in values if "worse_" in key}
