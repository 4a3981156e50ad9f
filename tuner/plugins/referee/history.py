"""Reads what a loop wrote about its runs: a table, JSON lines, W&B's files, or metrics in a git history.

Columns are found by name, as loops write them: the arm (commit, branch, name …), the metric, and where there
are some the seed, the status and a description.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuner.base.endings import in_short
from tuner.base.errors import InputError, nearest
from tuner.base.files import check_file
from tuner.base.words import in_words
from tuner.plugins.referee.judge import Ruling, Run
from tuner.plugins.referee.repository import git

OWN = "referee.jsonl"  # runs that the referee made, and its rulings
USUAL = ("results.tsv", "results.csv", "results.jsonl")  # as loops call their table
TABLES = (".tsv", ".csv", ".jsonl", ".json")
METRICS = ("metrics.json", "results.json", "metrics/metrics.json")  # tracked files with one metric a commit
LARGEST = 1 << 28  # bytes of a table
COMMITS = 1000  # of a git history, at the most

ARM = ("arm", "commit", "sha", "hash", "branch", "candidate", "experiment", "config", "name", "run",
       "run_name", "run_id", "id")  # fmt: skip
SEED = ("seed", "rng_seed", "random_seed")
STATUS = ("status", "state", "result", "decision", "outcome")
NOTE = ("description", "note", "notes", "message", "desc", "change", "comment")
FAILED = (
    "crash",
    "fail",
    "error",
    "oom",
    "timeout",
    "killed",
    "nan",
)  # how the status of a run without a value begins
NO_METRIC = re.compile(
    r"seed|epoch|step|iter|time|date|memory|vram|_gb$|_mb$|seconds|minutes|duration|param|size|^lr$|rate$|^id$"
    r"|^run|index|count"
)
LESS = ("loss", "bpb", "bpc", "error", "err", "perplexity", "ppl", "mae", "mse", "rmse", "nll", "ece", "wer",
        "cer", "fid", "regret", "latency", "cost")  # fmt: skip
MORE = ("acc", "accuracy", "f1", "auc", "auroc", "score", "reward", "return", "bleu", "rouge", "precision",
        "recall", "iou", "map", "r2", "mfu", "exact", "win")  # fmt: skip
NAMED = re.compile(r"([A-Za-z_][\w/.-]*)\s*[:=]\s*(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\b")


@dataclass(frozen=True)
class History:
    """The runs of a loop, in the order in which they were made.

    Attributes:
        metric: the name of their value. maximize: whether larger values are better.
        source: where they were read, in words.
    """

    runs: tuple[Run, ...]
    metric: str
    maximize: bool
    source: str


@dataclass(frozen=True)
class _Line:
    """A row of a source: its columns by name, and its place."""

    columns: Mapping[str, Any]
    place: str


def read(
    folder: Path,
    source: Path | None = None,
    *,
    metric: str | None = None,
    goal: str | None = None,
    arm: str | None = None,
) -> History:
    """The runs that were made in a folder, and those that the referee made there (`OWN`).

    Args:
        source: a table, JSON lines, or a folder of W&B runs; None: what is found in the folder, or else its
            git history.
        metric: name of the column; None: found by name. arm: as much.
        goal: minimize or maximize; None: found by the metric's name.

    Raises:
        InputError: there are no runs, or it is not clear which column is what.
    """
    own = [line for line in _own_lines(folder) if line.columns.get("kind") == "run"]
    metric = metric or next((str(line.columns["metric"]) for line in own), None)
    own = [line for line in own if line.columns.get("metric") in (None, metric)]
    goal = goal or next((str(line.columns["goal"]) for line in own if line.columns.get("goal")), None)
    path = source or _found(folder)
    if path is None and own:
        lines, where = [], OWN
    elif path is None:
        lines, where = _commits(folder), "the git history"
        if not lines:
            raise InputError(
                f"{folder}: no runs found; expected {', '.join(USUAL)}, another table (.csv, .jsonl), "
                "a wandb/ folder, or a metric in each commit (metrics.json, or `val_loss: 0.5` in a message)"
            )
    else:
        lines, where = _lines(path), path.name
    if path is not None and not lines:
        raise InputError(f"{path}: no rows")
    runs: list[Run] = []
    if lines:
        found = _metric(lines, metric, where)
        runs, metric = _runs(lines, found, _arm(lines, arm, where)), found
    runs += [_own_run(line) for line in own]
    assert metric is not None
    return History(tuple(runs), metric, maximizes(metric, goal, runs), where)


def append(folder: Path, row: Mapping[str, Any]) -> None:
    """Adds a line to the referee's own file: `kind` is run (arm, value, seed, metric, goal) or ruling."""
    with (folder / OWN).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def own_rows(folder: Path) -> list[Mapping[str, Any]]:
    """The rows of the referee's own file, oldest first; none where there is no file."""
    return [line.columns for line in _own_lines(folder)]


