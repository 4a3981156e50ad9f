"""Chooses the trial that an agent runs next.

A study ends with exactly N finished trials. Each queued trial and each grid point runs once. The trials of
dead agents are queued again first. All of this happens under the storage's lock, so that no two agents start
the last trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner.storage.leases import Observer, Owner
from tuner.storage.queue import GRID_POINT, LEASE, UNCOUNTED
from tuner.storage.records import Records

MAX_RETRIES = 2  # of a configuration whose agent died; after a third death it is not queued again
STOPPED = "stopped"  # study attribute: why no further trial may start
CHANGES = "changes"  # study attribute: how often the study was changed since it was begun
ASKED = "stop_asked"  # study attribute: a `Stop` that somebody asked for; the next start clears it
TARGET = "target reached"  # such a reason starts with this; it still holds when the study is resumed
NO_GAIN = "no gain"  # as TARGET; a changed study file clears it
LEAD = "clear lead"  # as NO_GAIN


@dataclass(frozen=True)
class Done:
    """No trial is left to run."""

    reason: str
    fine: bool = True


@dataclass(frozen=True)
class Stop:
    """What `gcode-tuner stop` and `pause` ask whoever runs a study to do: to leave it.

    Attributes:
        verb: stop or pause. now: running trials are ended at once, not after their epoch.
    """

    verb: str
    now: bool = False

    def __str__(self) -> str:
        return f"{'paused' if self.verb == 'pause' else 'stopped'} by gcode-tuner {self.verb}"


def stop_asked(attrs: Mapping[str, Any]) -> Stop | None:
    """What was asked for, from a study's attributes."""
    asked = attrs.get(ASKED)
    return Stop(str(asked.get("verb")), bool(asked.get("now"))) if isinstance(asked, Mapping) else None


@dataclass(frozen=True)
class Wait:
    """Enough trials are running. One of them is queued again if its agent dies."""


def finished(counts: Mapping[TrialState, int], attrs: Mapping[str, Any]) -> int:
    """How many trials count towards the number that the study wants: complete and pruned ones.

    Those that do not fit since the study was changed do not count, nor those that were only imported.

    Args:
        attrs: the study's attributes.
    """
    return counts[TrialState.COMPLETE] + counts[TrialState.PRUNED] - int(attrs.get(UNCOUNTED) or 0)


class Allocator:
    """Hands out trials of one study to one agent.

    Args:
        total: how many finished trials (complete and pruned) are wanted; None: no end.
        grid: the parameters of each point of a grid, in order; None: the study is not a grid. A point counts
            as tried however its trial ends.
        changes: how often the study had been changed when this agent was sent its settings.
    """

    def __init__(
        self,
        records: Records,
        study_id: int,
        *,
        owner: Owner,
        observer: Observer,
        total: int | None,
        grid: Sequence[dict[str, Any]] | None = None,
        changes: int | None = None,
    ) -> None:
        self._records = records
        self._study_id = study_id
        self._owner = owner
        self._observer = observer
        self._total = total
        self._grid = grid
        self._changes = changes

    def next(self) -> FrozenTrial | Wait | Done:
        """Claims the next trial, which is RUNNING then; or says why there is none."""
        with self._records.lock:
            self.reap()
            attrs = self._records.get_study_user_attrs(self._study_id)
            if self._changes is not None and self._changes != attrs.get(CHANGES, 0):
                reason = "the study was changed in another terminal: start again with the new file"
                return Done(reason, fine=False)
            stopped = attrs.get(STOPPED)
            if stopped:
                return Done(str(stopped), fine=str(stopped).startswith((TARGET, NO_GAIN, LEAD)))
            asked = stop_asked(attrs)
            if asked:
                return Done(str(asked))
            counts = self._records.queue.counts(self._study_id)
            if self._grid is not None:
                return self._next_point(self._grid, counts)
            done = finished(counts, attrs)
            if self._total is not None and done >= self._total:
                return Done(f"{done} trials finished")
            if self._total is not None and done + counts[TrialState.RUNNING] >= self._total:
                return Wait()
            return self._claim()

    def reap(self) -> list[str]:
        """Ends the trials of dead owners and queues them again; returns a line about each."""
        lines = []
        for trial_id, number, lease in self._records.queue.running(self._study_id):
            reason = None if lease is None else self._observer.gone(trial_id, lease)
            if reason is None:
                continue
            attrs = {"error": f"agent lost: {reason}", "agent_lost": True}
            again = self._records.give_up(trial_id, attrs, retries=MAX_RETRIES)
            lines.append(f"trial {number}: {reason}" + ("" if again is None else f"; queued as {again}"))
        return lines

    def _next_point(
        self, grid: Sequence[dict[str, Any]], counts: dict[TrialState, int]
    ) -> FrozenTrial | Wait | Done:
        if counts[TrialState.WAITING]:
            return self._claim()
        taken = self._records.queue.grid_points_taken(self._study_id)
        free = next((index for index in range(len(grid)) if index not in taken), None)
        if free is not None:
            return self._records.claim(
                self._study_id, user_attrs={**self._lease(), GRID_POINT: free}, fixed=grid[free]
            )
        return Wait() if counts[TrialState.RUNNING] else Done(f"all {len(grid)} points tried")

    def _claim(self) -> FrozenTrial:
        return self._records.claim(self._study_id, user_attrs=self._lease())

    def _lease(self) -> dict[str, Any]:
        return {LEASE: self._owner.lease(0)}
