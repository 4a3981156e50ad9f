"""Who runs which trial: the hand-overs that Optuna has no call for.

`TrialQueue` is what a process of a study asks for; `sql_queue` does it in a database, `remote` asks a server
(`python -m tuner serve`) to do it. Every write to a trial is conditional on the trial still being RUNNING,
which is what makes hand-overs safe: an agent that was given up for dead and wakes up finds its trial gone
instead of overwriting a retry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.locks import StorageLock

LEASE = "lease"  # user attribute: who runs the trial
GRID_POINT = "grid_point"  # user attribute: index of the trial's point in a grid
RETRY_OF = "retry_of"  # user attribute: number of the trial whose agent died
RETRIES = "retries"  # user attribute: how often the configuration has been queued again


@dataclass
class Pending:
    """What of a running trial is not written yet."""

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.params or self.user_attrs or self.system_attrs or self.reports)


class TrialQueue(Protocol):
    """Hands trials over, safely between agents of any process and host."""

    @property
    def lock(self) -> StorageLock:
        """Under which the hand-overs are done; to be held around several that belong together."""

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

    def rename_study(self, study_id: int, old: str, new: str) -> None:
        """Gives a study another name, also where its trials say in which folder they lie."""

    def claim(
        self, study_id: int, *, user_attrs: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
    ) -> FrozenTrial:
        """Takes the oldest queued trial, or makes a new one.

        Args:
            user_attrs: attributes of the claimed trial, the lease among them.
            fixed: parameters that a new trial must take (a grid's point); a queued trial has its own.

        Returns:
            The trial, RUNNING, its lease written in the same transaction.
        """

    def write(self, trial_id: int, pending: Pending) -> bool:
        """Writes a part of a RUNNING trial; False: it is not RUNNING any more (it was given away)."""

    def finish(
        self, trial_id: int, pending: Pending, state: TrialState, values: Sequence[float], lease: Mapping
    ) -> bool:
        """Writes the rest of a RUNNING trial and its end; False: it was given away.

        May be repeated when it is not known whether it succeeded: `lease`, with which the trial was claimed,
        tells one's own end from another's.
        """

    def release(self, trial_id: int) -> bool:
        """Puts a RUNNING trial back into the queue, as if never started; False: it is not ours any more.

        Its parameters are kept, so that whoever takes it next runs the same configuration.
        """

    def give_up(self, trial_id: int, user_attrs: Mapping[str, Any], *, retries: int = 0) -> int | None:
        """Ends a RUNNING trial whose owner is gone as FAIL and queues its configuration afresh, at once.

        Args:
            user_attrs: written to the failed trial (what became of its owner).
            retries: how often a configuration may be queued again; 0 never does.

        Returns:
            The number of the queued trial; None when there is none: it had ended already, had no parameters
            yet, or has been tried often enough.
        """

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        """Queues a trial that will take the parameters `fixed`; returns its number."""

    def renew(self, trial_id: int, lease: Mapping[str, Any]) -> bool:
        """Writes a lease's next beat; False when the trial is no longer RUNNING (it was given away)."""

    def counts(self, study_id: int) -> dict[TrialState, int]:
        """How many trials are in each state; absent states count 0."""

    def running(self, study_id: int) -> list[tuple[int, int, dict[str, Any] | None]]:
        """`(trial id, number, lease)` of every RUNNING trial; one that other code started has no lease."""

    def grid_points_taken(self, study_id: int) -> set[int]:
        """Indices of the grid's points that have a trial, whatever became of it."""

    def close(self) -> None:
        """Ends the connections; the next call makes new ones."""
