"""Reads the trials of Ray Tune from its folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.base.endings import in_short
from tuner.base.errors import InputError
from tuner.base.files import MOST_TABLE, check_file, read_json
from tuner.base.nested import leaves
from tuner.plugins.imports.rows import Row


def read(folder: Path) -> list[Row]:
    """The trials of the experiments below a folder; one whose files are damaged is a row with a problem."""
    found = []
    status = {name: state for path in _states(folder) for name, state in _statuses(path).items()}
    for params in sorted(folder.rglob("params.json")):
        try:
            found.append(_trial(params, status))
        except (InputError, ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
            where = params.parent.name
            found.append(Row(where, {}, {}, problem=f"its files are damaged ({in_short(error)})"))
    return found


def _trial(params: Path, status: Mapping[str, str]) -> Row:
    results = params.with_name("result.json")
    lines = _whole_lines(check_file(results, MOST_TABLE)) if results.exists() else []
    history = [dict(leaves({k: v for k, v in line.items() if k != "config"})) for line in lines]
    config = dict(leaves(read_json(params)))
    name = str(lines[-1].get("trial_id")) if lines else ""
    ended = status.get(name, "ERROR" if params.with_name("error.txt").is_file() else "TERMINATED")
    problem = _NOT_ENDED.get(ended, "") if lines else "the trial reported nothing"
    return Row(params.parent.name, config, history[-1] if history else {}, history, problem=problem)


def _whole_lines(results: Path) -> list[Any]:
    """The reports of a trial. A kill may have torn the last one, which is left out."""
    lines = [
        line for line in results.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    found = []
    for place, line in enumerate(lines):
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            if place + 1 < len(lines):
                raise
    return found


# a trial that failed once and was tried again keeps its error.txt: only the experiment says how it ended
_NOT_ENDED = {
    "ERROR": "the trial failed",
    **dict.fromkeys(("RUNNING", "PENDING", "PAUSED"), "the trial did not end"),
}


def _states(folder: Path) -> list[Path]:
    """The files that say how trials ended, oldest first: of the experiments below `folder`, or around it."""
    return sorted([*folder.rglob("experiment_state-*.json"), *folder.parent.glob("experiment_state-*.json")])


def _statuses(path: Path) -> dict[str, str]:
    """By trial, how it ended. An experiment that was killed may leave the file torn."""
    try:
        content = read_json(path)
        trials = [json.loads(trial) for trial, *_ in content.get("trial_data", ())]
        return {str(trial["trial_id"]): str(trial["status"]) for trial in trials}
    except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
