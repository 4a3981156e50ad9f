"""An Optuna storage with fewer, larger transactions: what a process writes of its own trial is buffered.

Plain Optuna writes every parameter, report and attribute in a transaction of its own, some thirty a trial.
Here a trial's writer keeps its own trial in memory and writes it three times: when it is claimed, when its
parameters are drawn, and when it ends, with the reports between written together.

Every write is conditional on the trial still being RUNNING, which is what makes hand-overs safe: an agent
that was given up for dead and wakes up finds its trial gone (`GivenAway`) instead of overwriting a retry.

This reaches into `optuna.storages._rdb` (pinned below 6 in pyproject.toml); the contract tests in
tests/tuner_tests/test_records.py compare what it leaves in the database with Optuna's own writes.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from tuner.locks import StorageLock

# A pruner that looks at every report sees the other agents' trials as they were at most this long ago:
# reading them costs 5 ms, more than many a report. A claim and an end of our own always read afresh.
FRESH_SECONDS = 0.5


class GivenAway(Exception):
    """The trial is no longer ours: it was given up for dead and queued again."""


@dataclass
class _OpenTrial:
    """A trial that this process runs: its state, and what of it is not written yet."""

    trial: FrozenTrial
    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)

    def pending(self) -> bool:
        return bool(self.params or self.user_attrs or self.system_attrs or self.reports)

    def written(self) -> None:
        for part in (self.params, self.user_attrs, self.system_attrs, self.reports):
            part.clear()


class BufferedStorage(_CachedStorage):
    """Optuna's cached storage; writes to trials that were opened here wait in memory, the rest pass through.

    Reading shows a process its own writes at once, written or not.
    """

    def __init__(self, backend: RDBStorage, lock: StorageLock) -> None:
        super().__init__(backend)
        self.lock = lock
        self._open: dict[int, _OpenTrial] = {}
        self._read_at: dict[int, float] = {}  # study id → monotonic time of the last read of its trials

    def _open_trial(self, study_id: int, trial: FrozenTrial) -> None:
        self._open[trial._trial_id] = _OpenTrial(trial)
        self.refresh()
        with self._lock:
            self._studies.setdefault(study_id, _StudyInfo())
            self._add_trials_to_cache(study_id, [copy.copy(trial)])

    def discard_params(self, trial_id: int) -> None:
        """Forgets the parameters drawn but not written yet: the configuration is ruled out, draw another."""
        mine = self._open[trial_id]
        mine.params.clear()
        mine.trial.params, mine.trial.distributions = {}, {}

    def flush(self, trial_id: int) -> None:
        """Writes what is pending of an open trial in one transaction.

        Raises:
            GivenAway: the trial is no longer RUNNING.
        """
        mine = self._open[trial_id]
        if not mine.pending():
            return
        with self.lock, self._session() as session:
            if not self._still_running(session, trial_id):
                raise GivenAway(f"trial {mine.trial.number} was given away")
            self._write(session, trial_id, mine)
        mine.written()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        mine = self._open.get(trial_id)
        if mine is None:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        mine.params[param_name] = (param_value_internal, distribution)
        mine.trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        mine.trial.distributions[param_name] = distribution

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        mine = self._open.get(trial_id)
        if mine is None:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        mine.reports[step] = mine.trial.intermediate_values[step] = float(intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        mine = self._open.get(trial_id)
        if mine is None:
            super().set_trial_user_attr(trial_id, key, value)
            return
        mine.user_attrs[key] = mine.trial.user_attrs[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        mine = self._open.get(trial_id)
        if mine is None:
            super().set_trial_system_attr(trial_id, key, value)
            return
        mine.system_attrs[key] = mine.trial.system_attrs[key] = value

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        mine = self._open.get(trial_id)
        if mine is None:
            with self.lock:
                return super().set_trial_state_values(trial_id, state, values)
        with self.lock, self._session() as session:
            if not self._still_running(session, trial_id):
                del self._open[trial_id]
                raise GivenAway(f"trial {mine.trial.number} was given away")
            self._write(session, trial_id, mine)
            row = session.get(models.TrialModel, trial_id)
            assert row is not None
            for objective, value in enumerate(values or ()):
                self._backend._set_trial_value_without_commit(session, row, objective, value)
            row.state, row.datetime_complete = state, datetime.now()
        self.refresh()
        del self._open[trial_id]  # only now: a write that failed (disk full) leaves the trial open
        return True

    def get_trial(self, trial_id: int) -> FrozenTrial:
        mine = self._open.get(trial_id)
        return super().get_trial(trial_id) if mine is None else copy.copy(mine.trial)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy, None if self._open else states)
        if self._open:
            mine = {open_trial.trial.number: open_trial.trial for open_trial in self._open.values()}
            trials = [mine.get(trial.number, trial) for trial in trials]
            trials = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy and self._open else trials

    # -- statements

    def forget(self) -> None:
        """Drops everything cached: studies were changed behind Optuna's back."""
        for cache in (
            self._studies,
            self._trial_id_to_study_id_and_number,
            self._study_id_and_number_to_trial_id,
            self._read_at,
        ):
            cache.clear()

    def refresh(self) -> None:
        """Makes the next reading of trials a fresh one."""
        self._read_at.clear()

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        now = time.monotonic()
        if now - self._read_at.get(study_id, -math.inf) < FRESH_SECONDS:
            return
        super()._read_trials_from_remote_storage(study_id)
        self._read_at[study_id] = now

    def _session(self) -> Any:
        return _create_scoped_session(self._backend.scoped_session)

    def _still_running(self, session: Session, trial_id: int) -> bool:
        """Whether the trial is RUNNING; locks its row until the transaction ends."""
        same = (
            sqlalchemy.update(models.TrialModel)
            .where(models.TrialModel.trial_id == trial_id, models.TrialModel.state == TrialState.RUNNING)
            .values(state=TrialState.RUNNING)
        )
        result: Any = session.execute(same)
        return bool(result.rowcount == 1)

    def _write(self, session: Session, trial_id: int, mine: _OpenTrial) -> None:
        if mine.params:
            session.execute(
                sqlalchemy.insert(models.TrialParamModel),
                [
                    {
                        "trial_id": trial_id,
                        "param_name": name,
                        "param_value": value,
                        "distribution_json": distribution_to_json(distribution),
                    }
                    for name, (value, distribution) in mine.params.items()
                ],
            )
        self._write_attrs(session, models.TrialUserAttributeModel, trial_id, mine.user_attrs)
        self._write_attrs(session, models.TrialSystemAttributeModel, trial_id, mine.system_attrs)
        table = models.TrialIntermediateValueModel
        rows = []
        for step, value in mine.reports.items():
            stored, kind = table.intermediate_value_to_stored_repr(value)
            rows.append(
                {
                    "trial_id": trial_id,
                    "step": step,
                    "intermediate_value": stored,
                    "intermediate_value_type": kind,
                }
            )
        self._upsert(
            session, table, rows, ("trial_id", "step"), ("intermediate_value", "intermediate_value_type")
        )

    def _write_attrs(
        self, session: Session, table: Any, trial_id: int, attributes: Mapping[str, Any]
    ) -> None:
        rows = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in attributes.items()
        ]
        self._upsert(session, table, rows, ("trial_id", "key"), ("value_json",))

    def _upsert(
        self,
        session: Session,
        table: Any,
        rows: list[dict[str, Any]],
        keys: Iterable[str],
        columns: Iterable[str],
    ) -> None:
        if not rows:
            return
        if self._backend.engine.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
        statement: Any = insert(table)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=list(keys), set_={name: statement.excluded[name] for name in columns}
            ),
            rows,
        )
