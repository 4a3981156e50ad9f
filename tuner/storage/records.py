"""The storage of studies as one process of a study uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from tuner.storage.buffered import BufferedStorage
from tuner.storage.outage import UNREACHABLE
from tuner.storage.queue import Amendment, Told


class Records(BufferedStorage):
    """Optuna's storage with buffered writes, and the queue of trials in it (`queue`).

    A method that `TrialQueue` has too does what is described there and updates the buffer. Call the other
    methods of `TrialQueue` on `queue`.
    """

    @property
    def optuna_storage(self) -> BaseStorage:
        """Optuna's storage without the buffer, for other programs (optuna-dashboard)."""
        return self._backend

    def rename_study(self, study_id: int, old: str, new: str) -> None:
        self.queue.rename_study(study_id, old, new)
        self.forget()

    def claim(
        self, study_id: int, *, user_attrs: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        """Also opens the trial for buffered writes."""
        trial = self.queue.claim(study_id, user_attrs=user_attrs, fixed=fixed)
        self._open_trial(trial)
        return trial

    def pause(self, trial_id: int) -> bool:
        """Writes what is not written yet, and waits while the storage cannot be reached."""
        mine = self._open.pop(trial_id)
        paused = self.patience.insist(lambda: self.queue.pause(trial_id, mine.pending))
        self.refresh()
        return paused

    def resume(self, trial_id: int, *, user_attrs: Mapping[str, Any]) -> FrozenTrial | None:
        """Also opens the trial for buffered writes."""
        trial = self.queue.resume(trial_id, user_attrs=user_attrs)
        if trial is not None:
            self._open_trial(trial)
        return trial

    def close_paused(self, study_id: int, because: str) -> list[int]:
        closed = self.queue.close_paused(study_id, because)
        self.refresh()
        return closed

    def release(self, trial_id: int) -> bool:
        """Waits while the storage cannot be reached."""
        self._open.pop(trial_id, None)
        released = self.patience.insist(lambda: self.queue.release(trial_id))
        self.refresh()
        return released

    def give_up(self, trial_id: int, user_attrs: Mapping[str, Any], *, retries: int = 0) -> int | None:
        self._open.pop(trial_id, None)
        again = self.queue.give_up(trial_id, user_attrs, retries=retries)
        self.refresh()
        return again

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        number = self.queue.enqueue(study_id, fixed, user_attrs)
        self.refresh()
        return number

    def amend(self, study_id: int, amendments: Sequence[Amendment], study_attrs: Mapping[str, Any]) -> None:
        self.queue.amend(study_id, amendments, study_attrs)
        self.forget()

    def add_told(self, study_id: int, trials: Sequence[Told]) -> list[int]:
        numbers = self.queue.add_told(study_id, trials)
        self.refresh()
        return numbers

    def renew(self, trial_id: int, lease: Mapping[str, Any]) -> bool:
        """Also True while the storage cannot be reached: the trial may still be ours."""
        alive = self.patience.attempt(lambda: self.queue.renew(trial_id, lease))
        return alive is UNREACHABLE or alive
