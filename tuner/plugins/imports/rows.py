"""An imported run as a row: its configuration, its metrics, and their history."""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.base.nested import leaves

# prefixes of columns, as programs write them
CONFIG = ("config.", "config/", "params.", "params_", "param_", "hp/")
SUMMARY = ("summary.", "summary/", "metrics.", "metrics/")
CONFIGS = ("config", "params", "parameters")  # columns that hold a whole configuration, or all metrics
SUMMARIES = ("summary", "summary_metrics", "summaryMetrics", "metrics")
LONGEST_CELL = 1 << 16  # characters of a cell that is read as Python's
# of W&B's states of a run, those that have no result
UNFINISHED = dict.fromkeys(("running", "pending", "preempting", "preempted"), "the run did not end")
UNFINISHED |= dict.fromkeys(("crashed", "failed", "killed"), "the run failed")
# columns of a table with a row for each epoch: what names the run, and what counts in it
RUNS = ("run_id", "trial_id", "id", "run", "trial", "run_name", "trial_name", "name", "experiment")
EPOCHS = ("epoch", "step", "_step", "global_step", "iteration", "training_iteration")
_WORDS = {"True": True, "False": False, "None": None, "": None, "nan": None, "NaN": None}


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        source: where it comes from, in words.
        config: its configuration by dotted name. metrics: what it reached, by name.
        history: what it reported on the way, in order.
        values: its objectives, where the source tells them without a name.
        problem: why it has no result, where the source says so.
    """

    source: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    values: Sequence[float] = field(default_factory=tuple)
    problem: str = ""

    def digest(self) -> str:
        """Tells runs apart. The same run has the same digest whenever it is read."""
        content = json.dumps([self.config, self.metrics, list(self.values)], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def row_of(source: str, columns: Mapping[str, Any]) -> Row:
    """The row of a table: a column belongs to the configuration or to the metrics, or to either."""
    config: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    for name, value in columns.items():
        if value is None:
            continue
        if name in CONFIGS and isinstance(value, Mapping):
            config |= leaves(unwrapped(value))
        elif name in SUMMARIES and isinstance(value, Mapping):
            metrics |= leaves(value)
        elif (bare := _without(name, CONFIG)) is not None:
            config |= leaves({bare.replace("/", "."): value})
        elif (bare := _without(name, SUMMARY)) is not None:
            metrics |= leaves({bare: value})
        else:
            config.setdefault(name, value)
            metrics.setdefault(name, value)
    problem = UNFINISHED.get(str(columns.get("state", columns.get("State"))), "")
    return Row(source, config, metrics, problem=problem)


def rows_of(table: str, lines: Mapping[int, Mapping[str, Any]]) -> list[Row]:
    """The runs of a table: one a row, or where the rows of a run count its epochs, one with a history.

    Args:
        table: its name, for `Row.source`.
        lines: by their number in the file: value by name of the column.
    """
    runs = _by_run(lines.values())
    if runs is None:
        return [row_of(f"{table}:{number}", line) for number, line in lines.items()]
    found = []
    for name, own in runs.items():
        rows = [row_of(f"{table}:{name}", line) for line in own]
        last = {key: value for row in rows for key, value in row.metrics.items()}
        found.append(Row(rows[0].source, rows[0].config, last, [row.metrics for row in rows]))
    return found


def _by_run(lines: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]] | None:
    """The lines of each run in the order of its epochs; None where a line is a run.

    W&B's exports have the state of a run in each line, and may have its last epoch and a name that two share.
    """
    lines = list(lines)
    known = {name.lower(): name for line in lines for name in line}
    run = next((known[name] for name in RUNS if name in known), None)
    epoch = next((known[name] for name in EPOCHS if name in known), None)
    if run is None or epoch is None or "state" in known:
        return None
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        found.setdefault(str(line.get(run)), []).append(line)
    for own in found.values():
        counted = [number(line.get(epoch)) for line in own]
        if None in counted or len(set(counted)) < len(own):
            return None
        own.sort(key=lambda line: float(line[epoch]))
    return found if len(found) < len(lines) else None


def unwrapped(config: Mapping[str, Any]) -> dict[str, Any]:
    """A W&B configuration without its own entries and without its `{"value": …}` around each value."""
    return {
        key: value["value"] if isinstance(value, Mapping) and "value" in value else value
        for key, value in config.items()
        if key not in ("_wandb", "wandb_version")
    }


def cell(text: str) -> Any:
    """A cell's value: JSON, or a dictionary as Python prints it (W&B's documented export), else text."""
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if text[:1] in "{[" and len(text) <= LONGEST_CELL:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return text
    return text


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def reports(history: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    """The finite values of a metric as Optuna keeps them, counted from 1."""
    finite = (found for line in history if (found := number(line.get(name))) is not None)
    return dict(enumerate(finite, 1))


def _without(name: str, prefixes: Sequence[str]) -> str | None:
    return next((name[len(p) :] for p in prefixes if name.startswith(p) and len(name) > len(p)), None)
