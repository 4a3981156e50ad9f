"""The queue of trials in a database that this process opened; each hand-over is one transaction.

It writes to Optuna's tables. tests/tuner_tests/storage/test_records.py compares what is left there with what
Optuna itself writes.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, cast

import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from tuner.storage.attributes import (
    CHECKPOINT,
    DEFAULT,
    ERROR,
    GRID_POINT,
    LEASE,
    PAUSED,
    PRUNED_BECAUSE,
    RETRIES,
    RETRY_OF,
    RUN_FOLDER,
    UNTIL,
    WHY,
)
from tuner.storage.databases import Database
from tuner.storage.locks import StorageLock
from tuner.storage.optuna_private import (
    FIXED_PARAMS,
    METRIC_NAMES,
    add_trial,
    frozen_trial,
    models,
    set_value,
    transaction,
)
from tuner.storage.queue import Amendment, Pending, Told
from tuner.storage.trial_rows import TrialRows


class SqlQueue:
    """The queue of trials in a database."""

    def __init__(self, storage: RDBStorage, database: Database) -> None:
        self._storage = storage
        self._database = database
        self.lock: StorageLock = database.lock

    def make_study(
        self,
        name: str,
        *,
        objectives: Sequence[tuple[str, str]],
        user_attrs: Mapping[str, Any],
        first: Mapping[str, Any] | None,
        then: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        with self._writing() as (session, rows):
            study = models.StudyModel(
                study_name=name,
                directions=[
                    models.StudyDirectionModel(objective=index, direction=StudyDirection[goal.upper()])
                    for index, (_, goal) in enumerate(objectives)
                ],
            )
            session.add(study)
            session.flush()
            for table, attributes in (
                (models.StudyUserAttributeModel, user_attrs),
                (models.StudySystemAttributeModel, {METRIC_NAMES: [metric for metric, _ in objectives]}),
            ):
                for key, value in attributes.items():
                    session.add(table(study_id=study.study_id, key=key, value_json=json.dumps(value)))
            if first is not None:
                rows.enqueue(cast(int, study.study_id), first, {WHY: DEFAULT})
            for fixed in then:
                rows.enqueue(cast(int, study.study_id), fixed, {WHY: "first of the study file"})

    def rename_study(self, study_id: int, old: str, new: str) -> None:
        attributes = models.TrialUserAttributeModel
        with self._writing() as (session, _):
            session.execute(
                sqlalchemy.update(models.StudyModel)
                .where(models.StudyModel.study_id == study_id)
                .values(study_name=new)
            )
            ids = sqlalchemy.select(models.TrialModel.trial_id).where(models.TrialModel.study_id == study_id)
            session.execute(
                sqlalchemy.update(attributes)
                .where(attributes.trial_id.in_(ids), attributes.key == RUN_FOLDER)
                .values(
                    value_json=sqlalchemy.func.replace(attributes.value_json, f"runs/{old}/", f"runs/{new}/")
                ),
                execution_options={"synchronize_session": False},
            )

    def claim(
        self, study_id: int, *, user_attrs: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        with self._writing() as (session, rows):
            query = (
                sqlalchemy.select(models.TrialModel)
                .where(
                    models.TrialModel.study_id == study_id,
                    models.TrialModel.state == TrialState.WAITING,
                    models.TrialModel.trial_id.not_in(_paused()),
                )
                .order_by(models.TrialModel.number)
                .limit(1)
            )
            row = None if fixed is not None else session.execute(query).scalar_one_or_none()
            if row is None:
                template = create_trial(
                    state=TrialState.RUNNING,
                    user_attrs=dict(user_attrs),
                    system_attrs={FIXED_PARAMS: dict(fixed)} if fixed is not None else {},
                )
                template.datetime_start = datetime.now()
                row = add_trial(self._storage, session, study_id, template)
            else:
                row.state = TrialState.RUNNING
                row.datetime_start = datetime.now()
                trial_id = cast(int, row.trial_id)
                rows.write_attrs(models.TrialUserAttributeModel, trial_id, user_attrs)
            session.flush()
            session.expire(row)
            return frozen_trial(self._storage, row)

    def write(self, trial_id: int, pending: Pending) -> bool:
        with self._writing() as (_, rows):
            if not rows.still_running(trial_id):
                return False
            rows.write(trial_id, pending)
        return True

    def finish(
        self, trial_id: int, pending: Pending, state: TrialState, values: Sequence[float], lease: Mapping
    ) -> bool:
        with self._writing() as (session, rows):
            row = session.get(models.TrialModel, trial_id)
            if not rows.still_running(trial_id):
                if row is None or row.state is not state or not lease:
                    return False
                ended = frozen_trial(self._storage, row)
                return _same_owner(LEASE.of(ended), lease)
            assert row is not None
            rows.write(trial_id, pending)
            for objective, value in enumerate(values):
                set_value(self._storage, session, row, objective, value)
            row.state, row.datetime_complete = state, datetime.now()
        return True

    def pause(self, trial_id: int, pending: Pending) -> bool:
        with self._writing() as (session, rows):
            row = session.get_one(models.TrialModel, trial_id)
            if not rows.still_running(trial_id):  # or it is asked again after a lost answer
                attrs = frozen_trial(self._storage, row).user_attrs
                return row.state is TrialState.WAITING and PAUSED.of(attrs) == pending.user_attrs[PAUSED]
            rows.write(trial_id, pending)
            rows.delete_attrs(trial_id, LEASE)
            row.state = TrialState.WAITING
        return True

    def resume(self, trial_id: int, *, user_attrs: Mapping[str, Any]) -> FrozenTrial | None:
        with self._writing() as (session, rows):
            row = session.get(models.TrialModel, trial_id)
            if row is None or row.state is not TrialState.WAITING:
                return None
            row.state = TrialState.RUNNING
            row.datetime_start = datetime.now()
            rows.delete_attrs(trial_id, PAUSED, UNTIL)
            rows.write_attrs(models.TrialUserAttributeModel, trial_id, user_attrs)
            session.flush()
            session.expire(row)
            return frozen_trial(self._storage, row)

    def close_paused(self, study_id: int, because: str) -> list[int]:
        with self._writing() as (session, rows):
            query = sqlalchemy.select(models.TrialModel).where(
                models.TrialModel.study_id == study_id,
                models.TrialModel.state == TrialState.WAITING,
                models.TrialModel.trial_id.in_(_paused()),
            )
            paused = session.execute(query).scalars().all()
            for row in paused:
                trial_id = cast(int, row.trial_id)
                reports = frozen_trial(self._storage, row).intermediate_values
                last = reports[max(reports)] if reports else math.nan
                if not math.isnan(last):
                    set_value(self._storage, session, row, 0, last)
                row.state, row.datetime_complete = TrialState.PRUNED, datetime.now()
                rows.delete_attrs(trial_id, PAUSED, UNTIL)
                rows.write_attrs(models.TrialUserAttributeModel, trial_id, {PRUNED_BECAUSE: because})
            return [cast(int, row.number) for row in paused]

    def release(self, trial_id: int) -> bool:
        with self._writing() as (session, rows):
            row = session.get(models.TrialModel, trial_id)
            if row is None or row.state is not TrialState.RUNNING:
                return False
            trial = frozen_trial(self._storage, row)
            fixed = trial.params or trial.system_attrs.get(FIXED_PARAMS)
            for table in (
                models.TrialParamModel,
                models.TrialIntermediateValueModel,
                models.TrialSystemAttributeModel,
            ):
                session.execute(sqlalchemy.delete(table).where(table.trial_id == trial_id))
            rows.delete_attrs(trial_id, LEASE)
            if fixed:
                rows.write_attrs(models.TrialSystemAttributeModel, trial_id, {FIXED_PARAMS: fixed})
            row.state = TrialState.WAITING
            row.datetime_start = None
        return True

    def give_up(self, trial_id: int, user_attrs: Mapping[str, Any], *, retries: int = 0) -> int | None:
        with self._writing() as (session, rows):
            row = session.get(models.TrialModel, trial_id)
            if row is None or row.state is not TrialState.RUNNING:
                return None
            trial = frozen_trial(self._storage, row)
            rows.write_attrs(models.TrialUserAttributeModel, trial_id, user_attrs)
            row.state, row.datetime_complete = TrialState.FAIL, datetime.now()
            fixed = trial.params or trial.system_attrs.get(FIXED_PARAMS)
            tried = RETRIES.of(trial)
            if fixed is None or tried >= retries:
                return None
            kept = {
                key: trial.user_attrs[key]
                for key in (GRID_POINT, CHECKPOINT, UNTIL, WHY)
                if key in trial.user_attrs
            }
            attrs = {**kept, RETRY_OF: trial.number, RETRIES: tried + 1}
            again = rows.enqueue(row.study_id, fixed, attrs)
            if ERROR in user_attrs:
                told = {ERROR: f"{user_attrs[ERROR]}; run again as trial {again}"}
                rows.write_attrs(models.TrialUserAttributeModel, trial_id, told)
            return again

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        with self._writing() as (_, rows):
            return rows.enqueue(study_id, fixed, user_attrs)

    def amend(self, study_id: int, amendments: Sequence[Amendment], study_attrs: Mapping[str, Any]) -> None:
        with self._writing() as (_, rows):
            for amendment in amendments:
                rows.amend(amendment)
            rows.write_study_attrs(study_id, study_attrs)
            rows.count_uncounted(study_id)

    def add_told(self, study_id: int, trials: Sequence[Told]) -> list[int]:
        numbers = []
        with self._writing() as (_, rows):
            for told in trials:
                template = create_trial(
                    state=TrialState.COMPLETE,
                    values=list(told.values),
                    user_attrs=dict(told.user_attrs),
                    system_attrs=dict(told.system_attrs),
                    intermediate_values=dict(told.reports),
                )
                numbers.append(rows.add(study_id, template, told.params))
            rows.count_uncounted(study_id)
        return numbers

    def restore(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """Adds trials in any state as they are, under the next numbers; to make a database anew."""
        with self._writing() as (_, rows):
            for trial in trials:
                template = copy.copy(trial)
                template.params, template.distributions = {}, {}
                internal = {
                    name: (distribution.to_internal_repr(trial.params[name]), distribution)
                    for name, distribution in trial.distributions.items()
                }
                rows.add(study_id, template, internal)

    def renew(self, trial_id: int, lease: Mapping[str, Any]) -> bool:
        with self._writing() as (_, rows):
            if not rows.still_running(trial_id):
                return False
            rows.write_attrs(models.TrialUserAttributeModel, trial_id, {LEASE: lease})
        return True

    # -- counting

    def counts(self, study_id: int) -> dict[TrialState, int]:
        with self._reading() as session:
            query = (
                sqlalchemy.select(models.TrialModel.state, sqlalchemy.func.count())
                .where(models.TrialModel.study_id == study_id)
                .group_by(models.TrialModel.state)
            )
            found = {state: int(count) for state, count in session.execute(query)}
        return {state: found.get(state, 0) for state in TrialState}

    def running(self, study_id: int) -> list[tuple[int, int, dict[str, Any] | None]]:
        attributes = models.TrialUserAttributeModel
        with self._reading() as session:
            query = (
                sqlalchemy.select(models.TrialModel.trial_id, models.TrialModel.number, attributes.value_json)
                .outerjoin(
                    attributes,
                    (attributes.trial_id == models.TrialModel.trial_id) & (attributes.key == LEASE),
                )
                .where(models.TrialModel.study_id == study_id, models.TrialModel.state == TrialState.RUNNING)
            )
            return [
                (trial_id, number, json.loads(lease) if lease else None)
                for trial_id, number, lease in session.execute(query)
            ]

    def grid_points_taken(self, study_id: int) -> set[int]:
        attributes = models.TrialUserAttributeModel
        with self._reading() as session:
            query = (
                sqlalchemy.select(attributes.value_json)
                .join(models.TrialModel, models.TrialModel.trial_id == attributes.trial_id)
                .where(models.TrialModel.study_id == study_id, attributes.key == GRID_POINT)
            )
            return {int(json.loads(value)) for (value,) in session.execute(query)}

    def close(self) -> None:
        self._storage.engine.dispose()
        self._database.close()

    # -- transactions

    @contextmanager
    def _writing(self) -> Iterator[tuple[Session, TrialRows]]:
        """A transaction under the lock."""
        with self.lock, self._database.session(self._storage) as session:
            yield session, TrialRows(self._storage, session, self._database.insert)

    def _reading(self) -> AbstractContextManager[Session]:
        return transaction(self._storage.scoped_session)


def _paused() -> Any:
    """The ids of paused trials, of any study."""
    attributes = models.TrialUserAttributeModel
    return sqlalchemy.select(attributes.trial_id).where(attributes.key == PAUSED)


def _same_owner(stored: Any, lease: Mapping[str, Any]) -> bool:
    """Whether two leases have the same owner: nothing but the beat may differ."""
    return isinstance(stored, Mapping) and {**stored, "beat": 0} == {**lease, "beat": 0}
