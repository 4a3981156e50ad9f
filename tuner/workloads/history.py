"""Puts together what a run logs into the rows, the summary and the score that W&B would show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import itemgetter
from statistics import fmean
from typing import Any

from tuner.base.words import is_finite
from tuner.definition.study_file import Metric

Value = float | int | str | bool
_BY_KIND: Mapping[str, Callable[[Sequence[float]], float]] = {
    "first": itemgetter(0), "last": itemgetter(-1), "min": min, "max": max, "mean": fmean
}  # fmt: skip
SUMMARIES = tuple(_BY_KIND)  # of W&B's define_metric
DEEPEST = 16  # levels of nested values


@dataclass
class LoggedStep:
    """One step of one W&B run."""

    step: int
    at: int  # values of the objective before it
    data: dict[str, Value] = field(default_factory=dict)
    iteration: int | None = None  # which value of the objective it holds, from 0; None when it holds none


class History:
    """Rows as W&B keeps them: calls of `log` for one step are one row, the last value of a name counts.

    The iteration that pruning counts is the number of rows with a finite value of the objective (as W&B
    counts). `log` says at once when a row first holds one; the row is complete when its step is over.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric, self.objective = metric, metric.name
        self.summary: dict[str, Value] = {}
        self.values: list[float] = []  # the objective's, one an iteration
        self.complete: list[LoggedStep] = []  # rows not taken yet
        self.defined = Defined()
        self._written: Value | None = None  # into the summary, since the objective was last logged
        self._open: dict[str, LoggedStep] = {}
        self._next_step: dict[str, int] = {}

    def log(self, run: str, data: Mapping[str, Any], step: int | None, commit: bool | None) -> bool:
        """Adds one call of `log`; True when it began a new iteration."""
        now = self._next_step.get(run, 0)
        if step is not None and step < now:
            return False  # W&B drops it too: steps only go up
        if step is not None and step > now:
            self._close(run)
            now = step
        self._next_step[run] = now
        row = self._open.setdefault(run, LoggedStep(now, len(self.values)))
        values = flatten(data)
        values |= self.defined.after(values)
        if self.objective in values:
            self._written = None
        row.data.update(values)
        self.summary.update(values)
        new = self._count(row)
        if commit or (commit is None and step is None):
            self._close(run)
            self._next_step[run] = now + 1
        return new

    def write_summary(self, data: Mapping[str, Any]) -> None:
        """What the script writes into the run's summary itself."""
        values = flatten(data)
        self.summary.update(values)
        self._written = values.get(self.objective, self._written)

    def take_complete(self, *, all_of_it: bool = False) -> list[LoggedStep]:
        """The rows completed since the last call; `all_of_it` closes the open ones first."""
        if all_of_it:
            for run in list(self._open):
                self._close(run)
        rows, self.complete = self.complete, []
        return rows

    def go_on(self, rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """Puts what an interrupted run logged before what this run has logged so far.

        Keeps those `rows` that this run does not repeat: up to the last value of the objective with a
        smaller `epoch` than this run's first one, or, where it logs no epoch, those with a smaller step than
        its first row. A run whose steps begin at 0 goes on after the last row.

        Returns:
            how many of `rows`, from the first, are kept, and what is added to the steps of this run.
        """
        mine = [*self.complete, *self._open.values()]
        epoch = next((row.data.get("epoch") for row in mine if row.iteration == 0), None)
        step = min((row.step for row in mine), default=0)
        if is_finite(epoch):
            valued = [
                (k, row.get("epoch")) for k, row in enumerate(rows) if is_finite(row.get(self.objective))
            ]
            kept = list(takewhile(lambda each: is_finite(each[1]) and each[1] < epoch, valued))
            rows = list(rows[: kept[-1][0] + 1]) if kept else []
        else:
            begin = step or math.inf
            rows = list(takewhile(lambda row: is_finite(row.get("_step")) and row["_step"] < begin, rows))
        values = [row[self.objective] for row in rows if is_finite(row.get(self.objective))]
        self.values[:0] = values
        for row in mine:
            row.at += len(values)
            row.iteration = None if row.iteration is None else row.iteration + len(values)
        earlier = {
            name: value for row in rows for name, value in row.items() if name not in ("_step", "epoch")
        }
        self.summary = {**earlier, **self.summary}
        last = max((int(row["_step"]) for row in rows if is_finite(row.get("_step"))), default=-1)
        return len(rows), 0 if step > last else last + 1

    def begin_again(self, run: str) -> None:
        """The run was finished and is begun again under its id: its steps start from 0."""
        self._close(run)
        self._next_step.pop(run, None)

    @property
    def iterations(self) -> int:
        return len(self.values)

    @property
    def score(self) -> float | None:
        """The objective's value for the study; None: it never had one that can be compared."""
        told = self._written if is_finite(self._written) else None
        kind = self.metric.summary_kind(self.defined.kinds_of(self.objective))
        if told is None and kind is not None and self.values:
            told = _BY_KIND[kind](self.values)
        return self.metric.score(self.values, told)

    @property
    def metrics(self) -> dict[str, float]:
        """The summary's numbers, and the objective's score."""
        score = self.score
        return numbers(self.summary) | ({} if score is None else {self.objective: score})

    def _count(self, row: LoggedStep) -> bool:
        value = row.data.get(self.objective)
        if not is_finite(value):
            return False
        if row.iteration is not None:
            self.values[row.iteration] = value
            return False
        row.iteration = len(self.values)
        self.values.append(value)
        return True

    def _close(self, run: str) -> None:
        if row := self._open.pop(run, None):
            self.complete.append(row)


class Defined:
    """Summaries that a script defines: `define_metric("loss", summary="min")` makes a `loss.min`."""

    def __init__(self) -> None:
        self._patterns: list[tuple[str, tuple[str, ...]]] = []
        self._seen: dict[str, list[float]] = {}  # by name: first, last, lowest, highest, sum, count

    def kinds_of(self, name: str) -> list[str]:
        """The summaries that are defined for a name, in order."""
        return [kind for pattern, kinds in self._patterns if _fits(name, pattern) for kind in kinds]

    def define(self, name: str, summary: str) -> None:
        """`name` may end in `*`; `summary` is a list in a text, such as "min,last"."""
        kinds = tuple(kind for kind in summary.lower().replace(" ", "").split(",") if kind in SUMMARIES)
        self._patterns.append((name, kinds))

    def after(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The summaries of what was logged just now."""
        found: dict[str, Value] = {}
        for name, value in values.items():
            kinds = set(self.kinds_of(name))
            if not kinds or not is_finite(value):
                continue
            first, _, low, high, total, count = self._seen.get(name, [value, value, value, value, 0.0, 0])
            seen = [first, value, min(low, value), max(high, value), total + value, count + 1]
            self._seen[name] = seen
            by_kind = dict(zip(SUMMARIES, [*seen[:4], seen[4] / seen[5]], strict=True))
            found |= {f"{name}.{kind}": by_kind[kind] for kind in sorted(kinds)}
        return found


def _fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def flatten(
    data: Mapping[str, Any],
    prefix: str = "",
    depth: int = 0,
    *,
    convert: Callable[[Any], Any] = lambda value: value,
) -> dict[str, Value]:
    """Numbers, texts and booleans by name; nested ones are named as W&B does: `{"a": {"b": 1}}` → `a.b`.

    What is nested deeper than DEEPEST levels is left out.

    Args:
        convert: makes plain values of others first.
    """
    flat: dict[str, Value] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            if depth < DEEPEST:
                flat |= flatten(value, f"{prefix}{name}.", depth + 1, convert=convert)
        elif isinstance(plain := convert(value), (bool, int, float, str)):
            flat[f"{prefix}{name}"] = plain
    return flat


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of `values` that are numbers."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def means(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The means of the numbers that all of `found` have."""
    each = [numbers(values) for values in found]
    names = [name for name in (each[0] if each else ()) if all(name in values for values in each)]
    return {name: fmean(values[name] for values in each) for name in names}
