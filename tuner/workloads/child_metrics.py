"""Puts together what a script logs into the rows that W&B would show, as it arrives."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeGuard

from tuner.definition.metric import Metric

Counts = Literal["first", "last", "mean"]  # which of several W&B runs of a trial
Value = float | int | str | bool
CHUNK = 1 << 20  # bytes of output read at once
SUMMARIES = ("first", "last", "min", "max", "mean")  # of W&B's define_metric
_BY_KIND: Mapping[str, Callable[[Sequence[float]], float]] = {
    "first": itemgetter(0), "last": itemgetter(-1), "min": min, "max": max, "mean": fmean
}  # fmt: skip
LONGEST_LINE = 1 << 20  # a longer line (a progress bar without ends of line) is no JSON of metrics
SAFE_DIGITS = 18  # of a whole number that fits into 64 bits
DEEPEST = 16  # levels of nested values


class LineReader:
    """Follows a file that grows: `new_lines` gives the new lines that begin with a `{`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        self._rest = b""

    def new_lines(self, *, all_of_it: bool = False) -> list[bytes]:
        """Lines without their end. `all_of_it`: the writer is gone, so a last line needs no end."""
        lines: list[bytes] = []
        if self._grown():
            with self.path.open("rb") as file:
                file.seek(self._position)
                while chunk := file.read(CHUNK):
                    self._position += len(chunk)
                    *whole, self._rest = (self._rest + chunk).split(b"\n")
                    self._rest = self._rest[-LONGEST_LINE:]
                    lines += [found for line in whole if (found := _object_in(line))]
        if all_of_it and (found := _object_in(self._rest)):
            lines.append(found)
            self._rest = b""
        return lines

    def _grown(self) -> bool:
        try:
            return self.path.stat().st_size > self._position
        except FileNotFoundError:
            return False


def _object_in(line: bytes) -> bytes:
    """What may be a JSON object that is a line of its own; empty where there is none.

    A progress bar (`\\r 50%|█████`) has no end of line: what is printed next stands behind it.
    """
    _, progress, last = line.rstrip(b"\r").rpartition(b"\r")
    found = last[last.find(b"{") :] if progress and b"{" in last else last.lstrip()
    return found if found.startswith(b"{") else b""


