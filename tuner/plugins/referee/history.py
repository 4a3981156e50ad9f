"""Reads what a loop wrote about its runs: a table, JSON lines, a tracker's files, metrics in a git history.

Columns are found by name, as loops write them: the arm (commit, branch, name …), the metric, and where there
are some the seed, the status and a description.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.base.endings import in_short
from tuner.base.errors import InputError
from tuner.base.files import MOST_TABLE, check_file
from tuner.base.words import in_words
from tuner.plugins.referee import own, repository
from tuner.plugins.referee.arms import STOPPED, Run
from tuner.plugins.referee.columns import (
    ARM,
    FAILED,
    NOTE,
    SEED,
    STATUS,
    Line,
    arm_column,
    column,
    maximizes,
    metric_column,
    names_of,
    number,
    text,
)  # fmt: skip
from tuner.plugins.referee.judge import Referee
from tuner.plugins.referee.own import OWN
from tuner.plugins.referee.repository import git

USUAL = ("results.tsv", "results.csv", "results.jsonl")  # as loops call their table
TABLES = (".tsv", ".csv", ".jsonl", ".json")
TRACKED = ("wandb", "mlruns", "mlflow.db", "trackio")  # files and folders that trackers keep
METRICS = ("metrics.json", "results.json", "metrics/metrics.json")  # tracked files with one metric a commit
EXPECTED = (
    f"a table ({', '.join(TABLES)}), a folder of runs (W&B, MLflow, Trackio), or their .db or .wandb file"
)
COMMITS = 1000  # of a git history, at the most

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


class NoRuns(InputError):
    """A folder or a table has no run yet."""


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
        source: a table, JSON lines, or what W&B, MLflow or Trackio keep; None: what is found in the folder,
            or else its git history.
        metric: name of the column; None: found by name. arm: as much.
        goal: minimize or maximize; None: found by the metric's name.

    Raises:
        NoRuns: there are no runs.
        InputError: it is not clear which column is what.
    """
    ours = [row for row in own.rows(folder) if row.get("kind") == "run"]
    metric = metric or next((str(row["metric"]) for row in ours), None)
    ours = [row for row in ours if row.get("metric") in (None, metric)]
    goal = goal or next((str(row["goal"]) for row in ours if row.get("goal")), None)
    path = source or _found(folder)
    lines = [] if path is None else _lines(path)
    if path is not None and lines:
        where = path.name
    elif ours and source is None:
        where = OWN
    elif path is not None:
        raise NoRuns(f"{path}: no rows")
    else:
        lines, where = _commits(folder), "the git history"
        if not lines:
            raise NoRuns(
                f"{folder}: no runs found; expected {', '.join(USUAL)}, another table (.csv, .jsonl), "
                f"{', '.join(TRACKED)}, or a metric in each commit (metrics.json, or `val_loss: 0.5` in a "
                "message)"
            )
    runs: list[Run] = []
    if lines:
        found = metric_column(lines, metric, where)
        runs, metric = _runs(lines, found, arm_column(lines, arm, where)), found
    runs += map(_own_run, ours)
    assert metric is not None
    return History(tuple(runs), metric, maximizes(metric, goal, runs), where)


def refereed(folder: Path, history: History, files: Sequence[str] = ()) -> Referee:
    """The referee on a history; arms whose commits edit the files that measure are not compared.

    Args:
        files: names or patterns of files that measure; empty: the usual names (`EVALUATION`).
    """
    names = list(dict.fromkeys(run.arm for run in history.runs))
    edited = repository.edited_since_first(folder, names, files)
    barred = {name: repository.edited_words(found) for name, found in edited.items()}
    return Referee(history.runs, maximize=history.maximize, barred=barred)


# -- sources


def _found(folder: Path) -> Path | None:
    """The table of a folder, or what a tracker keeps there."""
    for name in USUAL:
        if (folder / name).is_file():
            return folder / name
    others = sorted(p for p in folder.iterdir() if p.suffix in TABLES[:3] and p.name != OWN and p.is_file())
    tables = [p for p in others if any(column(line.columns, ARM) for line in _lines(p)[:1])]
    if len(tables) > 1:
        raise InputError(f"{folder}: several tables; name one of {', '.join(p.name for p in tables)}")
    if tables:
        return tables[0]
    kept = [name for name in TRACKED if (folder / name).exists() and _lines(folder / name)]
    if len(kept) > 1:
        raise InputError(f"{folder}: runs of several trackers; name one: --source {' or '.join(kept)}")
    return folder / kept[0] if kept else None


