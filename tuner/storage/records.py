"""The study's records as one process of the study sees them: Optuna's storage, buffered, with hand-overs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.buffered import BufferedStorage
from tuner.storage.queue import FIXED, GRID_POINT, LEASE, METRIC_NAMES, RETRIES, RETRY_OF

__all__ = ["FIXED", "GRID_POINT", "LEASE", "METRIC_NAMES", "RETRIES", "RETRY_OF", "Records"]


class Records(BufferedStorage):
    """An Optuna storage for one process of a study, with the hand-overs of `TrialQueue`."""

    @property
    def optuna_storage(self) -> BaseStorage:
        """Optuna's own storage beneath, for programs that expect one (optuna-dashboard)."""
        return self._backend

    def close(self) -> None:
        """Ends the connections to the storage."""
        self.queue.close()

    def make_study(
        self,
        name: str,
        *,
        objectives: Sequence[tuple[str, str]],
        user_attrs: Mapping[str, Any],
        first: Mapping[str, Any] | None,
    ) -> None:
        """Makes a study whole; see `TrialQueue.make_study`."""
        self.queue.make_study(name, objectives=objectives, user_attrs=user_attrs, first=first)

    def rename_study(self, study_id: int, old: str, new: str) -> None:
        """Gives a study another name; see `TrialQueue.rename_study`."""
        self.queue.rename_study(study_id, old, new)
        self.forget()

    def claim(
        self, study_id: int, *, user_attrs: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        """Takes the oldest queued trial, or makes a new one, and opens it for buffered writes.

        See `TrialQueue.claim`.
        """
        trial = self.queue.claim(study_id, user_attrs=user_attrs, fixed=fixed)
        self._open_trial(trial)
        return trial

    def release(self, trial_id: int) -> bool:
        """Puts a RUNNING trial back into the queue, waiting for the storage; see `TrialQueue.release`."""
        self._open.pop(trial_id, None)
        released = self.patience.insist(lambda: self.queue.release(trial_id))
        self.refresh()
        return released

    def give_up(self, trial_id: int, user_attrs: Mapping[str, Any], *, retries: int = 0) -> int | None:
        """Ends the trial of an owner that is gone and queues it afresh; see `TrialQueue.give_up`."""
        self._open.pop(trial_id, None)
        again = self.queue.give_up(trial_id, user_attrs, retries=retries)
        self.refresh()
        return again

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        """Queues a trial that will take the parameters `fixed`; returns its number."""
        number = self.queue.enqueue(study_id, fixed, user_attrs)
        self.refresh()
        return number

    def renew(self, trial_id: int, lease: Mapping[str, Any]) -> bool:
        """Writes a lease's next beat; False when the trial was given away.

        Raises:
            StorageUnreachable: the storage does not answer now.
        """
        alive = self.patience.attempt(lambda: self.queue.renew(trial_id, lease))
        return alive if isinstance(alive, bool) else True

    def counts(self, study_id: int) -> dict[TrialState, int]:
        """How many trials are in each state; absent states count 0."""
        return self.queue.counts(study_id)

    def running(self, study_id: int) -> list[tuple[int, int, dict[str, Any] | None]]:
        """`(trial id, number, lease)` of every RUNNING trial; one that other code started has no lease."""
        return self.queue.running(study_id)

    def grid_points_taken(self, study_id: int) -> set[int]:
        """Indices of the grid's points that have a trial, whatever became of it."""
        return self.queue.grid_points_taken(study_id)