@dataclass
class Row:
    """One step of one W&B run."""

    step: int
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
        self.complete: list[Row] = []  # rows not taken yet
        self.defined = Defined()
        self._written: Value | None = None  # into the summary, since the objective was last logged
        self._open: dict[str, Row] = {}
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
        row = self._open.setdefault(run, Row(now))
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

    def take_complete(self, *, all_of_it: bool = False) -> list[Row]:
        """The rows completed since the last call; `all_of_it` closes the open ones first."""
        if all_of_it:
            for run in list(self._open):
                self._close(run)
        rows, self.complete = self.complete, []
        return rows

    def go_on(self, rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """Puts what an interrupted run logged before what this run has logged so far.

        Keeps those `rows` that this run does not repeat: with a smaller `epoch` than its first row
        with the objective, or, where it logs no epoch, a smaller step than its first row. A run whose
        steps begin at 0 goes on after the last row.

        Returns:
            how many of `rows`, from the first, are kept, and what is added to the steps of this run.
        """
        mine = [*self.complete, *self._open.values()]
        epoch = next((row.data.get("epoch") for row in mine if row.iteration == 0), None)
        step = min((row.step for row in mine), default=0)
        key, begin = ("epoch", epoch) if is_finite(epoch) else ("_step", step or math.inf)
        rows = list(takewhile(lambda row: is_finite(row[key]) and row[key] < begin, rows))
        values = [row[self.objective] for row in rows if is_finite(row.get(self.objective))]
        self.values[:0] = values
        for row in mine:
            row.iteration = None if row.iteration is None else row.iteration + len(values)
        earlier = {
            name: value for row in rows for name, value in row.items() if name not in ("_step", "epoch")
        }
        self.summary = {**earlier, **self.summary}
        last = max((int(row["_step"]) for row in rows), default=-1)
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

    def _count(self, row: Row) -> bool:
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


@dataclass
class LoggedRun:
    """One W&B run of a script, and what was logged to it.

    Attributes:
        key: its W&B id.
        number: in the order in which the runs of the trial began, from 0.
        rank: which process of a distributed training made it; 0 where there is one.
        folder: its W&B files; "" where W&B is disabled.
    """

    key: str
    number: int
    rank: int
    folder: str
    history: History


class Stream:
    """One script's metrics: the events of the W&B hook, or JSON lines in its output when it makes no run.

    A script may make several runs (each process of a distributed training, each fold of a cross-validation).
    They are kept apart and one counts: the first of rank 0. Where the script logs the objective to others
    alone, the first of those counts; that is known at the script's end (`settle`).

    Args:
        events: what the hook writes. output: what the script prints.
        counts: "last" and "mean" are known at the script's end, so `read` yields nothing of W&B runs.
        mask: takes secrets out of a line.
    """

    def __init__(
        self,
        events: Path,
        output: Path,
        metric: Metric,
        *,
        counts: Counts = "first",
        mask: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.history = History(metric)  # of the run that counts
        self.runs: dict[str, LoggedRun] = {}  # by W&B id, in the order in which they began
        self.counted: LoggedRun | None = None
        self._counts = counts
        self._mask = mask
        self.problems: list[str] = []
        self._events = LineReader(events)
        self._output = LineReader(output)
        self._waiting: deque[tuple[bool, bytes]] = deque()  # (from the hook?, line)

    def read(self, *, all_of_it: bool = False) -> Iterator[dict[str, Value]]:
        """Takes in what came since the last call; yields the summary at each new iteration.

        A caller that stops in the middle (a prune) finds the rest at its next call: nothing is lost.
        """
        self._waiting += [(True, line) for line in self._events.new_lines(all_of_it=all_of_it)]
        self._waiting += [(False, line) for line in self._output.new_lines(all_of_it=all_of_it)]
        while self._waiting:
            from_hook, line = self._waiting.popleft()
            content = self._object(line)
            if content is None or (self.runs and not from_hook):
                continue
            if self._take(content) if from_hook else self._log(self.history, "", content):
                yield dict(self.history.summary)

    def settle(self) -> LoggedRun | None:
        """Decides which run counts, once the script has ended; returns it if that is another than so far."""
        if not self.runs or (self.counted is not None and self.history.score is not None):
            return None
        runs = list(self.runs.values())
        if self._counts == "last":
            runs.reverse()
        runs.sort(key=lambda run: run.rank)
        chosen = next((run for run in runs if run.history.score is not None), self.counted or runs[0])
        if chosen is self.counted:
            return None
        self.counted, self.history = chosen, chosen.history
        return chosen

    @property
    def others(self) -> list[LoggedRun]:
        """The runs that do not count."""
        return [run for run in self.runs.values() if run is not self.counted]

    def _take(self, event: Mapping[str, Any]) -> bool:
        """Takes in one event; True when the run that counts began a new iteration."""
        kind = event["kind"]
        if kind == "problem":
            self._problem(event["message"])
        elif kind == "init":
            self._begin(event)
        elif kind == "returned":
            return self._returned(event["data"])
        elif run := self.runs.get(event["run"]):
            if kind == "summary":
                run.history.write_summary(event["data"])
            elif kind == "define":
                run.history.defined.define(event["name"], event["summary"])
            elif kind == "log":
                steps = run.key + event.get("stream", "")  # TensorBoard counts its own
                new = self._log(run.history, steps, event["data"], event["step"], event["commit"])
                return new and run is self.counted
        return False

    def _returned(self, value: Any) -> bool:
        """What the function of `wandb.agent` returned is the objective where the script did not log it."""
        history = self.history
        data = value if isinstance(value, Mapping) else {history.objective: value}
        if history.objective in history.summary or not is_finite(flatten(data).get(history.objective)):
            return False
        return history.log("", data, None, None)

    def _log(
        self,
        history: History,
        run: str,
        data: Mapping[str, Any],
        step: int | None = None,
        commit: bool | None = None,
    ) -> bool:
        new = history.log(run, data, step, commit)
        value = data.get(history.objective)
        if isinstance(value, float) and math.isinf(value):
            self._problem(f"'{history.objective}' was logged as {value}, which is not used")
        return new

    def _object(self, line: bytes) -> dict[str, Any] | None:
        try:
            content = json.loads(self._mask(line), parse_int=_whole)
        except ValueError:
            return None
        except RecursionError:
            self._problem("a line of metrics was nested too deeply and was not read")
            return None
        return content if isinstance(content, dict) else None

    def _problem(self, message: str) -> None:
        if message not in self.problems:
            self.problems.append(message)

    def _begin(self, event: Mapping[str, Any]) -> None:
        key, rank = event["run"], event["rank"]
        if key in self.runs:
            self.runs[key].history.begin_again(key)
            return
        leads = self.counted is None and rank == 0 and self._counts == "first"
        history = self.history if leads else History(self.history.metric)
        self.runs[key] = LoggedRun(key, len(self.runs), rank, event["folder"], history)
        if leads:
            self.counted = self.runs[key]


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


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether `value` is a number that can be compared."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(digits: str) -> int | float:
    """A whole number of JSON; one that no 64 bits hold becomes a float, at the latest infinity."""
    return int(digits) if len(digits) <= SAFE_DIGITS else float(digits)
