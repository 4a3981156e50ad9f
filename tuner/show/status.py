"""Studies as tables: for `status`, `best` and `list`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from tuner.base.errors import InputError
from tuner.base.words import duration, number, sparkline
from tuner.definition.loading import load_study_file, shipped
from tuner.definition.study_file import StudyFile
from tuner.run.agent.repeats import REPEATS, SPREAD
from tuner.run.winner import config_of
from tuner.search import ranking
from tuner.show.console import fitting, table
from tuner.show.summary import Summary, mean_words
from tuner.storage.access import find_records
from tuner.storage.attributes import IMPORTED, METRICS, OUTSIDE, RUN_FOLDER
from tuner.storage.study import GOOD_ENDS, load_study
from tuner.storage.study_store import RETRAINED

SPARK = 12  # width of the line of best values over time
ALWAYS = ("study", "finished", "pruned", "failed")  # columns of `status` that are there even if all are 0
WIDE_STATUS, WIDE_LIST = 130, 140  # smallest width of a terminal for all columns
NOT_BEGUN = {"done": None, "wanted": None, "result": "", "stopped": ""}


# -- status


def status_table(found: Sequence[Summary], *, width: int = WIDE_STATUS) -> Table:
    """One row per study. A narrow terminal gets no columns for progress over time and cost."""
    columns: dict[str, list[str]] = {
        "study": [s.name for s in found],
        "finished": [str(s.finished) if s.total is None else f"{s.finished}/{s.total}" for s in found],
        "pruned": [str(s.counts[TrialState.PRUNED]) for s in found],
        "failed": [str(s.failed) for s in found],
        "interrupted": [str(s.interrupted) for s in found],
        "running": [str(s.counts[TrialState.RUNNING]) for s in found],
        "waiting": [str(s.counts[TrialState.WAITING] - s.paused) for s in found],
        "paused": [str(s.paused) for s in found],
        "imported": [str(s.imported) for s in found],
        "shown only": [str(len(s.outside)) for s in found],
    }
    columns = {name: cells for name, cells in columns.items() if name in ALWAYS or set(cells) != {"0"}}
    columns["best"] = [s.best_words for s in found]
    if width >= WIDE_STATUS and found:
        known = [[value for value in s.best_so_far if not math.isnan(value)] for s in found]
        columns["over time"] = [sparkline(values, width=SPARK) for values in known]
        columns["training"] = [duration(s.spent.seconds) for s in found]
        columns["saved"] = [duration(s.spent.saved_seconds) if s.spent.saved_epochs else "–" for s in found]
    right = set(columns) - {"study", "best", "over time"}
    return table(
        list(columns), zip(*columns.values(), strict=True), right=right, whole=set(columns) - {"best"}
    )


def shown_only_words(study: Summary, *, top: int = 3) -> list[str]:
    """A line about each of the best trials that do not fit the study since it was changed."""
    assert study.file is not None
    outside = ranking.ranked(study.outside, study.file)
    lines = [
        f"trial {trial.number} ({study.metric} {trial.values[0]:.4f}) is shown only: "
        f"{trial.user_attrs[OUTSIDE]}"
        for trial in outside[:top]
    ]
    if len(outside) > top:
        lines.append(f"… and {len(outside) - top} more that do not fit since the study was changed")
    return lines


# -- list


def listed(url: str) -> list[dict[str, Any]]:
    """The studies that were begun, then the shipped ones that were not, in the campaign's order.

    Of each: name, method, runs, purpose and cost as its file says; done (number of finished trials; None: it
    was not started), wanted, result (what it found), and stopped (why it ended before it had all trials).
    """
    found: list[dict[str, Any]] = []
    records = find_records(url)
    if records is not None:
        names = [n for n in optuna.get_all_study_names(records) if not n.endswith(RETRAINED)]
        begun = [Summary.of(load_study(records, name)) for name in names]
        found = [_listed(study.file) | _found(study) for study in begun if study.file is not None]
    known = {study["name"] for study in found}
    for name in shipped():
        try:
            file = load_study_file(name)
        except InputError as error:  # a wrong file must not hide the others
            wrong = {"name": name, "method": "?", "runs": None, "purpose": str(error), "cost": ""}
            found.append(wrong | NOT_BEGUN)
            continue
        if file.name not in known:
            found.append(_listed(file))
    return found


def of_interest(found: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """`listed` without the shipped studies, for people with studies of their own alone."""
    begun = [study for study in found if study["done"] is not None]
    shipped_names = {*shipped()}
    return begun if begun and not any(study["name"] in shipped_names for study in begun) else found


def _listed(file: StudyFile) -> dict[str, Any]:
    named = {"name": file.name, "method": file.method, "runs": file.run_cap}
    return named | {"purpose": file.purpose, "cost": file.cost} | NOT_BEGUN


def _found(study: Summary) -> dict[str, Any]:
    result = study.answer.headline
    if study.stopped and not study.stopped.startswith(GOOD_ENDS):
        result = f"{result}; {study.stopped}"
    return {"done": study.finished, "wanted": study.total, "result": result, "stopped": study.stopped}


def _state(study: Mapping[str, Any]) -> str:
    done, wanted = study["done"], study["wanted"]
    if done is None:
        return "not started"
    if (wanted is not None and done >= wanted) or study["stopped"].startswith(GOOD_ENDS):
        return "done"
    return f"{done} of {'?' if wanted is None else wanted}"


def list_table(found: Sequence[Mapping[str, Any]], *, width: int = WIDE_LIST) -> Table:
    """The studies that were begun, a blank line, the others.

    A narrow terminal gets no columns for method, trials and cost.
    """
    columns = {"study": [s["name"] for s in found], "state": [_state(s) for s in found]}
    if width >= WIDE_LIST:
        columns |= {
            "method": [s["method"] for s in found],
            "trials": [str(s["wanted"] or s["runs"] or "") for s in found],
        }
    columns["result, or question"] = [s["result"] or s["purpose"] for s in found]
    if width >= WIDE_LIST:
        columns["cost"] = [s["cost"] for s in found]
    rows = list(zip(*columns.values(), strict=True))
    begun = sum(s["done"] is not None for s in found)
    if 0 < begun < len(found):
        rows.insert(begun, ("",) * len(columns))
    shown = table(list(columns), rows, right={"trials"}, whole={"study", "state", "method", "trials"})
    for column in shown.columns:
        column.ratio = None if column.no_wrap else 1
    return shown


# -- best


@dataclass(frozen=True)
class Rank:
    """One of the best trials, with the parameters that were searched."""

    place: int
    trial: FrozenTrial
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    retrained: Sequence[float] = ()

    def to_dict(self, metric: str) -> dict[str, Any]:
        attrs = self.trial.user_attrs
        return {
            "place": self.place,
            "number": self.trial.number,
            metric: self.trial.values[0],
            **({"retrained": list(self.retrained)} if self.retrained else {}),
            "violation": ranking.violation(self.trial),
            "params": dict(self.params),
            "config": dict(self.config),
            **{key: attrs[key] for key in (REPEATS, IMPORTED) if attrs.get(key)},
            "run_folder": RUN_FOLDER.of(attrs) or None,
        }


def best_trials(study: Summary, results: Path, *, top: int) -> list[Rank]:
    """The `top` best complete trials."""
    assert study.file is not None
    space = study.file.space
    return [
        Rank(
            place,
            trial,
            space.values_of(trial.params),
            config_of(study.source, trial, results),
            ranking.retrained(study.attrs, trial.number),
        )
        for place, trial in enumerate(study.ranked[:top], 1)
    ]


def best_rows(ranks: Sequence[Rank], study_file: StudyFile) -> list[list[str]]:
    """The best trials, one a column, with the parameters in which they differ; the first row is a heading."""
    names = sorted({name for rank in ranks for name in rank.params})
    differing = [n for n in names if len({json.dumps(rank.params.get(n)) for rank in ranks}) > 1] or names
    trials = [rank.trial for rank in ranks]
    sources = [IMPORTED.of(trial) for trial in trials]
    misses = [ranking.violation(trial) for trial in trials]
    rows = [["", *(f"{rank.place}." for rank in ranks)], ["trial", *(str(trial.number) for trial in trials)]]
    for index, metric in enumerate(study_file.objectives):
        rows.append([metric.name, *(number(trial.values[index]) for trial in trials)])
        if study_file.repeats.count > 1:
            spread = [METRICS.of(t).get(f"{metric.name}{SPREAD}") for t in trials]
            rows.append(["±", *("–" if value is None else f"{value:.2g}" for value in spread)])
    if any(rank.retrained for rank in ranks):
        rows.append(["retrained", *(mean_words(rank.retrained) for rank in ranks)])
    if any(sources):
        rows.append(["imported from", *sources])
    if any(misses):
        rows.append(["misses by", *(f"{miss:.3g}" for miss in misses)])
    return rows + [[name, *(_shown(rank.params.get(name, "")) for rank in ranks)] for name in differing]


def best_table(ranks: Sequence[Rank], study_file: StudyFile, *, width: int = 100) -> Table:
    """The best trials: one a row or, where that is too wide, one a column, or else one a paragraph."""
    return fitting(best_rows(ranks, study_file), width)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
