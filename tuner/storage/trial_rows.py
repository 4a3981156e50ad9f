"""What a transaction on the queue of trials writes to the rows of Optuna's tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from tuner.storage.attributes import NOT_COUNTED, OUTSIDE, UNCOUNTED
from tuner.storage.optuna_private import FIXED_PARAMS, add_trial, frozen_trial, models

TRIALS, PARAMS, REPORTS = models.TrialModel, models.TrialParamModel, models.TrialIntermediateValueModel
USER_ATTRS, SYSTEM_ATTRS = models.TrialUserAttributeModel, models.TrialSystemAttributeModel
STUDIES, STUDY_ATTRS = models.StudyModel, models.StudyUserAttributeModel


@dataclass
class Pending:
    """The part of a running trial that is not written yet."""

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(vars(self).values())


@dataclass(frozen=True)
class Amendment:
    """A change of a trial that does not run.

    Attributes:
        params: all its parameters, as Optuna stores them; None: as they are.
        user_attrs, system_attrs: attributes to set; None as a value removes the attribute.
        withdrawn: the trial waits and is not to be run: it ends as FAIL.
    """

    trial_id: int
    params: Mapping[str, tuple[float, BaseDistribution]] | None = None
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    withdrawn: bool = False


@dataclass(frozen=True)
class Told:
    """A trial that was run elsewhere and is complete. `params`: as Optuna stores them."""

    values: Sequence[float]
    params: Mapping[str, tuple[float, BaseDistribution]]
    user_attrs: Mapping[str, Any]
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    reports: Mapping[int, float] = field(default_factory=dict)


class TrialRows:
    """The rows of trials, in one transaction.

    Args:
        insert: the database's insert statement, which has `on_conflict_do_update`.
    """

    def __init__(self, storage: RDBStorage, session: Session, insert: Callable[[Any], Any]) -> None:
        self._storage, self.session, self._insert = storage, session, insert

    def frozen(self, row: Any) -> FrozenTrial:
        """The trial of a row, with what this transaction has written."""
        self.session.flush()
        self.session.expire(row)
        return frozen_trial(self._storage, row)

    def running(self, trial_id: int) -> Any:
        """The row of a trial; None if it is no longer RUNNING."""
        row = self.session.get(TRIALS, trial_id)
        return row if row is not None and row.state is TrialState.RUNNING else None

    def add(
        self, study_id: int, trial: FrozenTrial, params: Mapping[str, tuple[float, BaseDistribution]]
    ) -> int:
        """Adds a trial; returns its number. `params` are not in it: Optuna would compare them with those of
        trials that are OUTSIDE.
        """
        row: Any = add_trial(self._storage, self.session, study_id, trial)
        self.write(row.trial_id, Pending(params=dict(params)))
        return int(row.number)

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        template = create_trial(
            state=TrialState.WAITING, user_attrs=dict(user_attrs), system_attrs={FIXED_PARAMS: dict(fixed)}
        )
        return self.add(study_id, template, {})

    def amend(self, amendment: Amendment) -> None:
        trial_id = amendment.trial_id
        row = self.session.get(TRIALS, trial_id)
        if row is None or row.state is TrialState.RUNNING:
            return
        if amendment.params is not None:
            self.delete(PARAMS, trial_id)
            self.write(trial_id, Pending(params=dict(amendment.params)))
        for table, attrs in ((USER_ATTRS, amendment.user_attrs), (SYSTEM_ATTRS, amendment.system_attrs)):
            if gone := [key for key, value in attrs.items() if value is None]:
                self.delete(table, trial_id, gone)
            self.write_attrs(table, trial_id, {key: v for key, v in attrs.items() if v is not None})
        if amendment.withdrawn:
            row.state, row.datetime_complete = TrialState.FAIL, datetime.now()

    def count_uncounted(self, study_id: int) -> None:
        """Writes how many finished trials do not count towards the number that the study wants."""
        query = (
            sqlalchemy.select(sqlalchemy.func.count(sqlalchemy.distinct(USER_ATTRS.trial_id)))
            .join(TRIALS, TRIALS.trial_id == USER_ATTRS.trial_id)
            .where(
                TRIALS.study_id == study_id,
                TRIALS.state.in_((TrialState.COMPLETE, TrialState.PRUNED)),
                USER_ATTRS.key.in_((OUTSIDE, NOT_COUNTED)),
            )
        )
        self.session.flush()
        self.write_attrs(STUDY_ATTRS, study_id, {UNCOUNTED: self.session.scalar(query) or 0})

    def still_running(self, trial_id: int) -> bool:
        """Whether the trial is RUNNING; locks its row until the transaction ends."""
        same = sqlalchemy.update(TRIALS).where(
            TRIALS.trial_id == trial_id, TRIALS.state == TrialState.RUNNING
        )
        result: Any = self.session.execute(same.values(state=TrialState.RUNNING))
        return bool(result.rowcount == 1)

    def write(self, trial_id: int, pending: Pending) -> None:
        params = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(distribution),
            }
            for name, (value, distribution) in pending.params.items()
        ]
        self._upsert(PARAMS, params, ("trial_id", "param_name"), ("param_value",))
        self.write_attrs(USER_ATTRS, trial_id, pending.user_attrs)
        self.write_attrs(SYSTEM_ATTRS, trial_id, pending.system_attrs)
        columns = ("intermediate_value", "intermediate_value_type")
        reports = [
            {"trial_id": trial_id, "step": step}
            | dict(zip(columns, REPORTS.intermediate_value_to_stored_repr(value), strict=True))
            for step, value in pending.reports.items()
        ]
        self._upsert(REPORTS, reports, ("trial_id", "step"), columns)

    def write_attrs(self, table: Any, owner: int, attributes: Mapping[str, Any]) -> None:
        """Writes attributes of a trial, or in STUDY_ATTRS of a study."""
        whose = "study_id" if table is STUDY_ATTRS else "trial_id"
        rows = [{whose: owner, "key": key, "value_json": json.dumps(v)} for key, v in attributes.items()]
        self._upsert(table, rows, (whose, "key"), ("value_json",))

    def delete(self, table: Any, trial_id: int, keys: Sequence[str] | None = None) -> None:
        """Deletes what a table has of a trial; with `keys` these attributes."""
        found = sqlalchemy.delete(table).where(table.trial_id == trial_id)
        self.session.execute(found if keys is None else found.where(table.key.in_(keys)))

    def _upsert(
        self, table: Any, rows: list[dict[str, Any]], keys: Sequence[str], columns: Sequence[str]
    ) -> None:
        """Inserts rows or updates existing ones, so that a write may be repeated."""
        if not rows:
            return
        statement = self._insert(table)
        changed = {name: statement.excluded[name] for name in columns}
        self.session.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)
