"""The studies of the storage with their results, then the shipped studies that were not begun."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import optuna
from rich.table import Table

from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file, shipped
from tuner.definition.study_file import StudyFile
from tuner.show.status.summary import answer_of
from tuner.storage import optuna_private
from tuner.storage.access import find_records, storage_errors
from tuner.storage.allocate import finished
from tuner.storage.records import Records
from tuner.storage.stored import load_study, stored_file
from tuner.storage.study_store import FILE, RETRAINED, TOTAL


@dataclass(frozen=True)
class Row:
    """A study. `done`: number of finished trials; None if it was not started. `result`: what it found."""

    name: str
    method: str
    runs: int | None
    purpose: str
    cost: str
    done: int | None
    wanted: int | None
    result: str = ""

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
    """The studies that were begun, then the shipped ones that were not, in the campaign's order."""
    begun: list[Row] = []
    with storage_errors(url):
        records = find_records(url)
        if records is not None:
            begun = [row for name in optuna.get_all_study_names(records) if (row := _begun(records, name))]
    found = []
    for name in shipped():
        try:
            file = load_study_file(name)
        except InputError as error:  # a wrong file must not hide the others
            found.append(Row(name, "?", None, str(error), "", None, None))
            continue
        if file.name not in {row.name for row in begun}:
            found.append(_row(file))
    return begun + found


def _begun(records: Records, name: str) -> Row | None:
    """The row of a study of the storage; None for retrainings and for studies of other programs."""
    study = load_study(records, name)
    attrs = study.user_attrs
    if FILE not in attrs or name.endswith(RETRAINED):
        return None
    done = finished(records.queue.counts(optuna_private.study_id(study)), attrs)
    return _row(stored_file(study), done, attrs.get(TOTAL), answer_of(study).headline)


def _row(file: StudyFile, done: int | None = None, wanted: int | None = None, result: str = "") -> Row:
    return Row(file.name, file.method, file.run_cap, file.purpose, file.cost, done, wanted, result)


def table(found: list[Row]) -> Table:
    """The rows as a table for the terminal."""
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("study", "method", "trials", "state"):
        shown.add_column(heading, justify="right" if heading == "trials" else "left", no_wrap=True)
    for heading in ("result, or question", "cost"):
        shown.add_column(heading, overflow="fold", ratio=1)
    for row in found:
        shown.add_row(
            row.name, row.method, str(row.runs or ""), row.state, row.result or row.purpose, row.cost
        )
    return shown
