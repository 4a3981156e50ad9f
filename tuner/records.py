"""The study's records: who runs which trial, handed over safely between agents of any process.

Each method here is one transaction under the storage's lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import sqlalchemy
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from tuner.buffered import BufferedStorage

LEASE = "lease"  # user attribute: who runs the trial
GRID_POINT = "grid_point"  # user attribute: index of the trial's point in a grid
RETRY_OF = "retry_of"  # user attribute: number of the trial whose agent died
RETRIES = "retries"  # user attribute: how often the configuration has been queued again
METRIC_NAMES = "study:metric_names"  # study system attribute: Optuna's
FIXED = "fixed_params"  # system attribute: Optuna's, the parameters that a queued trial must take


class Records(BufferedStorage):
    """An Optuna storage for one process of a study, with the hand-overs that Optuna has no call for."""

    def make_study(
        self,
        name: str,
        *,
        objectives: Sequence[tuple[str, str]],
        user_attrs: Mapping[str, Any],
        first: Mapping[str, Any] | None,
    ) -> None:
        """Makes a study with its attributes and first queued trial at once: a kill leaves it whole or absent.

        Args:
            objectives: name and goal ("minimize" or "maximize") of each.
            first: parameters of the trial to run first (the default configuration).
        """
        with self.lock, self._session() as session:
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
                self._queue(session, cast(int, study.study_id), first, {"why": "default configuration"})

    def claim(
        self, study_id: int, *, user_attrs: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        """Takes the oldest queued trial, or makes a new one, and opens it for buffered writes.

        Args:
            user_attrs: attributes of the claimed trial, the lease among them.
            fixed: parameters that a new trial must take (a grid's point); a queued trial has its own.

        Returns:
            The trial, RUNNING, its lease written in the same transaction.
        """
        with self.lock, self._session() as session:
            query = (
                sqlalchemy.select(models.TrialModel)
                .where(models.TrialModel.study_id == study_id, models.TrialModel.state == TrialState.WAITING)
                .order_by(models.TrialModel.number)
                .limit(1)
            )
            row = None if fixed is not None else session.execute(query).scalar_one_or_none()
            if row is None:
                template = create_trial(
                    state=TrialState.RUNNING,
                    user_attrs=dict(user_attrs),
                    system_attrs={FIXED: dict(fixed)} if fixed is not None else {},
                )
                template.datetime_start = datetime.now()
                row = self._backend._get_prepared_new_trial(study_id, template, session)
                session.flush()
                session.expire(row)
            else:
                row.state = TrialState.RUNNING
                row.datetime_start = datetime.now()
                self._write_attrs(session, models.TrialUserAttributeModel, row.trial_id, user_attrs)
                session.flush()
                session.expire(row)
            trial = self._backend._build_frozen_trial_from_trial_model(row)
        self._open_trial(study_id, trial)
        return trial

    def release(self, trial_id: int) -> bool:
        """Puts a RUNNING trial back into the queue, as if never started; False: it is not ours any more.

        Its parameters are kept, so that whoever takes it next runs the same configuration.
        """
        self._open.pop(trial_id, None)
        with self.lock, self._session() as session:
            row = session.get(models.TrialModel, trial_id)
            if row is None or row.state is not TrialState.RUNNING:
                return False
            trial = self._backend._build_frozen_trial_from_trial_model(row)
            fixed = trial.params or trial.system_attrs.get(FIXED)
            for table in (
                models.TrialParamModel,
                models.TrialIntermediateValueModel,
                models.TrialSystemAttributeModel,
            ):
                session.execute(sqlalchemy.delete(table).where(table.trial_id == trial_id))
            session.execute(
                sqlalchemy.delete(models.TrialUserAttributeModel).where(
                    models.TrialUserAttributeModel.trial_id == trial_id,
                    models.TrialUserAttributeModel.key == LEASE,
                )
            )
            if fixed:
                self._write_attrs(session, models.TrialSystemAttributeModel, trial_id, {FIXED: fixed})
            row.state = TrialState.WAITING
            row.datetime_start = None
        return True

    def give_up(self, trial_id: int, user_attrs: Mapping[str, Any], *, retries: int = 0) -> int | None:
        """Ends a RUNNING trial whose owner is gone as FAIL and queues its configuration afresh, at once.

        Args:
            user_attrs: written to the failed trial (what became of its owner).
            retries: how often a configuration may be queued again; 0 never does.

        Returns:
            The number of the queued trial; None when there is none: it had ended already, had no parameters
            yet, or has been tried often enough.
        """
        self._open.pop(trial_id, None)
        with self.lock, self._session() as session:
            row = session.get(models.TrialModel, trial_id)
            if row is None or row.state is not TrialState.RUNNING:
                return None
            trial = self._backend._build_frozen_trial_from_trial_model(row)
            self._write_attrs(session, models.TrialUserAttributeModel, trial_id, user_attrs)
            row.state, row.datetime_complete = TrialState.FAIL, datetime.now()
            fixed = trial.params or trial.system_attrs.get(FIXED)
            tried = int(trial.user_attrs.get(RETRIES, 0))
            if fixed is None or tried >= retries:
                return None
            kept = {key: trial.user_attrs[key] for key in (GRID_POINT,) if key in trial.user_attrs}
            attrs = {**kept, RETRY_OF: trial.number, RETRIES: tried + 1}
            return self._queue(session, row.study_id, fixed, attrs)

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        """Queues a trial that will take the parameters `fixed`; returns its number."""
        with self.lock, self._session() as session:
            return self._queue(session, study_id, fixed, user_attrs)

    def renew(self, trial_id: int, lease: Mapping[str, Any]) -> bool:
        """Writes a lease's next beat; False when the trial is no longer RUNNING (it was given away)."""
        with self.lock, self._session() as session:
            if not self._still_running(session, trial_id):
                return False
            self._write_attrs(session, models.TrialUserAttributeModel, trial_id, {LEASE: lease})
        return True

    # -- counting

    def counts(self, study_id: int) -> dict[TrialState, int]:
        """How many trials are in each state; absent states count 0."""
        with self._session() as session:
            query = (
                sqlalchemy.select(models.TrialModel.state, sqlalchemy.func.count())
                .where(models.TrialModel.study_id == study_id)
                .group_by(models.TrialModel.state)
            )
            found = {state: int(count) for state, count in session.execute(query)}
        return {state: found.get(state, 0) for state in TrialState}

    def running(self, study_id: int) -> list[tuple[int, int, dict[str, Any] | None]]:
        """`(trial id, number, lease)` of every RUNNING trial; one that other code started has no lease."""
        attributes = models.TrialUserAttributeModel
        with self._session() as session:
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
        """Indices of the grid's points that have a trial, whatever became of it."""
        attributes = models.TrialUserAttributeModel
        with self._session() as session:
            query = (
                sqlalchemy.select(attributes.value_json)
                .join(models.TrialModel, models.TrialModel.trial_id == attributes.trial_id)
                .where(models.TrialModel.study_id == study_id, attributes.key == GRID_POINT)
            )
            return {int(json.loads(value)) for (value,) in session.execute(query)}

    def _queue(
        self, session: Session, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]
    ) -> int:
        template = create_trial(
            state=TrialState.WAITING, user_attrs=dict(user_attrs), system_attrs={FIXED: dict(fixed)}
        )
        return int(self._backend._get_prepared_new_trial(study_id, template, session).number)
