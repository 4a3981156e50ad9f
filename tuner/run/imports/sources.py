"""Reads the runs of other tools: W&B's files and exports, tables, Optuna storages, folders of Ray Tune."""

from __future__ import annotations

import ast
import csv
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from tuner.base.errors import InputError, nearest
from tuner.base.nested import leaves
from tuner.definition.study_file import StudyFile
from tuner.run.imports.rows import Row, row_of, unwrapped
from tuner.tracking import wandb_file

KINDS = (
    "a folder of W&B runs (offline-run-*) or of Ray Tune, a table (.csv, .parquet), a W&B export (.json), "
    "or an Optuna storage (URL or SQLite file)"
)
SQLITE = b"SQLite format 3\0"
_WORDS = {"True": True, "False": False, "None": None, "": None, "nan": None, "NaN": None}


def read(source: str, file: StudyFile, *, study: str | None = None) -> list[Row]:
    """The runs at `source`.

    Args:
        file: the study that they are for: its goals are those of an Optuna study.
        study: which study of an Optuna storage.

    Raises:
        InputError: there is nothing at `source`, or nothing that is known.
    """
    if "://" in source:
        return _optuna(source, source, file, study)
    path = Path(source)
    if path.is_dir():
        found = _wandb(path) or _ray(path)
        if not found:
            raise InputError(f"{source}: no runs of W&B (*.wandb) or Ray Tune (params.json) there")
        return found
    if not path.is_file():
        raise InputError(f"{source}: nothing there; expected {KINDS}")
    if path.suffix == ".wandb":
        return [_wandb_run(path)]
    with path.open("rb") as opened:
        if opened.read(len(SQLITE)) == SQLITE:
            return _optuna(f"sqlite:///{path}", source, file, study)
    match path.suffix.lower():
        case ".csv":
            return _csv(path)
        case ".json" | ".jsonl":
            return _json(path)
        case ".parquet":
            return [row_of(f"{path.name}:{n}", columns) for n, columns in enumerate(_parquet(path), 1)]
    raise InputError(f"{source}: expected {KINDS}")


# -- W&B


def _wandb(folder: Path) -> list[Row]:
    """The runs below a folder, in the order in which they began (their folders' names tell it)."""
    return [
        _wandb_run(path) for path in sorted(folder.rglob("*.wandb"), key=lambda p: (p.parent.name, p.name))
    ]


def _wandb_run(path: Path) -> Row:
    run = wandb_file.run_of(path)
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
            lines = list(csv.DictReader(opened))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file: {error}") from None
    return [
        row_of(f"{path.name}:{n}", {k: _cell(v) for k, v in line.items() if k and isinstance(v, str)})
        for n, line in enumerate(lines, 2)  # the heading is line 1
    ]


def _cell(text: str) -> Any:
    """A cell's value: JSON, or a dictionary as Python prints it (W&B's documented export), else text."""
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        pass
    if text[:1] in "{[":
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text
    return text


def _json(path: Path) -> list[Row]:
    """A list of runs, one run a line, or `{"runs": [...]}`."""
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
    except ValueError:
        try:
            content = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise InputError(f"{path}: not JSON: {error}") from None
    if isinstance(content, Mapping):
        content = content.get("runs", [content])
    if not isinstance(content, list) or not all(isinstance(each, Mapping) for each in content):
        raise InputError(f"{path}: expected a list of runs, each with 'config' and 'summary'")
    return [
        row_of(_name(path, n, each), {k: _told(v) for k, v in each.items()})
        for n, each in enumerate(content, 1)
    ]


def _name(path: Path, number: int, run: Mapping[str, Any]) -> str:
    told = next((run[key] for key in ("id", "name") if isinstance(run.get(key), str)), None)
    return f"{path.name}:{told or number}"


def _told(value: Any) -> Any:
    """W&B's API gives configuration and summary as JSON text."""
    return _cell(value) if isinstance(value, str) and value[:1] == "{" else value


def _parquet(path: Path) -> list[dict[str, Any]]:
    for name, needed in (("polars", ()), ("pandas", ("pyarrow",))):
        try:
            module = importlib.import_module(name)
            for other in needed:
                importlib.import_module(other)
        except ImportError:
            continue
        if name == "polars":
            rows: list[dict[str, Any]] = module.read_parquet(path).to_dicts()
            return rows
        frame = module.read_parquet(path)
        return [dict(row) for row in frame.astype(object).where(frame.notna(), None).to_dict("records")]
    raise InputError(
        f"{path}: parquet needs polars (pip install polars) or pandas with pyarrow; a .csv needs none"
    )


# -- Optuna


def _optuna(url: str, shown: str, file: StudyFile, name: str | None) -> list[Row]:
    import optuna

    from tuner.storage.access import storage_errors
    from tuner.storage.outage import hide_password

    shown = hide_password(shown)
    with storage_errors(url):
        storage = optuna.storages.get_storage(url)
        names = optuna.get_all_study_names(storage)
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            hint = "" if name is None else nearest(name, names)
            known = ", ".join(sorted(names)) or "none"
            raise InputError(f"{shown}: which study? --from-study NAME{hint} (there are: {known})")
        study = optuna.load_study(study_name=name, storage=storage)
        goals = [direction.name.lower() for direction in study.directions]
        wanted = [metric.goal for metric in file.objectives]
        if goals != wanted:
            theirs, ours = " and ".join(goals), " and ".join(wanted)
            raise InputError(
                f"{shown}: the goal of study '{name}' there is to {theirs}, that of '{file.name}' to {ours}"
            )
        return list(_optuna_rows(study))


def _optuna_rows(study: Study) -> Iterator[Row]:
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            continue
        attrs = trial.user_attrs
        metrics = attrs.get("metrics") if isinstance(attrs.get("metrics"), Mapping) else attrs
        complete = trial.state is TrialState.COMPLETE
        yield Row(
            f"{study.study_name} trial {trial.number}",
            dict(leaves(trial.params)),
            dict(metrics or {}),
            [{"": value} for _, value in sorted(trial.intermediate_values.items())],
            trial.values if complete else (),
            "" if complete else f"the trial is {'pruned' if trial.state is TrialState.PRUNED else 'failed'}",
        )


# -- Ray Tune


def _ray(folder: Path) -> list[Row]:
    found = []
    status = {name: state for path in _states(folder) for name, state in _statuses(path).items()}
    for params in sorted(folder.rglob("params.json")):
        results = params.with_name("result.json")
        text = results.read_text(encoding="utf-8") if results.is_file() else ""
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        history = [dict(leaves({k: v for k, v in line.items() if k != "config"})) for line in lines]
        config = dict(leaves(json.loads(params.read_text(encoding="utf-8"))))
        name = str(lines[-1].get("trial_id")) if lines else ""
        ended = status.get(name, "ERROR" if params.with_name("error.txt").is_file() else "TERMINATED")
        problem = _NOT_ENDED.get(ended, "") if lines else "the trial reported nothing"
        found.append(
            Row(params.parent.name, config, history[-1] if history else {}, history, problem=problem)
        )
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
        content = json.loads(path.read_text(encoding="utf-8"))
        trials = [json.loads(trial) for trial, *_ in content.get("trial_data", ())]
        return {str(trial["trial_id"]): str(trial["status"]) for trial in trials}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
