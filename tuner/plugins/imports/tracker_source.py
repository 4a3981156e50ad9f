"""Reads the runs that MLflow and Trackio keep on this machine, without these packages."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tuner.base.files import check_file, scratch_folder
from tuner.base.nested import leaves
from tuner.plugins.imports.rows import Row, cell

# of MLflow's runs: files have the number, databases the word
_PROBLEMS = dict.fromkeys((1, "RUNNING", 2, "SCHEDULED"), "the run did not end") | dict.fromkeys(
    (4, "FAILED", 5, "KILLED"), "the run failed"
)


def mlflow_folder(folder: Path) -> list[Row]:
    """The runs below an `mlruns/` folder, in the order in which they began; deleted ones are left out."""
    found = []
    for meta in folder.rglob("meta.yaml"):
        about = yaml.safe_load(check_file(meta, 1 << 20).read_text(encoding="utf-8")) or {}
        if "run_id" not in about or about.get("lifecycle_stage") == "deleted":
            continue
        params = {name: cell(text) for name, text in _files(meta.with_name("params"))}
        told, problem = [], _PROBLEMS.get(about.get("status"), "")
        for name, text in _files(meta.with_name("metrics")):
            try:
                lines = [line.split() for line in text.splitlines()]
                told += [(int(step[0]) if step else 0, name, float(value)) for _, value, *step in lines]
            except ValueError:
                problem = f"its file of '{name}' is damaged"
        source = f"{about.get('run_name') or meta.parent.name} ({meta.parent.name[:8]})"
        found.append((about.get("start_time") or 0, _row(source, params, told, problem)))
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Names (with those of folders, as in `val/loss`) and texts of the files below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")


def database(path: Path) -> list[Row] | None:
    """The runs in a SQLite file of MLflow or Trackio; None: it is another program's."""
    with copied(path) as copy, closing(sqlite3.connect(copy)) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if {"runs", "params", "metrics", "experiments"} <= tables:
            return _mlflow(opened)
        return _trackio(opened) if {"configs", "metrics"} <= tables else None


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """A copy of a SQLite file: reading the file itself may write beside it."""
    with scratch_folder() as folder:
        copy = folder / "copy.db"
        for suffix in ("", "-wal"):
            beside = path.with_name(path.name + suffix)
            if beside.is_file():
                shutil.copyfile(beside, copy.with_name(copy.name + suffix))
        yield copy


def _mlflow(opened: sqlite3.Connection) -> list[Row]:
    params: dict[str, dict[str, Any]] = defaultdict(dict)
    for run, name, text in opened.execute("SELECT run_uuid, key, value FROM params"):
        params[run][name] = cell(text)
    told: dict[str, list[tuple[int, str, float]]] = defaultdict(list)
    for run, name, value, step in opened.execute(
        "SELECT run_uuid, key, value, step FROM metrics WHERE NOT is_nan ORDER BY timestamp"
    ):
        told[run].append((step, name, value))
    runs = opened.execute(
        "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time"
    )
    return [
        _row(f"{name or run} ({run[:8]})", params[run], told[run], _PROBLEMS.get(status, ""))
        for run, name, status in runs
    ]


def _trackio(opened: sqlite3.Connection) -> list[Row]:
    configs = {
        name: {k: v for k, v in json.loads(text).items() if not k.startswith("_")}
        for name, text in opened.execute("SELECT run_name, config FROM configs ORDER BY id")
    }
    told: dict[str, list[tuple[int, str, float]]] = {}
    for run, step, text in opened.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id"):
        values = dict(leaves(json.loads(text)))
        told.setdefault(run, []).extend((step or 0, name, value) for name, value in values.items())
    return [_row(name, dict(leaves(configs.get(name, {}))), each, "") for name, each in told.items()]


def _row(source: str, config: dict[str, Any], told: list[tuple[int, str, Any]], problem: str) -> Row:
    steps: dict[int, dict[str, Any]] = defaultdict(dict)
    for step, name, value in told:
        steps[step][name] = value
    history = [steps[step] for step in sorted(steps)]
    last = {name: value for line in history for name, value in line.items()}
    return Row(source, config, last, history, problem=problem)