def _own_lines(folder: Path) -> list[_Line]:
    return _json_lines(folder / OWN) if (folder / OWN).is_file() else []


def note_ruling(folder: Path, ruling: Ruling, history: History) -> None:
    """Adds a ruling to the referee's own file, unless it says there what it said last of the arm."""
    told = {"kind": "ruling", "metric": history.metric, **ruling.to_dict()}
    same = [row for row in own_rows(folder) if row.get("kind") == "ruling" and row.get("arm") == ruling.arm]
    last = same[-1] if same else {}
    if any(last.get(name) != told[name] for name in ("word", "runs", "against", "metric")):
        append(folder, {"made": f"{datetime.now():%Y-%m-%d %H:%M:%S}", **told})


# -- sources


def _found(folder: Path) -> Path | None:
    """The table of a folder, or its W&B runs."""
    for name in USUAL:
        if (folder / name).is_file():
            return folder / name
    others = sorted(p for p in folder.iterdir() if p.suffix in TABLES[:3] and p.name != OWN and p.is_file())
    tables = [p for p in others if any(_column(line.columns, ARM) for line in _lines(p)[:1])]
    if len(tables) > 1:
        raise InputError(f"{folder}: several tables; name one of {', '.join(p.name for p in tables)}")
    if tables:
        return tables[0]
    return folder / "wandb" if next(folder.glob("wandb/*run-*"), None) else None


def _lines(path: Path) -> list[_Line]:
    if path.is_dir():
        return _wandb(path)
    check_file(path, LARGEST)
    match path.suffix.lower():
        case ".tsv" | ".csv":
            return _table(path)
        case ".jsonl" | ".json":
            return _json_lines(path)
    raise InputError(f"{path}: expected a table ({', '.join(TABLES)}) or a folder of W&B runs")


def _table(path: Path) -> list[_Line]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        tab = path.suffix.lower() == ".tsv" or "\t" in text.partition("\n")[0]
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if tab else ","))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table: {in_short(error)}") from None
    return [
        _Line({k.strip(): v.strip() for k, v in row.items() if k and isinstance(v, str)}, f"{path.name}:{n}")
        for n, row in enumerate(rows, 2)
    ]


