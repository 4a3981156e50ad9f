"""The queue of trials: which trial waits, which agent runs it, and what happens when that agent dies.

Optuna has no calls for this. `sql_queue` implements `TrialQueue` in a database, `remote` through a server
(`tuner serve`). A trial is written only while it is RUNNING. So an agent that was taken for dead
and wakes up cannot overwrite the trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.storage.locks import StorageLock


@dataclass
class Pending:
    """The part of a running trial that is not written yet."""

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.params or self.user_attrs or self.system_attrs or self.reports)


@dataclass(frozen=True)
class Amendment:
    """A change of a trial that does not run.

    Attributes:
        params: all its parameters, as Optuna stores them; None: as they are.
        user_attrs, system_attrs: attributes to set; None as a value removes the attribute.
        withdrawn: the trial waits and is not to be run: it ends as FAIL.
    """

    trial_id: int
    params: Mapping[str, tuple[float, BaseDistribution]] | None = None
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    withdrawn: bool = False


@dataclass(frozen=True)
class Told:
    """A trial that was run elsewhere and is complete. `params`: as Optuna stores them."""

    values: Sequence[float]
    params: Mapping[str, tuple[float, BaseDistribution]]
    user_attrs: Mapping[str, Any]
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    reports: Mapping[int, float] = field(default_factory=dict)


class TrialQueue(Protocol):
    """Gives trials to agents in any process and on any host; each method is one transaction."""

    @property
    def lock(self) -> StorageLock:
        """Held by every method that writes. Hold it yourself around several calls that belong together."""

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

    def rename_study(self, study_id: int, old: str, new: str) -> None:
        """Gives a study another name, also in the run folders of its trials."""

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

    def pause(self, trial_id: int, pending: Pending) -> bool:
        """Lets a RUNNING trial wait until it is resumed; False: it is no longer ours.

        Unlike a released trial it keeps its parameters and reports. `pending` has the attribute PAUSED.
        """

    def resume(self, trial_id: int, *, user_attrs: Mapping[str, Any]) -> FrozenTrial | None:
        """Takes a paused trial, which is RUNNING then; None: it is no longer paused.

        Args:
            user_attrs: attributes of the trial, with its lease.
        """

    def close_paused(self, study_id: int, because: str) -> list[int]:
        """Ends all paused trials of a study as PRUNED, with their latest value; returns their numbers."""

    def write(self, trial_id: int, pending: Pending) -> bool:
        """Writes a part of a RUNNING trial; False: it is no longer RUNNING (another agent has it)."""

    def finish(
        self, trial_id: int, pending: Pending, state: TrialState, values: Sequence[float], lease: Mapping
    ) -> bool:
        """Writes the rest of a RUNNING trial and its end; False: it was given to another agent.

        Call it again if it is not known whether it succeeded. `lease`, with which the trial was claimed,
        shows whether this process has ended the trial, or another.
        """

    def release(self, trial_id: int) -> bool:
        """Returns a RUNNING trial to the queue, as if it had never started; False: it is no longer ours.

        It keeps its parameters, so that the next agent runs the same configuration.
        """

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

    def enqueue(self, study_id: int, fixed: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> int:
        """Queues a trial with the parameters `fixed`; returns its number."""

    def amend(self, study_id: int, amendments: Sequence[Amendment], study_attrs: Mapping[str, Any]) -> None:
        """Changes trials and attributes of a study in one transaction, and counts UNCOUNTED anew.

        A trial that is RUNNING stays as it is.
        """

    def add_told(self, study_id: int, trials: Sequence[Told]) -> list[int]:
        """Adds complete trials in one transaction; returns their numbers. Counts UNCOUNTED anew."""

    def renew(self, trial_id: int, lease: Mapping[str, Any]) -> bool:
        """Writes the next beat of a lease; False: the trial is no longer RUNNING (another agent has it)."""

    def counts(self, study_id: int) -> dict[TrialState, int]:
        """How many trials are in each state; every state is a key."""

    def running(self, study_id: int) -> list[tuple[int, int, dict[str, Any] | None]]:
        """`(trial id, number, lease)` of each RUNNING trial; a trial that other code started has no lease."""

    def grid_points_taken(self, study_id: int) -> set[int]:
        """Indices of the grid points that have a trial, in any state."""

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""


OPERATIONS = frozenset(name for name in vars(TrialQueue) if name[0] != "_") - {"lock"}