def _lines(path: Path) -> list[Line]:
    if not path.exists():
        raise InputError(f"{path}: nothing there; expected {EXPECTED}")
    if path.is_dir() or path.suffix in (".wandb", ".db", ".sqlite", ".sqlite3"):
        return _tracked(path)
    check_file(path, MOST_TABLE)
    match path.suffix.lower():
        case ".tsv" | ".csv":
            return _table(path)
        case ".jsonl" | ".json":
            return _json_lines(path)
    raise InputError(f"{path}: expected {EXPECTED}")


def _table(path: Path) -> list[Line]:
    try:
        content = path.read_text(encoding="utf-8-sig")
        tab = path.suffix.lower() == ".tsv" or "\t" in content.partition("\n")[0]
        lines = content.splitlines(keepends=True)
        # loops quote nothing in tables with tabs: a quote is a quote
        rows = list(
            csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tab else csv.DictReader(lines)
        )
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table: {in_short(error)}") from None
    return [
        Line({k.strip(): v.strip() for k, v in row.items() if k and isinstance(v, str)}, f"{path.name}:{n}")
        for n, row in enumerate(rows, 2)
    ]


def _json_lines(path: Path) -> list[Line]:
    try:
        content = path.read_text(encoding="utf-8")
        whole = content.lstrip().startswith("[")
        rows = json.loads(content) if whole else [json.loads(x) for x in content.splitlines() if x.strip()]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON lines: {in_short(error)}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected an object a line")
    return [Line(row, f"{path.name}:{n}") for n, row in enumerate(rows, 1)]


def _tracked(path: Path) -> list[Line]:
    """Runs of W&B, MLflow or Trackio: those whose configurations differ in the seed alone are one arm."""
    from tuner.plugins.imports import sources

    try:
        rows = sources.tracked(path)
    except Exception as error:  # whatever a parser says of content that nobody foresaw
        raise InputError(f"{path}: cannot be read: {in_short(error)}") from None
    seed = column(dict.fromkeys(name for row in rows for name in row.config), SEED)
    texts = [{n: str(v) for n, v in row.config.items() if n != seed} for row in rows]
    varied = [n for n in dict.fromkeys(n for each in texts for n in each)
              if len({each.get(n) for each in texts}) > 1]  # fmt: skip
    lines = []
    for row in rows:
        config = {name: row.config[name] for name in varied if name in row.config}
        columns = {"arm": in_words(config) if config else "the configuration", **row.metrics}
        status = f"failed: {row.problem}" if row.problem else ""
        lines.append(Line({**columns, "status": status, "seed": row.config.get(seed or "", "")}, row.source))
    return lines


def _commits(folder: Path) -> list[Line]:
    """The commits of a git history that tell a metric: in a tracked file, or in their message."""
    if not git(folder, "rev-parse", "--git-dir"):
        return []
    for name in METRICS:
        log = git(folder, "log", "--reverse", f"-{COMMITS}", "--format=%h%x09%s", "--", name) or ""
        commits = dict(line.split("\t", 1) for line in log.splitlines())
        found = []
        for commit, content in repository.contents(folder, name, list(commits)).items():
            try:
                told = json.loads(content)
            except (ValueError, RecursionError):
                continue
            if isinstance(told, dict):
                found.append(Line({"commit": commit, "description": commits[commit], **told}, commit))
        if found:
            return found
    log = git(folder, "log", "--reverse", f"-{COMMITS}", "--format=%h%x00%s%x00%b%x01") or ""
    found = []
    for entry in log.split("\x01"):
        commit, _, rest = entry.strip("\n").partition("\x00")
        subject, _, body = rest.partition("\x00")
        told = dict(NAMED.findall(f"{subject}\n{body}"))
        if told:
            found.append(Line({"commit": commit, "description": subject, **told}, commit))
    return found


def _runs(lines: Sequence[Line], metric: str, arm: str) -> list[Run]:
    runs = []
    seed, status, note = (column(dict.fromkeys(names_of(lines)), names) for names in (SEED, STATUS, NOTE))
    for line in lines:
        told = {name: text(line.columns.get(name)) for name in (seed, status, note) if name}
        state = told.get(status or "", "")
        failed = state.lower().startswith(FAILED)
        name = text(line.columns.get(arm)).strip()
        if not name:
            raise InputError(f"{line.place}: '{arm}' is empty: which arm is it?")
        value = None if failed else number(line.columns.get(metric))
        runs.append(Run(name, value, told.get(seed or "", ""), told.get(note or "", ""), state, line.place))
    return runs


def _own_run(row: Mapping[str, Any]) -> Run:
    arm, seed, note, status = (text(row.get(name)) for name in ("arm", "seed", "note", "status"))
    stopped = text(row.get("why")) if status == STOPPED else ""
    return Run(arm, number(row.get("value")), seed, note, status, OWN, stopped)
