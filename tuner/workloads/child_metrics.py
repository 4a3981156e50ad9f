"""What a script logs, put together into the rows that W&B would show, as it arrives."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

Value = float | int | str | bool
CHUNK = 1 << 20  # bytes of output read at once
SUMMARIES = ("first", "last", "min", "max", "mean")  # of W&B's define_metric
LONGEST_LINE = 1 << 20  # a longer line (a progress bar without ends of line) is no JSON of metrics


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
                    lines += [line for line in whole if line.startswith(b"{")]
        if all_of_it and self._rest.startswith(b"{"):
            lines.append(self._rest)
            self._rest = b""
        return lines

    def _grown(self) -> bool:
        try:
            return self.path.stat().st_size > self._position
        except FileNotFoundError:
            return False


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

    def __init__(self, objective: str) -> None:
        self.objective = objective
        self.summary: dict[str, Value] = {}
        self.values: list[float] = []  # the objective's, one an iteration
        self.complete: list[Row] = []  # rows not taken yet
        self.defined = Defined()
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
        row.data.update(values)
        self.summary.update(values)
        new = self._count(row)
        if commit or (commit is None and step is None):
            self._close(run)
            self._next_step[run] = now + 1
        return new

    def take_complete(self, *, all_of_it: bool = False) -> list[Row]:
        """The rows completed since the last call; `all_of_it` closes the open ones first."""
        if all_of_it:
            for run in list(self._open):
                self._close(run)
        rows, self.complete = self.complete, []
        return rows

    @property
    def iterations(self) -> int:
        return len(self.values)

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

    def define(self, name: str, summary: str) -> None:
        """`name` may end in `*`; `summary` is a list in a text, such as "min,last"."""
        kinds = tuple(kind for kind in summary.replace(" ", "").split(",") if kind in SUMMARIES)
        self._patterns.append((name, kinds))

    def after(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The summaries of what was logged just now."""
        found: dict[str, Value] = {}
        for name, value in values.items():
            kinds = {kind for pattern, of in self._patterns if _fits(name, pattern) for kind in of}
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


class Stream:
    """One script's metrics: the events of the W&B hook, or JSON lines in its output when it makes no run."""

    def __init__(self, events: Path, output: Path, objective: str) -> None:
        self.history = History(objective)
        self.run_folders: list[str] = []
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
            content = _object(line)
            if content is None or (self.run_folders and not from_hook):
                continue
            if self._take(content) if from_hook else self.history.log("", content, None, None):
                yield dict(self.history.summary)

    def _take(self, event: Mapping[str, Any]) -> bool:
        if event["kind"] == "init":
            if event["folder"] not in self.run_folders:
                self.run_folders.append(event["folder"])
        elif event["kind"] == "log":
            return self.history.log(event["run"], event["data"], event["step"], event["commit"])
        elif event["kind"] == "summary":
            self.history.summary.update(flatten(event["data"]))
        elif event["kind"] == "define":
            self.history.defined.define(event["name"], event["summary"])
        elif event["kind"] == "returned":
            return self._returned(event["data"])
        elif event["kind"] == "problem":
            self.problems.append(event["message"])
        return False

    def _returned(self, value: Any) -> bool:
        """What the function of `wandb.agent` returned is the objective where the script did not log it."""
        history = self.history
        data = value if isinstance(value, Mapping) else {history.objective: value}
        if history.objective in history.summary or not is_finite(flatten(data).get(history.objective)):
            return False
        return history.log("", data, None, None)


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Numbers, texts and booleans by name; nested ones are named as W&B does: `{"a": {"b": 1}}` → `a.b`."""
    flat: dict[str, Value] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, (bool, int, float, str)):
            flat[f"{prefix}{name}"] = value
    return flat


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether `value` is a number that can be compared."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
