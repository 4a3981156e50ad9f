"""The storage of studies as one process of a study uses it: Optuna's storage and the queue of trials in it.

Plain Optuna writes every parameter, report and attribute in its own transaction, about thirty for a trial.
Here the process that runs a trial keeps it in memory and writes it three times: when the trial is claimed,
when its parameters are drawn, and when it ends. Reports are written together.

While the storage cannot be reached, the buffer keeps what could not be written until the next write, and
other agents' trials stay as they were last read.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.base.endings import GivenAway
from tuner.storage.attributes import LEASE, OUTSIDE
from tuner.storage.optuna_private import CachedStorage, GrpcStorage, trial_id
from tuner.storage.outage import UNREACHABLE, Patience, StorageUnreachable, storage_errors
from tuner.storage.pass_through import PassThrough, passing
from tuner.storage.sql_queue import OPERATIONS, SqlQueue
from tuner.storage.trial_rows import Amendment, Pending

# How old the other agents' trials may be that a pruner sees at a report: reading them takes 5 ms, longer than
# many reports. They are always read again after a trial was claimed or ended here.
FRESH_SECONDS = 0.5
# A running trial of 10,000 reports takes 150 ms to read: where reading takes long, it is done less often.
READING_SHARE = 0.05  # of the time is spent on reading at most, …
STALE_SECONDS = 10.0  # … as long as that keeps what is seen younger than this

T = TypeVar("T")
if TYPE_CHECKING:
    Queue = SqlQueue
else:
    Queue = object  # the operations are added below


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


class Records(PassThrough, Queue):
    """Optuna's storage and the queue of trials, for one process. It reads its own writes at once.

    Writes to trials that this process runs are buffered. Everything else passes through, and errors of the
    database become `StorageFailed` or `StorageUnreachable` with one line.

    Args:
        backend: Optuna's storage, which caches finished trials.
        queue: the queue of trials in the same storage.
        patience: how long to wait for the storage when it cannot be reached.
        waits: each call waits for the storage, and is repeated. Else it raises `StorageUnreachable`.
    """

    def __init__(
        self,
        backend: CachedStorage | GrpcStorage,
        queue: SqlQueue,
        patience: Patience,
        *,
        waits: bool = False,
    ) -> None:
        super().__init__(backend)
        self.queue, self.lock = queue, queue.lock
        self.patience = patience
        self._waits = waits
        self._this_thread = threading.local()  # `at_once`: its calls do not wait
        self._open: dict[int, _OpenTrial] = {}
        self._read: dict[int, _Read] = {}  # by study id

    @property
    def optuna_storage(self) -> BaseStorage:
        """Optuna's storage without the buffer, for other programs (optuna-dashboard)."""
        return self._backend  # type: ignore[no-any-return]

    # -- a storage that goes away

    def _ask(self, work: Callable[[], T]) -> T:
        return self.patience.insist(work) if self._waiting() else self.patience.once(work)

    def _waiting(self) -> bool:
        return self._waits and not getattr(self._this_thread, "at_once", False)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Calls of this thread raise `StorageUnreachable` instead of waiting."""
        before = getattr(self._this_thread, "at_once", False)
        self._this_thread.at_once = True
        try:
            yield
        finally:
            self._this_thread.at_once = before

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the storage's lock; nothing waits meanwhile, and errors of the storage are one line."""
        with storage_errors(self.patience.where), self.at_once(), self.lock:
            yield

    def together(self, work: Callable[[], T]) -> T:
        """Does `work` under the storage's lock; again from its start if the storage goes away meanwhile."""

        def attempt() -> T:
            with self.locked():
                return work()

        return self._ask(attempt)

    # -- the trials that this process runs

    def _open_trial(self, trial: FrozenTrial) -> None:
        self._open[trial_id(trial)] = _OpenTrial(trial, lease=dict(LEASE.of(trial) or {}))
        self.refresh()

    def claim(
        self, study_id: int, *, user_attrs: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        """Also opens the trial for buffered writes."""
        trial = self._ask(lambda: self.queue.claim(study_id, user_attrs=user_attrs, fixed=fixed))
        self._open_trial(trial)
        return trial

    def resume(self, trial_id: int, *, user_attrs: Mapping[str, Any]) -> FrozenTrial | None:
        """Also opens the trial for buffered writes."""
        trial = self._ask(lambda: self.queue.resume(trial_id, user_attrs=user_attrs))
        if trial is not None:
            self._open_trial(trial)
        return trial

    def pause(self, trial_id: int, pending: Pending | None = None) -> bool:
        """Writes what is not written yet, and waits while the storage cannot be reached."""
        mine = self._open.pop(trial_id)
        paused = self.patience.insist(lambda: self.queue.pause(trial_id, mine.pending))
        self.refresh()
        return paused

    def release(self, trial_id: int) -> bool:
        """Waits while the storage cannot be reached."""
        self._open.pop(trial_id, None)
        released = self.patience.insist(lambda: self.queue.release(trial_id))
        self.refresh()
        return released

    def give_up(self, trial_id: int, user_attrs: Mapping[str, Any], *, retries: int = 0) -> int | None:
        self._open.pop(trial_id, None)
        again = self._ask(lambda: self.queue.give_up(trial_id, user_attrs, retries=retries))
        self.refresh()
        return again

    def renew(self, trial_id: int, lease: Mapping[str, Any]) -> bool:
        """Also True while the storage cannot be reached: the trial may still be ours."""
        alive = self.patience.attempt(lambda: self.queue.renew(trial_id, lease))
        return alive is UNREACHABLE or alive

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
            raise GivenAway(mine.trial.number)
        mine.pending = Pending()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        if (mine := self._open.get(trial_id)) is None:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        mine.pending.params[param_name] = (param_value_internal, distribution)
        mine.trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        mine.trial.distributions[param_name] = distribution

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        if mine := self._open.get(trial_id):
            mine.pending.reports[step] = mine.trial.intermediate_values[step] = float(intermediate_value)
        else:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        if mine := self._open.get(trial_id):
            mine.pending.user_attrs[key] = mine.trial.user_attrs[key] = value
        else:
            super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if mine := self._open.get(trial_id):
            mine.pending.system_attrs[key] = mine.trial.system_attrs[key] = value
        else:
            super().set_trial_system_attr(trial_id, key, value)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Writes the end of an open trial; waits for the storage while it cannot be reached."""
        mine = self._open.get(trial_id)
        if mine is None:
            self.refresh()
            write = super().set_trial_state_values
            return self.together(lambda: write(trial_id, state, values))
        numbers = [float(value) for value in values or ()]
        done = self.patience.insist(
            lambda: self.queue.finish(trial_id, mine.pending, state, numbers, mine.lease)
        )
        # not earlier: if the write fails (disk full), the trial stays open
        self._open.pop(trial_id, None)
        self.refresh()
        if not done:
            raise GivenAway(mine.trial.number)
        return True

    def get_trial(self, trial_id: int) -> FrozenTrial:
        mine = self._open.get(trial_id)
        return super().get_trial(trial_id) if mine is None else copy.copy(mine.trial)

    # -- all trials

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

    def _trials(self, study_id: int) -> _Read:
        """The study's trials by number; as last read, where they were just read or cannot be read now."""
        read = self._read.get(study_id)
        began = time.monotonic()
        if read is not None and began < read.fresh_until:
            return read
        if read is None or (self._waiting() and not self._open):
            trials = self._ask(lambda: self._backend.get_all_trials(study_id, deepcopy=False))
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

    def refresh(self) -> None:
        """Makes sure that the next call reads trials from the storage."""
        for read in self._read.values():
            read.fresh_until = -math.inf

    def forget(self) -> None:
        """Empties all caches. Called when studies were changed behind Optuna's back."""
        self.refresh()
        self._backend.forget()

    # -- what passes through, with more

    def delete_study(self, study_id: int) -> None:
        self._read.pop(study_id, None)
        super().delete_study(study_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self.refresh()
        return super().create_new_trial(study_id, template_trial)

    def rename_study(self, study_id: int, old: str, new: str) -> None:
        self._ask(lambda: self.queue.rename_study(study_id, old, new))
        self.forget()

    def amend(self, study_id: int, amendments: Sequence[Amendment], study_attrs: Mapping[str, Any]) -> None:
        self._ask(lambda: self.queue.amend(study_id, amendments, study_attrs))
        self.forget()


def _writing(name: str) -> Callable[..., Any]:
    """The operation `name` of the queue, after which trials are read again."""
    passed = passing(name, "queue")

    def operation(self: Records, *arguments: Any, **options: Any) -> Any:
        result = passed(self, *arguments, **options)
        self.refresh()
        return result

    return operation


READING = frozenset({"counts", "running", "grid_points_taken", "close"})
for _name in OPERATIONS - vars(Records).keys():
    setattr(Records, _name, passing(_name, "queue") if _name in READING else _writing(_name))
