"""Chooses the trial that an agent runs next.

A study ends with exactly N finished trials. Each queued trial and each grid point runs once. The trials of
dead agents are queued again first. All of this happens under the storage's lock, so that no two agents start
the last trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from tuner.base.words import counted
from tuner.storage import optuna_private
from tuner.storage.attributes import (
    AGENT_LOST,
    CHANGES,
    CHOSEN,
    ERROR,
    GRID_POINT,
    LEASE,
    PAUSED,
    RETRIES,
    STOPPED,
    UNTIL,
)
from tuner.storage.leases import Observer, Owner
from tuner.storage.study import GOOD_ENDS, OpenStudy, finished

MAX_RETRIES = 2  # of a configuration whose agent died; after a third death it is not queued again


@dataclass(frozen=True)
class Done:
    """No trial is left to run. `closed`: numbers of paused trials that ended with the study."""

    reason: str
    fine: bool = True
    closed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Choice:
    """What runs next where trials are paused and resumed.

    Attributes:
        trial_id: of the paused trial to resume; None: a new trial.
        params: of a new trial.
        until: epochs after which it is paused; None: it runs to its end.
        why: in words.
    """

    trial_id: int | None
    params: Mapping[str, Any] | None
    until: int | None
    why: str


class Chooser(Protocol):
    """Chooses between paused trials and a new one."""

    def choose(self, trials: Sequence[FrozenTrial], *, unstarted: int | None) -> Choice | str:
        """What to run next, or why nothing is worth running any more.

        `unstarted`: how many more trials the study wants; None: any number.
        """

    def until(self, trial: FrozenTrial) -> int | None:
        """The epochs after which a trial is paused that was queued; None: it runs to its end."""


@dataclass(frozen=True)
class Wait:
    """Enough trials are running. One of them is queued again if its agent dies."""


def state_of(trial: FrozenTrial) -> str:
    """The state of a trial, in a word: complete, pruned, failed, interrupted, running, paused or waiting.

    A trial whose agent died is interrupted and runs again: it did not fail. When a configuration's agents
    have died too often, it has failed.
    """
    if trial.state is TrialState.FAIL:
        return "interrupted" if AGENT_LOST.of(trial) and RETRIES.of(trial) < MAX_RETRIES else "failed"
    if trial.state is TrialState.WAITING:
        return "paused" if PAUSED in trial.user_attrs else "waiting"
    return trial.state.name.lower()


def is_paused(trial: FrozenTrial) -> bool:
    """Whether a trial waits to be resumed."""
    return state_of(trial) == "paused"


@dataclass(frozen=True)
class Allocator:
    """Hands out trials of one study to one agent.

    Attributes:
        total: how many finished trials (complete and pruned) are wanted; None: no end.
        grid: the parameters of each point of a grid, in order; None: the study is not a grid. A point counts
            as tried however its trial ends.
        changes: how often the study had been changed when this agent was sent its settings.
        chooser: of a study whose trials are paused and resumed.
    """

    study: OpenStudy
    _: KW_ONLY
    owner: Owner
    observer: Observer
    total: int | None
    grid: Sequence[dict[str, Any]] | None = None
    changes: int | None = None
    chooser: Chooser | None = None

    def next(self) -> FrozenTrial | Wait | Done:
        """Claims the next trial, which is RUNNING then; or says why there is none."""
        return self.study.records.together(self._next)

    def _next(self) -> FrozenTrial | Wait | Done:
        self.reap()
        attrs = self.study.attrs
        if self.changes is not None and self.changes != CHANGES.of(attrs):
            reason = "the study was changed in another terminal: start again with the new file"
            return Done(reason, fine=False)
        stopped = STOPPED.of(attrs)
        if stopped:
            fine = str(stopped).startswith(GOOD_ENDS)
            return Done(str(stopped), fine, self._closed(str(stopped)) if fine else ())
        asked = self.study.stop_in(attrs)
        if asked:
            return Done(str(asked))
        counts = self.study.counts()
        if self.grid is not None:
            return self._next_point(self.grid, counts)
        done = finished(counts, attrs)
        if self.chooser is not None:
            return self._chosen(self.chooser, counts, done)
        if self.total is not None and done >= self.total:
            return Done(f"{counted(done, 'trial')} finished")
        if self.total is not None and done + counts[TrialState.RUNNING] >= self.total:
            return Wait()
        return self._claim()

    def reap(self) -> list[int]:
        """Ends the trials of dead owners and queues them again; returns their numbers."""
        ended = []
        for trial_id, number, lease in self.study.records.running(self.study.id):
            reason = None if lease is None else self.observer.gone(trial_id, lease)
            if reason is not None:
                attrs: dict[str, Any] = {ERROR: f"interrupted: {reason}", AGENT_LOST: True}
                self.study.records.give_up(trial_id, attrs, retries=MAX_RETRIES)
                ended.append(number)
        return ended

    def _next_point(
        self, grid: Sequence[dict[str, Any]], counts: dict[TrialState, int]
    ) -> FrozenTrial | Wait | Done:
        if counts[TrialState.WAITING]:
            return self._claim()
        taken = self.study.points_taken()
        free = next((index for index in range(len(grid)) if index not in taken), None)
        if free is not None:
            return self.study.records.claim(
                self.study.id, user_attrs={**self._lease(), GRID_POINT: free}, fixed=grid[free]
            )
        return Wait() if counts[TrialState.RUNNING] else Done(f"all {len(grid)} points tried")

    def _chosen(
        self, chooser: Chooser, counts: Mapping[TrialState, int], done: int
    ) -> FrozenTrial | Wait | Done:
        """The next trial of a study whose trials are paused and resumed. A queued one comes first."""
        self.study.records.refresh()
        trials = self.study.records.get_all_trials(self.study.id, deepcopy=False)
        paused = sum(is_paused(trial) for trial in trials)
        started = done + counts[TrialState.RUNNING] + paused
        unstarted = None if self.total is None else max(0, self.total - started)
        if unstarted != 0 and counts[TrialState.WAITING] > paused:
            trial = self._claim()
            until = chooser.until(trial)
            if until is not None:
                self.study.records.set_trial_user_attr(optuna_private.trial_id(trial), UNTIL, until)
            return trial
        found = chooser.choose(trials, unstarted=unstarted)
        if isinstance(found, Choice):
            attrs = {**self._lease(), CHOSEN: found.why}
            if found.until is not None:
                attrs[UNTIL] = found.until
            if found.trial_id is None:
                return self.study.records.claim(self.study.id, user_attrs=attrs, fixed=found.params)
            return self.study.records.resume(found.trial_id, user_attrs=attrs) or Wait()
        if counts[TrialState.RUNNING]:
            return Wait()  # what it reaches may be worth more
        closed = self._closed(found)
        return Done(f"{counted(done + len(closed), 'trial')} finished", closed=closed)

    def _closed(self, because: str) -> tuple[int, ...]:
        """Ends the paused trials with the study; their numbers."""
        if self.chooser is None:
            return ()
        return tuple(self.study.records.close_paused(self.study.id, because))

    def _claim(self) -> FrozenTrial:
        return self.study.records.claim(self.study.id, user_attrs=self._lease())

    def _lease(self) -> dict[str, Any]:
        return {LEASE: self.owner.lease()}
