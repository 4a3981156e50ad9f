"""Follows what a script logs while it runs: the events of the W&B hook, or JSON lines in its output."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tuner.base.words import is_finite
from tuner.definition.study_file import Metric
from tuner.workloads.history import History, Value, flatten

Counts = Literal["first", "last", "mean"]  # which of several runs of a trial
WANDB = "W&B"
CHUNK = 1 << 20  # bytes of output read at once
LONGEST_LINE = 1 << 20  # a longer line (a progress bar without ends of line) is no JSON of metrics
EVENTS: Mapping[str, Mapping[str, Any]] = {  # of the hook, by kind: what each must have
    "problem": {"message": str},
    "init": {"run": str, "rank": int, "folder": str},
    "define": {"run": str, "name": str, "summary": str},
    "log": {"run": str, "data": dict, "step": int | None, "commit": bool | None},
    "summary": {"run": str, "data": dict},
    "returned": {"data": object},
    "elsewhere": {"run": str, "rank": int, "data": dict, "logger": str},  # logged to another logger than W&B
    "died": {"traceback": str},
}
SAFE_DIGITS = 18  # of a whole number that fits into 64 bits
PREFIX = b"[tune-metric]: "  # of Syne Tune's lines of JSON
PAIR = re.compile(
    rb"""(?<![\w./-])(?P<quote>["']?)(?P<name>[A-Za-z_][\w./-]*)(?P=quote)\s*[=:]\s*"""
    rb"""(?P<value>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan|inf))(?![\w.]*\w)"""
)


class LineReader:
    """Follows a file that grows; `find` gives what may be an object of JSON in a line, else nothing."""

    def __init__(self, path: Path, find: Callable[[bytes], bytes]) -> None:
        self.path, self._find = path, find
        self._position = 0
        self._rest = b""

    def new_lines(self, *, all_of_it: bool = False) -> list[bytes]:
        """Lines without their end. `all_of_it`: the writer is gone, so a last line needs no end."""
        lines: list[bytes] = []
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size > self._position:
                with self.path.open("rb") as file:
                    file.seek(self._position)
                    while chunk := file.read(CHUNK):
                        self._position += len(chunk)
                        *whole, self._rest = (self._rest + chunk).split(b"\n")
                        self._rest = self._rest[-LONGEST_LINE:]
                        lines += [found for line in whole if (found := self._find(line))]
        if all_of_it and (found := self._find(self._rest)):
            lines.append(found)
            self._rest = b""
        return lines


def _object_in(line: bytes) -> bytes:
    """What may be a JSON object that is a line of its own; empty where there is none.

    A progress bar (`\\r 50%|█████`) has no end of line: what is printed next stands behind it.
    """
    _, progress, last = line.rstrip(b"\r").rpartition(b"\r")
    found = last[last.find(b"{") :] if progress and b"{" in last else last.lstrip().removeprefix(PREFIX)
    return found if found.startswith(b"{") else b""


def _json_in(line: bytes) -> bytes:
    """The JSON object of a line; empty where there is none."""
    found = _object_in(line)
    try:
        json.loads(found)
    except ValueError:
        return b""
    return found


def pairs_in(line: bytes) -> dict[str, float]:
    """The pairs `name=0.5`, `name: 0.5`, `'name': 0.5` of a line that is no JSON; a progress bar's last."""
    if _json_in(line):
        return {}
    last = line.rstrip(b"\r").rpartition(b"\r")[2]
    return {found["name"].decode(): float(found["value"]) for found in PAIR.finditer(last)}


@dataclass
class LoggedRun:
    """One run of a script in W&B or another logger, and what was logged to it.

    Attributes:
        key: its W&B id; of other loggers their name and id.
        number: in the order in which the runs of the trial began, from 0.
        rank: which process of a distributed training made it; 0 where there is one.
        folder: its W&B files; "" where W&B is disabled.
    """

    key: str
    number: int
    rank: int
    folder: str
    history: History
    logger: str = WANDB


class Stream:
    """One script's metrics: the events of the hooks, or JSON lines in its output when it makes no W&B run.

    A script may make several runs (each process of a distributed training, each fold of a cross-validation).
    They are kept apart and one counts: the first of rank 0. Where the script logs the objective to others
    alone, the first of those counts; that is known at the script's end (`settle`). A run in another logger
    (Trackio, SwanLab, MLflow, TensorBoard) counts where it has the objective before W&B or the output have.

    Args:
        events: what the hook writes. output: what the script prints.
        pairs: lines of the output that name the metric (`loss=0.31`) are read, too.
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
        pairs: bool = False,
        mask: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.history = History(metric)  # of the run that counts
        self.runs: dict[str, LoggedRun] = {}  # by W&B id, in the order in which they began
        self.counted: LoggedRun | None = None
        self._counts = counts
        self._mask = mask
        self.problems: list[str] = []
        self._events = LineReader(events, _object_in)

        def pairs_or_json(line: bytes) -> bytes:
            if found := _json_in(line):
                return found
            pairs = pairs_in(line)
            return json.dumps(pairs).encode() if metric.name in pairs else b""

        self._output = LineReader(output, pairs_or_json if pairs else _object_in)
        self.died: str | None = None  # the traceback of the script's main thread
        self._waiting: deque[tuple[bool, bytes]] = deque()  # (from the hook?, line)

    def read(self, *, all_of_it: bool = False) -> Iterator[dict[str, Value]]:
        """Takes in what came since the last call; yields the summary at each new iteration.

        A caller that stops in the middle (a prune) finds the rest at its next call: nothing is lost.
        """
        self._waiting += [(True, line) for line in self._events.new_lines(all_of_it=all_of_it)]
        self._waiting += [(False, line) for line in self._output.new_lines(all_of_it=all_of_it)]
        while self._waiting:
            from_hook, line = self._waiting.popleft()
            try:
                content = json.loads(self._mask(line), parse_int=_whole)
            except ValueError:
                continue
            except RecursionError:
                self._problem("a line of metrics was nested too deeply and was not read")
                continue
            if not isinstance(content, dict) or (self._has_runs and not from_hook):
                continue
            if from_hook and not _is_event(content):
                self._problem("an event of the W&B hook was damaged and was not read")
                continue
            if self.take(content) if from_hook else self._log(self.history, "", content):
                yield dict(self.history.summary)

    def settle(self) -> LoggedRun | None:
        """Decides which run counts, once the script has ended; returns it if that is another than so far."""
        if not self.runs or self.history.score is not None:  # the run that counts has it, or the output
            return None
        runs = list(self.runs.values())
        if self._counts == "last":
            runs.reverse()
        runs.sort(key=lambda run: (run.logger != WANDB, run.rank))
        chosen = next((run for run in runs if run.history.score is not None), self.counted or runs[0])
        if chosen is self.counted:
            return None
        self.counted, self.history = chosen, chosen.history
        return chosen

    @property
    def _has_runs(self) -> bool:
        """Whether a run counts, or one of W&B's that will."""
        return self.counted is not None or any(run.logger == WANDB for run in self.runs.values())

    @property
    def alike(self) -> list[LoggedRun]:
        """The runs of one logger: W&B's, else those of the logger of the run that counts."""
        logger = self.counted.logger if self.counted else WANDB
        return [run for run in self.runs.values() if run.logger == logger]

    @property
    def others(self) -> list[LoggedRun]:
        """The runs that do not count."""
        return [run for run in self.runs.values() if run is not self.counted]

    def take(self, event: Mapping[str, Any]) -> bool:
        """Takes in one event; True when the run that counts began a new iteration."""
        kind = event["kind"]
        if kind == "problem":
            self._problem(event["message"])
        elif kind == "died":
            self.died = event["traceback"]
        elif kind == "init":
            self._begin(event)
        elif kind == "returned":
            return self._returned(event["data"])
        elif kind == "elsewhere":
            return self._log_elsewhere(event)
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

    def _log_elsewhere(self, event: Mapping[str, Any]) -> bool:
        """Takes in what was logged to another logger than W&B."""
        key = event["run"]
        if key not in self.runs:
            history = History(self.history.metric)
            self.runs[key] = LoggedRun(key, len(self.runs), event["rank"], "", history, event["logger"])
        run = self.runs[key]
        new = self._log(run.history, key, event["data"])
        if new and self._counts == "first" and not (self._has_runs or run.rank or self.history.iterations):
            self.counted, self.history = run, run.history
        return new and run is self.counted

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


def _is_event(content: Mapping[str, Any]) -> bool:
    """Whether the hook wrote this: a script can write into its file, too."""
    needs = EVENTS.get(str(content.get("kind")))
    return needs is not None and all(
        name in content and isinstance(content[name], kind) for name, kind in needs.items()
    )


def _whole(digits: str) -> int | float:
    """A whole number of JSON; one that no 64 bits hold becomes a float, at the latest infinity."""
    return int(digits) if len(digits) <= SAFE_DIGITS else float(digits)
