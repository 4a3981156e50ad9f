"""An Optuna storage with fewer, larger transactions: a process buffers what it writes to its own trial.

Plain Optuna writes every parameter, report and attribute in its own transaction, about thirty for a trial.
Here the process that runs a trial keeps it in memory and writes it three times: when the trial is claimed,
when its parameters are drawn, and when it ends. Reports are written together.

While the storage cannot be reached, the buffer keeps what could not be written until the next write, and
other agents' trials stay as they were last read.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.optuna_private import CachedStorage, FrozenStudy, GrpcStorage, trial_id
from tuner.storage.outage import UNREACHABLE, Patience, StorageUnreachable
from tuner.storage.queue import LEASE, OUTSIDE, Pending, TrialQueue

# How old the other agents' trials may be that a pruner sees at a report: reading them takes 5 ms, longer than
# many reports. They are always read again after a trial was claimed or ended here.
FRESH_SECONDS = 0.5
# A running trial of 10,000 reports takes 150 ms to read: where reading takes long, it is done less often.
READING_SHARE = 0.05  # of the time is spent on reading at most, …
STALE_SECONDS = 10.0  # … as long as that keeps what is seen younger than this


class GivenAway(Exception):
    """The trial is no longer ours: its agent was taken for dead, and the trial was queued again."""


@dataclass
class _OpenTrial:
    """A trial that this process runs: its state, what is not written yet, and its first lease."""

    trial: FrozenTrial
    pending: Pending = field(default_factory=Pending)
    lease: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Read:
    """The trials of a study, by number, as they were read, and until when that is fresh (monotonic time).

    `outside`: numbers of the trials that do not fit the study any more.
    """

    trials: list[FrozenTrial]
    fresh_until: float
    outside: frozenset[int] = frozenset()


class BufferedStorage(BaseStorage):
    """Buffers writes to the trials that this process runs; passes everything else on to `backend`.

    A process reads its own writes at once, also those that are still in the buffer.

    Args:
        backend: Optuna's storage, which caches finished trials.
        queue: the queue of trials in the same storage.
        patience: how long to wait for the storage when it cannot be reached.
    """

    def __init__(self, backend: CachedStorage | GrpcStorage, queue: TrialQueue, patience: Patience) -> None:
        self.lock = queue.lock
        self.patience = patience
        self._backend = backend
        self.queue = queue
        self._open: dict[int, _OpenTrial] = {}
        self._read: dict[int, _Read] = {}  # by study id

    def _open_trial(self, trial: FrozenTrial) -> None:
        self._open[trial_id(trial)] = _OpenTrial(trial, lease=dict(trial.user_attrs.get(LEASE) or {}))
        self.refresh()

    def discard_params(self, trial_id: int) -> None:
        """Drops parameters that were drawn but not written, because `requires` excludes them."""
        mine = self._open[trial_id]
        mine.pending.params.clear()
        mine.trial.params, mine.trial.distributions = {}, {}

    def flush(self, trial_id: int) -> None:
        """Writes the buffer of an open trial in one transaction; keeps it if the storage cannot be reached.

        Raises:
            GivenAway: the trial is no longer RUNNING.
            StorageFailed: the storage has not been reached for too long.
        """
        mine = self._open[trial_id]
        if not mine.pending:
            return
        written = self.patience.attempt(lambda: self.queue.write(trial_id, mine.pending))
        if written is UNREACHABLE:
            return
        if not written:
            raise GivenAway(f"trial {mine.trial.number} was given to another agent")
        mine.pending = Pending()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        mine = self._open.get(trial_id)
        if mine is None:
            self._backend.set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        mine.pending.params[param_name] = (param_value_internal, distribution)
        mine.trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        mine.trial.distributions[param_name] = distribution

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        mine = self._open.get(trial_id)
        if mine is None:
            self._backend.set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        mine.pending.reports[step] = mine.trial.intermediate_values[step] = float(intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        mine = self._open.get(trial_id)
        if mine is None:
            self._backend.set_trial_user_attr(trial_id, key, value)
            return
        mine.pending.user_attrs[key] = mine.trial.user_attrs[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        mine = self._open.get(trial_id)
        if mine is None:
            self._backend.set_trial_system_attr(trial_id, key, value)
            return
        mine.pending.system_attrs[key] = mine.trial.system_attrs[key] = value

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Writes the end of an open trial; waits for the storage while it cannot be reached."""
        mine = self._open.get(trial_id)
        if mine is None:
            self.refresh()
            with self.lock:
                return self._backend.set_trial_state_values(trial_id, state, values)
        numbers = [float(value) for value in values or ()]
        done = self.patience.insist(
            lambda: self.queue.finish(trial_id, mine.pending, state, numbers, mine.lease)
        )
        # not earlier: if the write fails (disk full), the trial stays open
        self._open.pop(trial_id, None)
        self.refresh()
        if not done:
            raise GivenAway(f"trial {mine.trial.number} was given to another agent")
        return True

    def get_trial(self, trial_id: int) -> FrozenTrial:
        mine = self._open.get(trial_id)
        return self._backend.get_trial(trial_id) if mine is None else copy.copy(mine.trial)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        read = self._trials(study_id)
        trials = list(read.trials)
        for mine in self._open.values():
            if mine.trial.number < len(trials):
                trials[mine.trial.number] = mine.trial
        if read.outside:
            trials = [trial for trial in trials if trial.number not in read.outside]
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def trials_outside(self, study_id: int) -> list[FrozenTrial]:
        """The trials that do not fit the study since it was changed. They are only shown.

        `get_all_trials`, and so everything of Optuna, leaves them out: samplers, pruners, importances.
        """
        read = self._trials(study_id)
        return [trial for trial in read.trials if trial.number in read.outside]

    def forget(self) -> None:
        """Empties all caches. Called when studies were changed behind Optuna's back."""
        self.refresh()
        self._backend.forget()

    def refresh(self) -> None:
        """Makes sure that the next call reads trials from the storage."""
        for read in self._read.values():
            read.fresh_until = -math.inf

    def _trials(self, study_id: int) -> _Read:
        """The study's trials by number; as last read, where they were just read or cannot be read now."""
        read = self._read.get(study_id)
        began = time.monotonic()
        if read is not None and began < read.fresh_until:
            return read
        if read is None:
            trials = self._backend.get_all_trials(study_id, deepcopy=False)
        else:
            found = self.patience.attempt(lambda: self._backend.get_all_trials(study_id, deepcopy=False))
            if found is UNREACHABLE:
                if not self._open:
                    raise StorageUnreachable("it does not answer now")
                return read
            trials = found
        ended = time.monotonic()
        seldom = min((ended - began) / READING_SHARE, STALE_SECONDS)
        outside = frozenset(trial.number for trial in trials if OUTSIDE in trial.user_attrs)
        self._read[study_id] = read = _Read(trials, ended + max(FRESH_SECONDS, seldom), outside)
        return read

    # -- what passes through

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self._read.pop(study_id, None)
        self._backend.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._backend.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._backend.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._backend.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._backend.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._backend.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._backend.get_all_studies()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self.refresh()
        return self._backend.create_new_trial(study_id, template_trial)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._backend.get_trial_id_from_study_id_trial_number(study_id, trial_number)
