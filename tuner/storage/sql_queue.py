"""The queue of trials: which trial waits, which agent runs it, and what happens when that agent dies.

Optuna has no calls for this. `SqlQueue` is the queue in a database that this process opened; `tuner serve`
lets agents elsewhere call its methods. A trial is written only while it is RUNNING. So an agent that was
taken for dead and wakes up cannot overwrite the trial.

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
from typing import Any

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
from tuner.storage.locks import Reentrant
from tuner.storage.optuna_private import FIXED_PARAMS, METRIC_NAMES, add_trial, models, set_value, transaction
from tuner.storage.trial_rows import (
    PARAMS,
    REPORTS,
    STUDIES,
    STUDY_ATTRS,
    SYSTEM_ATTRS,
    TRIALS,
    USER_ATTRS,
    Amendment,
    Pending,
    Told,
    TrialRows,
)

# the ids of paused trials, of any study
PAUSED_IDS = sqlalchemy.select(USER_ATTRS.trial_id).where(USER_ATTRS.key == PAUSED)


class SqlQueue:
    """Gives trials to agents in any process and on any host; each method is one transaction.

    Attributes:
        lock: held by every method that writes. Hold it yourself around several calls that belong together.
    """

    def __init__(self, storage: RDBStorage, database: Database) -> None:
        self._storage = storage
        self._database = database
        self.lock: Reentrant = database.lock

    def make_study(
        self,
        name: str,
        *,
        objectives: Sequence[tuple[str, str]],
        user_attrs: Mapping[str, Any],
        first: Mapping[str, Any] | None,
        then: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Makes a study, its attributes and its first queued trials in one transaction.

        Args:
            objectives: name and goal ("minimize" or "maximize") of each objective.
            first: parameters of the trial that runs first (the default configuration); None: no such trial.
            then: parameters of the trials that run after it, in order.
        """
        with self._writing() as rows:
            directions = [
                models.StudyDirectionModel(objective=index, direction=StudyDirection[goal.upper()])
                for index, (_, goal) in enumerate(objectives)
            ]
            study: Any = STUDIES(study_name=name, directions=directions)
            rows.session.add(study)
            rows.session.flush()
            names = {METRIC_NAMES: [metric for metric, _ in objectives]}
            for table, attributes in ((STUDY_ATTRS, user_attrs), (models.StudySystemAttributeModel, names)):
                for key, value in attributes.items():
                    rows.session.add(table(study_id=study.study_id, key=key, value_json=json.dumps(value)))
            if first is not None:
                rows.enqueue(study.study_id, first, {WHY: DEFAULT})
            for fixed in then:
                rows.enqueue(study.study_id, fixed, {WHY: "first of the study file"})

    def rename_study(self, study_id: int, old: str, new: str) -> None:
        """Gives a study another name, also in the run folders of its trials."""
        renamed = sqlalchemy.func.replace(USER_ATTRS.value_json, f"runs/{old}/", f"runs/{new}/")
        ids = sqlalchemy.select(TRIALS.trial_id).where(TRIALS.study_id == study_id)
        with self._writing() as rows:
            rows.session.execute(
                sqlalchemy.update(STUDIES).where(STUDIES.study_id == study_id).values(study_name=new)
            )
            rows.session.execute(
                sqlalchemy.update(USER_ATTRS)
                .where(USER_ATTRS.trial_id.in_(ids), USER_ATTRS.key == RUN_FOLDER)
                .values(value_json=renamed),
                execution_options={"synchronize_session": False},
            )

    def claim(
        self, study_id: int, *, user_attrs: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        """Takes the oldest queued trial, or makes a new one. A paused trial is not queued.

        Args:
            user_attrs: attributes of the claimed trial, with its lease.
            fixed: parameters of a new trial (a grid point); None: take the oldest queued trial, if any.

        Returns:
            The trial, which is RUNNING and has its lease.
        """
        queued = (
            sqlalchemy.select(TRIALS)
            .where(
                TRIALS.study_id == study_id,
                TRIALS.state == TrialState.WAITING,
                TRIALS.trial_id.not_in(PAUSED_IDS),
            )
            .order_by(TRIALS.number)
            .limit(1)
        )
        with self._writing() as rows:
            row: Any = None if fixed is not None else rows.session.execute(queued).scalar_one_or_none()
            if row is None:
                template = create_trial(
                    state=TrialState.RUNNING,
                    user_attrs=dict(user_attrs),
                    system_attrs={FIXED_PARAMS: dict(fixed)} if fixed is not None else {},
                )
                template.datetime_start = datetime.now()
                row = add_trial(self._storage, rows.session, study_id, template)
            else:
                row.state, row.datetime_start = TrialState.RUNNING, datetime.now()
                rows.write_attrs(USER_ATTRS, row.trial_id, user_attrs)
            return rows.frozen(row)

    def pause(self, trial_id: int, pending: Pending) -> bool:
        """Lets a RUNNING trial wait until it is resumed; False: it is no longer ours.

        Unlike a released trial it keeps its parameters and reports. `pending` has the attribute PAUSED.
        """
        with self._writing() as rows:
            row: Any = rows.session.get_one(TRIALS, trial_id)
            if not rows.still_running(trial_id):  # or it is asked again after a lost answer
                paused = PAUSED.of(rows.frozen(row)) == pending.user_attrs[PAUSED]
                return row.state is TrialState.WAITING and paused
            rows.write(trial_id, pending)
            rows.delete(USER_ATTRS, trial_id, [LEASE])
            row.state = TrialState.WAITING
        return True

    def resume(self, trial_id: int, *, user_attrs: Mapping[str, Any]) -> FrozenTrial | None:
        """Takes a paused trial, which is RUNNING then, with its lease; None: it is no longer paused."""
        with self._writing() as rows:
            row: Any = rows.session.get(TRIALS, trial_id)
            if row is None or row.state is not TrialState.WAITING:
                return None
            row.state, row.datetime_start = TrialState.RUNNING, datetime.now()
            rows.delete(USER_ATTRS, trial_id, [PAUSED, UNTIL])
            rows.write_attrs(USER_ATTRS, trial_id, user_attrs)
            return rows.frozen(row)

    def close_paused(self, study_id: int, because: str) -> list[int]:
        """Ends all paused trials of a study as PRUNED, with their latest value; returns their numbers."""
        query = sqlalchemy.select(TRIALS).where(
            TRIALS.study_id == study_id,
            TRIALS.state == TrialState.WAITING,
            TRIALS.trial_id.in_(PAUSED_IDS),
        )
        with self._writing() as rows:
            paused: Sequence[Any] = rows.session.execute(query).scalars().all()
            for row in paused:
                reports = rows.frozen(row).intermediate_values
                last = reports[max(reports)] if reports else math.nan
                if not math.isnan(last):
                    set_value(self._storage, rows.session, row, 0, last)
                row.state, row.datetime_complete = TrialState.PRUNED, datetime.now()
                rows.delete(USER_ATTRS, row.trial_id, [PAUSED, UNTIL])
                rows.write_attrs(USER_ATTRS, row.trial_id, {PRUNED_BECAUSE: because})
            return [row.number for row in paused]

    def write(self, trial_id: int, pending: Pending) -> bool:
        """Writes a part of a RUNNING trial; False: it is no longer RUNNING (another agent has it)."""
        with self._writing() as rows:
            running = rows.still_running(trial_id)
            if running:
                rows.write(trial_id, pending)
        return running

    def finish(
        self, trial_id: int, pending: Pending, state: TrialState, values: Sequence[float], lease: Mapping
    ) -> bool:
        """Writes the rest of a RUNNING trial and its end; False: it was given to another agent.

        Call it again if it is not known whether it succeeded. `lease`, with which the trial was claimed,
        shows whether this process has ended the trial, or another.
        """
        with self._writing() as rows:
            row: Any = rows.session.get(TRIALS, trial_id)
            if not rows.still_running(trial_id):
                ended = row is not None and row.state is state and bool(lease)
                return ended and _same_owner(LEASE.of(rows.frozen(row)), lease)
            rows.write(trial_id, pending)
            for objective, value in enumerate(values):
                set_value(self._storage, rows.session, row, objective, value)
            row.state, row.datetime_complete = state, datetime.now()
        return True

    def release(self, trial_id: int) -> bool:
        """Returns a RUNNING trial to the queue, as if it had never started; False: it is no longer ours.

        It keeps its parameters, so that the next agent runs the same configuration.
        """
        with self._writing() as rows:
            row = rows.running(trial_id)
            if row is None:
                return False
            fixed = _configuration(rows.frozen(row))
            for table in (PARAMS, REPORTS, SYSTEM_ATTRS):
                rows.delete(table, trial_id)
            rows.delete(USER_ATTRS, trial_id, [LEASE])
            if fixed:
                rows.write_attrs(SYSTEM_ATTRS, trial_id, {FIXED_PARAMS: fixed})
            row.state, row.datetime_start = TrialState.WAITING, None
        return True

    def give_up(self, trial_id: int, user_attrs: Mapping[str, Any], *, retries: int = 0) -> int | None:
        """Ends a RUNNING trial whose owner is gone as FAIL, and queues a new trial with its configuration.

        Args:
            user_attrs: written to the failed trial (what happened to its owner). To ERROR is added as which
                trial it runs again.
            retries: how often a configuration may be queued again; 0: never.

        Returns:
            The number of the queued trial. None if no trial was queued, because the trial was no longer
            RUNNING, had no parameters yet, or its configuration was queued `retries` times already.
        """
        with self._writing() as rows:
            row = rows.running(trial_id)
            if row is None:
                return None
            trial = rows.frozen(row)
            rows.write_attrs(USER_ATTRS, trial_id, user_attrs)
            row.state, row.datetime_complete = TrialState.FAIL, datetime.now()
            fixed, tried = _configuration(trial), RETRIES.of(trial)
            if fixed is None or tried >= retries:
                return None
            taken = (GRID_POINT, CHECKPOINT, UNTIL, WHY)
            kept = {str(key): trial.user_attrs[key] for key in taken if key in trial.user_attrs}
            again = rows.enqueue(row.study_id, fixed, {**kept, RETRY_OF: trial.number, RETRIES: tried + 1})
            if ERROR in user_attrs:
                told = f"{user_attrs[ERROR]}; run again as trial {again}"
                rows.write_attrs(USER_ATTRS, trial_id, {ERROR: told})
            return again

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        """Queues a trial with the parameters `fixed`; returns its number."""
        with self._writing() as rows:
            return rows.enqueue(study_id, fixed, user_attrs)

    def amend(self, study_id: int, amendments: Sequence[Amendment], study_attrs: Mapping[str, Any]) -> None:
        """Changes trials and attributes of a study in one transaction, and counts UNCOUNTED anew.

        A trial that is RUNNING stays as it is.
        """
        with self._writing() as rows:
            for amendment in amendments:
                rows.amend(amendment)
            rows.write_attrs(STUDY_ATTRS, study_id, study_attrs)
            rows.count_uncounted(study_id)

    def add_told(self, study_id: int, trials: Sequence[Told]) -> list[int]:
        """Adds complete trials in one transaction; returns their numbers. Counts UNCOUNTED anew."""
        numbers = []
        with self._writing() as rows:
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
        with self._writing() as rows:
            for trial in trials:
                template = copy.copy(trial)
                template.params, template.distributions = {}, {}
                internal = {
                    name: (distribution.to_internal_repr(trial.params[name]), distribution)
                    for name, distribution in trial.distributions.items()
                }
                rows.add(study_id, template, internal)

    def renew(self, trial_id: int, lease: Mapping[str, Any]) -> bool:
        """Writes the next beat of a lease; False: the trial is no longer RUNNING (another agent has it)."""
        return self.write(trial_id, Pending(user_attrs={LEASE: lease}))

    # -- counting

    def counts(self, study_id: int) -> dict[TrialState, int]:
        """How many trials are in each state; every state is a key."""
        query = (
            sqlalchemy.select(TRIALS.state, sqlalchemy.func.count())
            .where(TRIALS.study_id == study_id)
            .group_by(TRIALS.state)
        )
        with self._reading() as session:
            found = {state: int(count) for state, count in session.execute(query)}
        return {state: found.get(state, 0) for state in TrialState}

    def running(self, study_id: int) -> list[tuple[int, int, dict[str, Any] | None]]:
        """`(trial id, number, lease)` of each RUNNING trial; a trial that other code started has no lease."""
        query = (
            sqlalchemy.select(TRIALS.trial_id, TRIALS.number, USER_ATTRS.value_json)
            .outerjoin(USER_ATTRS, (USER_ATTRS.trial_id == TRIALS.trial_id) & (USER_ATTRS.key == LEASE))
            .where(TRIALS.study_id == study_id, TRIALS.state == TrialState.RUNNING)
        )
        with self._reading() as session:
            return [
                (trial_id, number, json.loads(lease) if lease else None)
                for trial_id, number, lease in session.execute(query)
            ]

    def grid_points_taken(self, study_id: int) -> set[int]:
        """Indices of the grid points that have a trial, in any state."""
        query = (
            sqlalchemy.select(USER_ATTRS.value_json)
            .join(TRIALS, TRIALS.trial_id == USER_ATTRS.trial_id)
            .where(TRIALS.study_id == study_id, USER_ATTRS.key == GRID_POINT)
        )
        with self._reading() as session:
            return {int(json.loads(value)) for (value,) in session.execute(query)}

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        self._storage.engine.dispose()
        self._database.close()

    # -- transactions

    @contextmanager
    def _writing(self) -> Iterator[TrialRows]:
        with self.lock, self._database.session(self._storage) as session:
            yield TrialRows(self._storage, session, self._database.insert)

    def _reading(self) -> AbstractContextManager[Session]:
        return transaction(self._storage.scoped_session)


# the methods that other processes may call (`tuner serve`)
OPERATIONS = frozenset(name for name in vars(SqlQueue) if name[0] != "_") - {"restore"}


def _configuration(trial: FrozenTrial) -> Mapping[str, Any] | None:
    """The parameters that a trial has, or was queued with."""
    return trial.params or trial.system_attrs.get(FIXED_PARAMS)


def _same_owner(stored: Any, lease: Mapping[str, Any]) -> bool:
    """Whether two leases have the same owner: nothing but the beat may differ."""
    return isinstance(stored, Mapping) and {**stored, "beat": 0} == {**lease, "beat": 0}
