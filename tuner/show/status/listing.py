"""The studies of the storage with their results, then the shipped studies that were not begun."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import optuna
from rich.markup import escape
from rich.table import Table

from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file, shipped
from tuner.definition.study_file import StudyFile
from tuner.show.status.summary import answer_of
from tuner.storage import optuna_private
from tuner.storage.access import find_records, storage_errors
from tuner.storage.allocate import LEAD, NO_GAIN, STOPPED, TARGET, finished
from tuner.storage.records import Records
from tuner.storage.stored import load_study, stored_file
from tuner.storage.study_store import FILE, RETRAINED, TOTAL

WIDE = 140  # smallest width of a terminal for all columns
GOOD_ENDS = (TARGET, NO_GAIN, LEAD)  # how reasons begin to stop a study that has found what it looked for


@dataclass(frozen=True)
class Row:
    """A study.

    Attributes:
        done: number of finished trials; None if it was not started.
        result: what it found.
        stopped: why it ended before it had all trials; "" if it did not.
    """

    name: str
    method: str
    runs: int | None
    purpose: str
    cost: str
    done: int | None
    wanted: int | None
    result: str = ""
    stopped: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def state(self) -> str:
        if self.done is None:
            return "not started"
        if (self.wanted is not None and self.done >= self.wanted) or self.stopped.startswith(GOOD_ENDS):
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
    stopped = str(attrs.get(STOPPED) or "")
    result = answer_of(study).headline
    if stopped and not stopped.startswith(GOOD_ENDS):
        result = f"{result}; {stopped}"
    return replace(
        _row(stored_file(study)), done=done, wanted=attrs.get(TOTAL), result=result, stopped=stopped
    )


def _row(file: StudyFile) -> Row:
    return Row(file.name, file.method, file.run_cap, file.purpose, file.cost, None, None)


def table(found: list[Row], *, width: int = WIDE) -> Table:
    """The rows as a table: the studies that were begun, a blank line, the others.

    A narrow terminal gets no columns for method, trials and cost.
    """
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=True)
    columns = {"study": [r.name for r in found], "state": [r.state for r in found]}
    if width >= WIDE:
        columns |= {"method": [r.method for r in found], "trials": [str(r.runs or "") for r in found]}
    columns["result, or question"] = [r.result or r.purpose for r in found]
    if width >= WIDE:
        columns["cost"] = [r.cost for r in found]
    for heading in columns:
        long = heading in ("result, or question", "cost")
        justify: Literal["left", "right"] = "right" if heading == "trials" else "left"
        shown.add_column(heading, justify=justify, no_wrap=not long, ratio=1 if long else None)
    begun = sum(row.done is not None for row in found)
    for place, cells in enumerate(zip(*columns.values(), strict=True), 1):
        shown.add_row(*map(escape, cells))
        if place == begun < len(found):
            shown.add_row()
    return shown
