"""Summaries of studies as text and tables: for the end of a study, and for `status`, `best` and `list`."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.base.words import duration, number, sparkline
from tuner.claims import judge
from tuner.claims import material as materials
from tuner.claims.answer import Answer
from tuner.definition.study_file import StudyFile
from tuner.run.launch import CONTINUE, Result
from tuner.run.plan import Plan
from tuner.run.winner import config_of
from tuner.search import ranking
from tuner.show.status.answer import say, say_commands, show_answer
from tuner.show.status.cost import Cost, cost_of
from tuner.show.web.local_server import dashboard_address
from tuner.storage import allocate, optuna_private, study_store
from tuner.storage.access import open_records, waiting
from tuner.storage.allocate import finished
from tuner.storage.queue import IMPORTED, OUTSIDE
from tuner.storage.records import Records
from tuner.storage.stored import load_study, stored_file, training_seconds
from tuner.workloads.repeats import REPEATS, SPREAD

SPARK = 12  # width of the line of best values over time
NEXT = {  # commands after a study, and what each is for
    "verdict": "is the best really better?",
    "report": "what was found, in full",
    "export": "the configuration of the best, as a file",
}
COUNTED = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL, "running": TrialState.RUNNING}
ALWAYS = ("study", "finished", "pruned", "failed")  # columns of `status` that are there even if all are 0
COSTS = ("over time", "training", "saved")
WIDE = 130  # smallest width of a terminal for all columns


@dataclass(frozen=True)
class StudyState:
    """The state of a study.

    Attributes:
        total: the wanted number of finished trials.
        best: the best trial.
        best_so_far: the best value after each complete trial.
        cost: spent and saved time and epochs.
        pruned_at: epoch → number of trials that were pruned after it.
        finished: the number of trials that count towards the total.
        imported: the number of trials that were run elsewhere.
        shown_only: the number of trials that do not fit the study since it was changed.
        paused: the number of waiting trials that were begun and may be resumed.
    """

    name: str
    counts: Mapping[TrialState, int]
    total: int | None
    best: FrozenTrial | None
    metric: str
    stopped: str | None
    best_so_far: Sequence[float]
    cost: Cost
    pruned_at: Mapping[int, int]
    finished: int = 0
    imported: int = 0
    shown_only: int = 0
    paused: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "wanted": self.total,
            **{state.name.lower(): count for state, count in self.counts.items()},
            "best": None
            if self.best is None
            else {"number": self.best.number, self.metric: self.best.values[0]},
            "finished": self.finished,
            "imported": self.imported,
            "shown_only": self.shown_only,
            "paused": self.paused,
            "stopped": self.stopped,
            "cost": asdict(self.cost),
            "pruned_at": dict(self.pruned_at),
        }


def state_of(records: Records, study: optuna.Study) -> StudyState:
    """The state of `study`. For studies that this tuner did not make: only the counts."""
    counts = records.queue.counts(optuna_private.study_id(study))
    attrs, trials = study.user_attrs, study.get_trials(deepcopy=False)
    outside = study_store.shown_only(study)
    best, metric, so_far, whole = None, "value", [], None
    if study_store.FILE in attrs:
        study_file = stored_file(study)
        ranked = ranking.ranked(trials, study_file)
        best, metric = ranking.winner(ranked, attrs, study_file), study_file.metric.name
        complete = [t for t in trials if t.state is TrialState.COMPLETE and t.values]
        results = ((ranking.violation(trial), trial.values[0]) for trial in complete)
        so_far = ranking.best_so_far(results, maximize=study_file.metric.goal == "maximize")
        whole = study_file.trial_epochs
    ends = [
        (t.state is TrialState.PRUNED, max(t.intermediate_values, default=0), training_seconds(t))
        for t in (*trials, *outside)
    ]
    return StudyState(
        study.study_name,
        counts,
        attrs.get(study_store.TOTAL),
        best,
        metric,
        attrs.get(allocate.STOPPED),
        so_far,
        cost_of(ends, whole=whole),
        dict(sorted(Counter(epoch for pruned, epoch, _ in ends if pruned).items())),
        finished(counts, attrs),
        sum(IMPORTED in trial.user_attrs for trial in trials),
        len(outside),
        sum(allocate.is_paused(trial) for trial in trials),
    )


def pruned_words(pruned_at: Mapping[int, int]) -> str:
    """`12 after epoch 1, 3 after epoch 3`."""
    return ", ".join(f"{count} after epoch {epoch}" for epoch, count in pruned_at.items())


def states_table(states: Sequence[StudyState], *, width: int = WIDE) -> Table:
    """One row per study. A narrow terminal gets no columns for progress over time and cost."""
    columns: dict[str, list[str]] = {
        "study": [state.name for state in states],
        "finished": [str(s.finished) if s.total is None else f"{s.finished}/{s.total}" for s in states],
        **{name: [str(s.counts[kind]) for s in states] for name, kind in COUNTED.items()},
        "waiting": [str(s.counts[TrialState.WAITING] - s.paused) for s in states],
        "paused": [str(s.paused) for s in states],
        "imported": [str(s.imported) for s in states],
        "shown only": [str(s.shown_only) for s in states],
    }
    columns = {name: cells for name, cells in columns.items() if name in ALWAYS or set(cells) != {"0"}}
    columns["best"] = [_best_words(state) for state in states]
    if width >= WIDE:
        costs = zip(*map(_costs, states), strict=True)
        columns |= {name: list(cells) for name, cells in zip(COSTS, costs, strict=False)}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in columns:
        left = heading in ("study", "best", "over time")
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "best")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(escape, cells))
    return table


def _best_words(state: StudyState) -> str:
    if state.best is None:
        return ""
    return f"{state.metric} {number(state.best.values[0])} (trial {state.best.number})"


def shown_only_words(study: optuna.Study, study_file: StudyFile, *, top: int = 3) -> list[str]:
    """A line about each of the best trials that do not fit the study since it was changed."""
    outside = ranking.ranked(study_store.shown_only(study), study_file)
    lines = [
        f"trial {trial.number} ({study_file.metric.name} {trial.values[0]:.4f}) is shown only: "
        f"{trial.user_attrs[OUTSIDE]}"
        for trial in outside[:top]
    ]
    if len(outside) > top:
        lines.append(f"… and {len(outside) - top} more that do not fit since the study was changed")
    return lines


def _costs(state: StudyState) -> tuple[str, str, str]:
    saved = duration(state.cost.saved_seconds) if state.cost.saved_epochs else "–"
    known = [value for value in state.best_so_far if not math.isnan(value)]
    return sparkline(known, width=SPARK), duration(state.cost.seconds), saved


@dataclass(frozen=True)
class Rank:
    """One of the best trials, with the parameters that were searched."""

    place: int
    trial: FrozenTrial
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    retrained: Sequence[float] = ()

    def to_dict(self, metric: str) -> dict[str, Any]:
        return {
            "place": self.place,
            "number": self.trial.number,
            metric: self.trial.values[0],
            **({"retrained": list(self.retrained)} if self.retrained else {}),
            "violation": ranking.violation(self.trial),
            "params": dict(self.params),
            "config": dict(self.config),
            **({REPEATS: runs} if (runs := self.trial.user_attrs.get(REPEATS)) else {}),
            **({IMPORTED: source} if (source := self.trial.user_attrs.get(IMPORTED)) else {}),
            "run_folder": self.trial.user_attrs.get("run_folder"),
        }


def best_trials(study: optuna.Study, study_file: StudyFile, results: Path, *, top: int) -> list[Rank]:
    """The `top` best complete trials."""
    best = ranking.ranked(study.get_trials(deepcopy=False), study_file)[:top]
    return [
        Rank(
            place,
            trial,
            study_file.space.values_of(trial.params),
            config_of(study, trial, results),
            ranking.retrained(study.user_attrs, trial.number),
        )
        for place, trial in enumerate(best, 1)
    ]


def best_rows(ranks: Sequence[Rank], study_file: StudyFile) -> list[list[str]]:
    """The best trials, one a column, with the parameters in which they differ; the first row is a heading."""
    names = sorted({name for rank in ranks for name in rank.params})
    differing = [n for n in names if len({json.dumps(rank.params.get(n)) for rank in ranks}) > 1] or names
    constrained = any(ranking.violation(rank.trial) for rank in ranks)
    sources = [str(rank.trial.user_attrs.get(IMPORTED, "")) for rank in ranks]
    rows = [
        ["", *(f"{rank.place}." for rank in ranks)],
        ["trial", *(str(rank.trial.number) for rank in ranks)],
    ]
    for index, metric in enumerate(study_file.objectives):
        rows.append([metric.name, *(number(rank.trial.values[index]) for rank in ranks)])
        spread = [rank.trial.user_attrs.get("metrics", {}).get(f"{metric.name}{SPREAD}") for rank in ranks]
        if study_file.repeats.count > 1:
            rows.append(["±", *("–" if value is None else f"{value:.2g}" for value in spread)])
    if any(rank.retrained for rank in ranks):
        rows.append(["retrained", *(_retrained(rank.retrained) for rank in ranks)])
    if any(sources):
        rows.append(["imported from", *sources])
    if constrained:
        rows.append(["misses by", *(f"{ranking.violation(rank.trial):.3g}" for rank in ranks)])
    return rows + [[name, *(_shown(rank.params.get(name, "")) for rank in ranks)] for name in differing]


def best_table(ranks: Sequence[Rank], study_file: StudyFile, *, width: int = 100) -> Table:
    """The best trials: one a row or, where that is too wide, one a column, or else one a paragraph."""
    columns = best_rows(ranks, study_file)
    across = [list(row) for row in zip(*columns, strict=True)]
    for shape in (columns, across):
        if sum(max(map(len, cells)) + 2 for cells in shape) > width:
            continue
        table = Table(box=None, padding=(0, 1), header_style="bold")
        for index, cells in enumerate(shape):
            table.add_column(escape(cells[0]), justify="left" if index == 0 else "right", no_wrap=True)
        for row in list(zip(*shape, strict=True))[1:]:
            table.add_row(*map(escape, row))
        return table
    grid = Table.grid(padding=(0, 1))
    names = across[0][1:]
    for place, *cells in across[1:]:
        words = ", ".join(f"{name} {value}" for name, value in zip(names, cells, strict=True))
        grid.add_row(place, escape(words))
    return grid


def end_of(plan: Plan, result: Result) -> dict[str, Any]:
    """How a study was left and what it found, for `--json`."""
    request, file = plan.request, plan.file

    def look() -> tuple[StudyState, list[Rank], Answer]:
        records = open_records(request.url)
        study = load_study(records, file.name)
        return state_of(records, study), *_best_and_answer(study, file, request.results)

    state, ranks, answer = waiting(request.url, look)
    left = {name: getattr(result, name) for name in ("reason", "fine", "interrupted", "timed_out", "stopped")}
    best = [rank.to_dict(file.metric.name) for rank in ranks]
    return {**state.to_dict(), **left, "best": best, "verdict": answer.to_dict()}


def _best_and_answer(study: optuna.Study, file: StudyFile, results: Path) -> tuple[list[Rank], Answer]:
    return best_trials(study, file, results, top=3), answer_of(study)


def answer_of(study: optuna.Study) -> Answer:
    """What a study found, without the files of its runs."""
    return judge.of_study(materials.read_study(study, None))


def show_end(plan: Plan, result: Result, console: Console, places: Sequence[str] = ()) -> None:
    """Prints what a study found, and the commands that may follow.

    Args:
        places: options of these commands, which name the storage and the results folder.
    """
    request, file = plan.request, plan.file

    def look() -> tuple[list[Rank], Answer]:
        study = load_study(open_records(request.url), file.name)
        return _best_and_answer(study, file, request.results)

    ranks, answer = waiting(request.url, look, lambda line: console.print(line, markup=False))
    console.print(f"{file.name}: {result.reason}", markup=False)
    if ranks:
        console.print(best_table(ranks, file, width=console.width))
    show_answer(answer, console, places)
    if result.left or (request.count is not None and result.finished != result.total):
        say(CONTINUE, console)
    elif ranks:
        say("Next:", console)
        commands = [*(["tuner", verb, file.name] for verb in NEXT), ["tuner", "dashboard"]]
        purposes = [*NEXT.values(), f"in a browser: {dashboard_address()}"]
        say_commands(commands, purposes, places, console)


def _retrained(values: Sequence[float]) -> str:
    """`0.9312 (3)`: the mean of so many retrainings."""
    return f"{number(statistics.fmean(values))} ({len(values)})" if values else "–"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
