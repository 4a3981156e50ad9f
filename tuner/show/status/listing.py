"""The list of shipped studies: question, trials, cost and progress of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import optuna
from rich.table import Table

from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file, shipped
from tuner.storage import optuna_private
from tuner.storage.access import find_records, storage_errors
from tuner.storage.allocate import finished
from tuner.storage.study_store import TOTAL


@dataclass(frozen=True)
class Row:
    """One shipped study. `done`: number of finished trials; None if it was not started."""

    name: str
    method: str
    runs: int | None
    purpose: str
    cost: str
    done: int | None
    wanted: int | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def state(self) -> str:
        if self.done is None:
            return "not started"
        if self.wanted is not None and self.done >= self.wanted:
            return "done"
        return f"{self.done} of {self.wanted if self.wanted is not None else '?'}"


def rows(url: str) -> list[Row]:
    """Every shipped study, in the campaign's order."""
    begun: dict[str, tuple[int, int | None]] = {}
    with storage_errors(url):
        records = find_records(url)
        if records is not None:
            for summary in optuna.get_all_study_summaries(records, include_best_trial=False):
                counts = records.queue.counts(optuna_private.study_id(summary))
                begun[summary.study_name] = (finished(counts), summary.user_attrs.get(TOTAL))
    found = []
    for name in shipped():
        try:
            study = load_study_file(name)
        except InputError as error:  # a wrong file must not hide the others
            found.append(Row(name, "?", None, str(error), "", None, None))
            continue
        done, wanted = begun.get(study.name, (None, None))
        found.append(Row(name, study.method, study.run_cap, study.purpose, study.cost, done, wanted))
    return found


def table(found: list[Row]) -> Table:
    """The rows as a table for the terminal."""
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("study", "method", "runs", "state"):
        shown.add_column(heading, justify="right" if heading == "runs" else "left", no_wrap=True)
    for heading in ("asks", "cost"):
        shown.add_column(heading, overflow="fold", ratio=1)
    for row in found:
        shown.add_row(row.name, row.method, str(row.runs or ""), row.state, row.purpose, row.cost)
    return shown