def _json_lines(path: Path) -> list[_Line]:
    check_file(path, LARGEST)
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if text.lstrip().startswith("[") else None
        rows = (
            [json.loads(line) for line in text.splitlines() if line.strip()] if content is None else content
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON lines: {in_short(error)}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected an object a line")
    return [_Line(row, f"{path.name}:{n}") for n, row in enumerate(rows, 1)]


def _wandb(folder: Path) -> list[_Line]:
    """Runs of W&B: those whose configurations differ in the seed alone are one arm."""
    from tuner.plugins.imports import sources

    lines = []
    for row in sources.wandb_runs(folder):
        seed = _column(row.config, SEED)
        config = {name: value for name, value in row.config.items() if name != seed}
        columns = {"arm": in_words(config) or "no configuration", "status": row.problem, **row.metrics}
        lines.append(_Line({**columns, "seed": row.config.get(seed or "", "")}, row.source))
    return lines


def _commits(folder: Path) -> list[_Line]:
    """The commits of a git history that tell a metric: in a tracked file, or in their message."""
    if not git(folder, "rev-parse", "--git-dir"):
        return []
    for name in METRICS:
        commits = git(folder, "log", "--reverse", f"-{COMMITS}", "--format=%h%x09%s", "--", name) or ""
        found = []
        for commit, _, subject in (line.partition("\t") for line in commits.splitlines()):
            try:
                content = json.loads(git(folder, "show", f"{commit}:./{name}") or "")
            except (ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                found.append(_Line({"commit": commit, "description": subject, **content}, commit))
        if found:
            return found
    log = git(folder, "log", "--reverse", f"-{COMMITS}", "--format=%h%x00%s%x00%b%x01") or ""
    found = []
    for entry in log.split("\x01"):
        commit, _, rest = entry.strip("\n").partition("\x00")
        subject, _, body = rest.partition("\x00")
        told = dict(NAMED.findall(f"{subject}\n{body}"))
        if told:
            found.append(_Line({"commit": commit, "description": subject, **told}, commit))
    return found


# -- columns


def _column(columns: Mapping[str, Any], names: Sequence[str]) -> str | None:
    lowered = {name.lower().replace(" ", "_"): name for name in columns}
    return next((lowered[name] for name in names if name in lowered), None)


def _names(lines: Sequence[_Line]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line.columns))


def _arm(lines: Sequence[_Line], arm: str | None, where: str) -> str:
    names = _names(lines)
    if arm is not None and arm not in names:
        raise InputError(f"{where}: no column '{arm}'{nearest(arm, names)} (columns: {', '.join(names)})")
    found = arm or _column(dict.fromkeys(names), ARM)
    if found is None:
        raise InputError(
            f"{where}: which column names the arm? expected one of {', '.join(ARM[:6])}, or --arm COLUMN "
            f"(columns: {', '.join(names)})"
        )
    return found


def _metric(lines: Sequence[_Line], metric: str | None, where: str) -> str:
    names = _names(lines)
    if metric is not None:
        if metric not in names:
            raise InputError(
                f"{where}: no metric '{metric}'{nearest(metric, names)} (columns: {', '.join(names)})"
            )
        return metric
    counts = Counter(
        name for line in lines for name, value in line.columns.items() if _number(value) is not None
    )
    taken = {*ARM, *SEED, *STATUS, *NOTE}
    able = [
        n
        for n in names
        if 2 * counts[n] >= len(lines) and n.lower() not in taken and not NO_METRIC.search(n.lower())
    ]
    known = [name for name in able if _less(name) is not None]
    validated = [name for name in known if re.search(r"val|test|eval", name.lower())]
    for found in (validated, known, able):
        if len(found) == 1:
            return found[0]
        if found:
            break
    what = f"one of {', '.join(found)}" if found else f"a column of numbers (columns: {', '.join(names)})"
    raise InputError(f"{where}: which metric counts? --metric NAME, {what}")


def _less(name: str) -> bool | None:
    """Whether smaller values of a metric are better, by its name; None: it does not say so."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    if any(word in LESS for word in words):
        return True
    return False if any(word in MORE for word in words) else None


def maximizes(metric: str, goal: str | None, runs: Sequence[Run]) -> bool:
    """Whether larger values are better: as `goal` says, by the metric's name, or as the loop kept."""
    if goal is not None:
        return goal == "maximize"
    less = _less(metric)
    if less is None:  # a loop keeps what is better
        kept = [run.value for run in runs if run.status.lower().startswith("keep") and run.value is not None]
        less = kept[-1] < kept[0] if len(kept) > 1 and kept[0] != kept[-1] else None
    if less is None:
        raise InputError(f"{metric}: is less better, or more? --goal minimize or --goal maximize")
    return not less


def _runs(lines: Sequence[_Line], metric: str, arm: str) -> list[Run]:
    runs = []
    seed, status, note = (_column(dict.fromkeys(_names(lines)), names) for names in (SEED, STATUS, NOTE))
    for line in lines:
        told = {name: _text(line.columns.get(name)) for name in (seed, status, note) if name}
        state = told.get(status or "", "")
        failed = state.lower().startswith(FAILED)
        name = _text(line.columns.get(arm)).strip()
        if not name:
            raise InputError(f"{line.place}: '{arm}' is empty: which arm is it?")
        value = None if failed else _number(line.columns.get(metric))
        runs.append(Run(name, value, told.get(seed or "", ""), told.get(note or "", ""), state, line.place))
    return runs


def _own_run(line: _Line) -> Run:
    arm, seed, note, status = (_text(line.columns.get(name)) for name in ("arm", "seed", "note", "status"))
    return Run(arm, _number(line.columns.get("value")), seed, note, status, line.place)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> float | None:
    """A finite number, also where it is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
