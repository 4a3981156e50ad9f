"""Reads the runs of other tools: files of W&B, MLflow, Trackio and Ray Tune, tables, Optuna storages."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuner.base.endings import in_short
from tuner.base.errors import InputError
from tuner.base.files import MOST_TABLE, check_file
from tuner.base.nested import leaves
from tuner.base.sqlite_url import sqlite_path
from tuner.definition.study_file import StudyFile
from tuner.plugins.imports import optuna_source, ray_source, read_parquet, tracker_source
from tuner.plugins.imports.rows import Row, cell, row_of, rows_of, unwrapped
from tuner.storage.outage import hide_password
from tuner.tracking import wandb_file

KINDS = (
    "a folder of W&B (offline-run-*), MLflow (mlruns) or Ray Tune, a SQLite file of MLflow or Trackio, a "
    "table (.csv, .parquet), a W&B export (.json), or an Optuna storage (URL or SQLite file)"
)
SQLITE = b"SQLite format 3\0"


def read(source: str, file: StudyFile, *, study: str | None = None) -> list[Row]:
    """The runs at `source`. Nothing is written there.

    Args:
        file: the study that they are for: its goals are those of an Optuna study.
        study: which study of an Optuna storage.

    Raises:
        InputError: there is nothing at `source`, nothing that is known, or it cannot be read.
    """
    try:
        return _read(source, file, study)
    except InputError:
        raise
    except Exception as error:  # whatever a parser says of content that nobody foresaw
        raise InputError(f"{hide_password(source)}: cannot be read: {in_short(error)}") from None


def _read(source: str, file: StudyFile, study: str | None) -> list[Row]:
    local = sqlite_path(source)
    if local is None and "://" in source:
        return optuna_source.read(source, file, study)
    if not source:
        raise InputError(f"an empty path; expected {KINDS}")
    path = Path(source) if local is None else local
    if path.is_dir():
        found = tracked(path) or ray_source.read(path)
        if not found:
            what = "W&B (*.wandb), MLflow (meta.yaml), Trackio (*.db) or Ray Tune (params.json)"
            raise InputError(f"{source}: no runs of {what} there")
        return found
    if not path.is_file():
        raise InputError(f"{source}: nothing there; expected {KINDS}")
    if found := tracked(path):
        return found
    if _is_sqlite(path):
        return optuna_source.read_file(path, file, study)
    check_file(path, MOST_TABLE)
    match path.suffix.lower():
        case ".csv":
            return _csv(path)
        case ".json" | ".jsonl":
            return _json(path)
        case ".parquet":
            return rows_of(path.name, dict(enumerate(_parquet(path), 1)))
    raise InputError(f"{source}: expected {KINDS}")


def tracked(path: Path) -> list[Row]:
    """The runs that W&B, MLflow or Trackio keep in a file or below a folder, in the order of their beginning.

    Those of one tool: none of another's are looked for where there are some. Empty: there are none.
    """
    if path.is_file():
        if path.suffix == ".wandb":
            return [_wandb_run(path)]
        return (tracker_source.database(path) or []) if _is_sqlite(path) else []
    files = sorted(path.rglob("*.wandb"), key=lambda p: (p.parent.name, p.name))  # the folder has the time
    if files:
        return [_wandb_run(each) for each in files]
    return tracker_source.mlflow_folder(path) or [
        row for each in sorted(path.glob("*.db")) if _is_sqlite(each)
        for row in tracker_source.database(each) or []
    ]  # fmt: skip


def _is_sqlite(path: Path) -> bool:
    if not path.is_file():  # a pipe would be waited for
        return False
    with path.open("rb") as opened:
        return opened.read(len(SQLITE)) == SQLITE


# -- W&B


def _wandb_run(path: Path) -> Row:
    run = wandb_file.run_of(check_file(path, MOST_TABLE))
    problem = ""
    if not run.ended:
        problem = "the run did not end"
    elif run.exit_code:
        problem = "the run failed"
    last = {name: value for line in run.history for name, value in line.items()}
    config = dict(leaves(unwrapped(run.config)))
    return Row(path.parent.name, config, {**last, **dict(leaves(run.summary))}, run.history, problem=problem)


# -- tables


def _csv(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            table = csv.DictReader(opened)
            names = [name for name in table.fieldnames or () if name]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise InputError(f"{path}:1: two columns are named '{twice[:100]}'")
            lines = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file: {error}") from None
    return rows_of(
        path.name,
        {
            n: {k: cell(v) for k, v in line.items() if k and isinstance(v, str)}
            for n, line in enumerate(lines, 2)  # the heading is line 1
        },
    )


def _json(path: Path) -> list[Row]:
    """A list of runs, one run a line, or `{"runs": [...]}`."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8: {error}") from None
    try:
        content = json.loads(text)
    except ValueError:
        content = list(json_lines(text, path))
    if isinstance(content, Mapping):
        content = content.get("runs", [content])
    if not isinstance(content, list) or not all(isinstance(each, Mapping) for each in content):
        raise InputError(f"{path}: expected a list of runs, each with 'config' and 'summary'")
    return [
        row_of(_name(path, n, each), {k: _told(v) for k, v in each.items()})
        for n, each in enumerate(content, 1)
    ]


def json_lines(text: str, path: Path) -> Iterator[Any]:
    """The values of a text with one a line.

    Raises:
        InputError: a line is not JSON.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}:{number}: not JSON: {in_short(error)}") from None


def _name(path: Path, number: int, run: Mapping[str, Any]) -> str:
    told = next((run[key] for key in ("id", "name") if isinstance(run.get(key), str)), None)
    return f"{path.name}:{told or number}"


def _told(value: Any) -> Any:
    """W&B's API gives configuration and summary as JSON text."""
    return cell(value) if isinstance(value, str) and value[:1] == "{" else value


def _parquet(path: Path) -> list[dict[str, Any]]:
    if not (find_spec("polars") or (find_spec("pandas") and find_spec("pyarrow"))):
        raise InputError(
            f"{path}: parquet needs polars (pip install polars) or pandas with pyarrow; a .csv needs none"
        )
    command = [sys.executable, "-P", read_parquet.__file__, str(path.absolute())]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["its reader crashed"]
        raise InputError(f"{path}: not a parquet file: {said[-1][:500]}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows
