"""What is said of studies in words and tables: at the end of one, in `status`, `best` and `list`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from tuner import allocate, ranking, study_store, winners
from tuner.launch import Request, Result
from tuner.records import Records
from tuner.storage import open_records, storage_errors
from tuner.study_file import StudyFile


@dataclass(frozen=True)
class StudyState:
    """Where a study stands."""

    name: str
    counts: Mapping[TrialState, int]
    total: int | None
    best: FrozenTrial | None
    metric: str
    stopped: str | None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "wanted": self.total,
            **{state.name.lower(): count for state, count in self.counts.items()},
            "best": None
            if self.best is None
            else {"number": self.best.number, self.metric: self.best.values[0]},
            "stopped": self.stopped,
        }


def state_of(records: Records, study: optuna.Study) -> StudyState:
    """Where `study` stands; counts alone for a study that was not made by this tuner."""
    counts = records.counts(study._study_id)
    attrs = study.user_attrs
    best, metric = None, "value"
    if study_store.FILE in attrs:
        study_file = winners.stored_file(study)
        ranked = ranking.ranked(study.get_trials(deepcopy=False), study_file)
        best, metric = (ranked[0] if ranked else None), study_file.metric.name
    return StudyState(
        study.study_name, counts, attrs.get(study_store.TOTAL), best, metric, attrs.get(allocate.STOPPED)
    )


def states_table(states: Sequence[StudyState]) -> Table:
    """One line a study."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for heading, justify in (
        ("study", "left"), ("finished", "right"), ("pruned", "right"), ("failed", "right"),
        ("running", "right"), ("waiting", "right"), ("best", "left"), ("", "left"),
    ):  # fmt: skip
        table.add_column(
            heading, justify="right" if justify == "right" else "left", no_wrap=heading == "study"
        )
    for state in states:
        counts = state.counts
        done = winners.finished(counts)
        best = (
            ""
            if state.best is None
            else f"{state.metric} {state.best.values[0]:.4f} (trial {state.best.number})"
        )
        table.add_row(
            state.name,
            str(done) if state.total is None else f"{done}/{state.total}",
            *(
                str(counts[s])
                for s in (TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING)
            ),
            best,
            state.stopped or "",
        )
    return table


@dataclass(frozen=True)
class Rank:
    """One of the best trials, with the parameters that were searched."""

    place: int
    trial: FrozenTrial
    params: Mapping[str, Any]
    config: Mapping[str, Any]

    def to_dict(self, metric: str) -> dict[str, Any]:
        return {
            "place": self.place,
            "number": self.trial.number,
            metric: self.trial.values[0],
            "violation": ranking.violation(self.trial),
            "params": dict(self.params),
            "config": dict(self.config),
            "run_folder": self.trial.user_attrs.get("run_folder"),
        }


def best_trials(study: optuna.Study, study_file: StudyFile, results: Path, *, top: int) -> list[Rank]:
    """The `top` best complete trials."""
    best = ranking.ranked(study.get_trials(deepcopy=False), study_file)[:top]
    return [
        Rank(
            place,
            trial,
            _values(study_file, trial),
            winners.config_of(study, trial, results),
        )
        for place, trial in enumerate(best, 1)
    ]


def best_table(ranks: Sequence[Rank], study_file: StudyFile, *, width: int = 100) -> Table:
    """The best trials with the parameters in which they differ; turned on its side where it is too wide."""
    names = sorted({name for rank in ranks for name in rank.params})
    differing = [n for n in names if len({json.dumps(rank.params.get(n)) for rank in ranks}) > 1] or names
    constrained = any(ranking.violation(rank.trial) for rank in ranks)
    rows = [
        ["", *(f"{rank.place}." for rank in ranks)],
        ["trial", *(str(rank.trial.number) for rank in ranks)],
    ]
    rows.append([study_file.metric.name, *(f"{rank.trial.values[0]:.4f}" for rank in ranks)])
    if constrained:
        rows.append(["misses by", *(f"{ranking.violation(rank.trial):.3g}" for rank in ranks)])
    rows += [[name, *(_shown(rank.params.get(name, "")) for rank in ranks)] for name in differing]
    if sum(max(map(len, row)) + 2 for row in rows) <= width:
        rows = [list(column) for column in zip(*rows, strict=True)]
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for index, heading in enumerate(rows[0]):
        table.add_column(
            heading, justify="left" if index == 0 else "right", no_wrap=True, min_width=len(heading)
        )
    for row in rows[1:]:
        table.add_row(*row)
    return table


def show_end(request: Request, result: Result, console: Console) -> None:
    """What a study found, when it is done, and what to do next."""
    with storage_errors(request.url):
        records = open_records(request.url)
        study = winners.load_study(records, request.study_file.name)
        ranks = best_trials(study, request.study_file, request.results, top=3)
        counts = records.counts(study._study_id)
    console.print(
        f"{study.study_name}: {result.reason}; {counts[TrialState.PRUNED]} of {result.finished} pruned, "
        f"{counts[TrialState.FAIL]} failed",
        markup=False,
    )
    if not ranks:
        console.print("no trial completed", markup=False)
        return
    console.print(best_table(ranks, request.study_file, width=console.width))
    miss = ranking.violation(ranks[0].trial)
    if miss:
        wanted = ", ".join(map(str, request.study_file.constraints))
        console.print(f"no trial meets {wanted}: the first misses it least ({miss:.3g})", markup=False)
    console.print(f"more: python -m tuner best {study.study_name}", markup=False)


def _values(study_file: StudyFile, trial: FrozenTrial) -> dict[str, Any]:
    """The searched parameters in the study's own terms, nested names dotted."""
    config = study_file.space.config_of(trial.params)
    flat: dict[str, Any] = {}

    def walk(values: Mapping[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    walk(config, "")
    searched = {parameter.name for parameter in study_file.space.searched}
    return {name: value for name, value in flat.items() if name in searched}


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
