"""What a transaction on the queue of trials writes to the rows of Optuna's tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from tuner.storage.attributes import NOT_COUNTED, OUTSIDE, UNCOUNTED
from tuner.storage.optuna_private import FIXED_PARAMS, add_trial, models
from tuner.storage.queue import Amendment, Pending


class TrialRows:
    """The rows of trials, in one transaction.

    Args:
        insert: the database's insert statement, which has `on_conflict_do_update`.
    """

    def __init__(self, storage: RDBStorage, session: Session, insert: Callable[[Any], Any]) -> None:
        self._storage, self._session, self._insert = storage, session, insert

    def add(
        self, study_id: int, trial: FrozenTrial, params: Mapping[str, tuple[float, BaseDistribution]]
    ) -> int:
        """Adds a trial; returns its number. `params` are not in it: Optuna would compare them with those of
        trials that are OUTSIDE.
        """
        row = add_trial(self._storage, self._session, study_id, trial)
        self.write(cast(int, row.trial_id), Pending(params=dict(params)))
        return int(row.number)

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        template = create_trial(
            state=TrialState.WAITING, user_attrs=dict(user_attrs), system_attrs={FIXED_PARAMS: dict(fixed)}
        )
        return self.add(study_id, template, {})

    def amend(self, amendment: Amendment) -> None:
        row = self._session.get(models.TrialModel, amendment.trial_id)
        if row is None or row.state is TrialState.RUNNING:
            return
        if amendment.params is not None:
            self._session.execute(
                sqlalchemy.delete(models.TrialParamModel).where(
                    models.TrialParamModel.trial_id == amendment.trial_id
                )
            )
            self.write(amendment.trial_id, Pending(params=dict(amendment.params)))
        for table, attributes in (
            (models.TrialUserAttributeModel, amendment.user_attrs),
            (models.TrialSystemAttributeModel, amendment.system_attrs),
        ):
            gone = [key for key, value in attributes.items() if value is None]
            if gone:
                self._session.execute(
                    sqlalchemy.delete(table).where(table.trial_id == amendment.trial_id, table.key.in_(gone))
                )
            kept = {key: value for key, value in attributes.items() if value is not None}
            self.write_attrs(table, amendment.trial_id, kept)
        if amendment.withdrawn:
            row.state, row.datetime_complete = TrialState.FAIL, datetime.now()

    def count_uncounted(self, study_id: int) -> None:
        """Writes how many finished trials do not count towards the number that the study wants."""
        attributes = models.TrialUserAttributeModel
        query = (
            sqlalchemy.select(sqlalchemy.func.count(sqlalchemy.distinct(attributes.trial_id)))
            .join(models.TrialModel, models.TrialModel.trial_id == attributes.trial_id)
            .where(
                models.TrialModel.study_id == study_id,
                models.TrialModel.state.in_((TrialState.COMPLETE, TrialState.PRUNED)),
                attributes.key.in_((OUTSIDE, NOT_COUNTED)),
            )
        )
        self._session.flush()
        self.write_study_attrs(study_id, {UNCOUNTED: self._session.scalar(query) or 0})

    def still_running(self, trial_id: int) -> bool:
        """Whether the trial is RUNNING; locks its row until the transaction ends."""
        same = (
            sqlalchemy.update(models.TrialModel)
            .where(models.TrialModel.trial_id == trial_id, models.TrialModel.state == TrialState.RUNNING)
            .values(state=TrialState.RUNNING)
        )
        result: Any = self._session.execute(same)
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
        self._upsert(models.TrialParamModel, params, ("trial_id", "param_name"), ("param_value",))
        self.write_attrs(models.TrialUserAttributeModel, trial_id, pending.user_attrs)
        self.write_attrs(models.TrialSystemAttributeModel, trial_id, pending.system_attrs)
        table = models.TrialIntermediateValueModel
        reports = []
        for step, value in pending.reports.items():
            stored, kind = table.intermediate_value_to_stored_repr(value)
            reports.append(
                {
                    "trial_id": trial_id,
                    "step": step,
                    "intermediate_value": stored,
                    "intermediate_value_type": kind,
                }
            )
        columns = ("intermediate_value", "intermediate_value_type")
        self._upsert(table, reports, ("trial_id", "step"), columns)

    def write_attrs(self, table: Any, trial_id: int, attributes: Mapping[str, Any]) -> None:
        rows = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in attributes.items()
        ]
        self._upsert(table, rows, ("trial_id", "key"), ("value_json",))

    def write_study_attrs(self, study_id: int, attributes: Mapping[str, Any]) -> None:
        rows = [
            {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
            for key, value in attributes.items()
        ]
        self._upsert(models.StudyUserAttributeModel, rows, ("study_id", "key"), ("value_json",))

    def delete_attrs(self, trial_id: int, *keys: str) -> None:
        attributes = models.TrialUserAttributeModel
        self._session.execute(
            sqlalchemy.delete(attributes).where(attributes.trial_id == trial_id, attributes.key.in_(keys))
        )

    def _upsert(
        self,
        table: Any,
        rows: list[dict[str, Any]],
        keys: Iterable[str],
        columns: Iterable[str],
    ) -> None:
        """Inserts rows or updates existing ones, so that a write may be repeated."""
        if not rows:
            return
        statement = self._insert(table)
        self._session.execute(
            statement.on_conflict_do_update(
                index_elements=list(keys), set_={name: statement.excluded[name] for name in columns}
            ),
            rows,
        )
