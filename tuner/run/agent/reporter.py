"""Handles the reports of a trial: judges them, stores them, and sends them to W&B, once per epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import optuna
from optuna.trial import Trial

from tuner.artifacts.checkpoints import Checkpoint
from tuner.base.errors import Paused, Pruned, TrialTooLong
from tuner.definition.study_file import StudyFile
from tuner.search.pruners import Patience, Pruner
from tuner.storage import optuna_private
from tuner.storage.records import GivenAway, Records
from tuner.tracking.tracker import RunTracker
from tuner.workloads.workload import Workload

WRITE_SECONDS = 1.0  # reports are written together, at most this often; rungs are judged on every report


class PutBack(Exception):
    """Raised by `report` when the agent is asked to stop: the trial returns to the queue."""


class Place(Protocol):
    """Where a trial runs (`tuner.run.agent.trial.TrialRunner`, which describes these)."""

    @property
    def study(self) -> optuna.Study: ...

    @property
    def records(self) -> Records: ...

    @property
    def study_file(self) -> StudyFile: ...

    @property
    def workload(self) -> Workload: ...

    @property
    def pruner(self) -> Pruner: ...

    @property
    def stopping(self) -> Callable[[], bool]: ...

    @property
    def lost(self) -> Callable[[], bool]: ...

    @property
    def on_epoch(self) -> Callable[[int, int, float | None], None]: ...

    @property
    def pauses(self) -> bool: ...

    @property
    def length(self) -> int | None: ...


class Reporter:
    """The `report` that an objective calls once an epoch; `raised` remembers why it ended the run.

    Args:
        until: the trial is paused after this many epochs; None: it is not.
    """

    def __init__(
        self, runner: Place, trial: Trial, run: RunTracker, checkpoint: Checkpoint, until: int | None
    ) -> None:
        self._runner = runner
        self._trial = trial
        self._run = run
        self._checkpoint = checkpoint
        self._until = until
        self._began = self._written = time.monotonic()
        self._asked: float | None = None  # when `check` first saw that the trial should stop
        self._first = True
        self.last: dict[str, float] = {}
        self.raised: BaseException | None = None

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        try:
            self._report(epoch, metrics)
        except BaseException as error:
            self.raised = error
            raise

    def due(self, epoch: int) -> bool:
        """Whether the study needs this epoch's metric: after it, a trial may be stopped, is paused, or ends.

        True where the length of a trial is not known.
        """
        runner, step = self._runner, epoch + 1
        if runner.length is None or step >= runner.length or step == self._until:
            return True
        pauses = runner.pauses and self._resumable()
        return not pauses and runner.pruner.judges(self._trial.number, step)

    def check(self) -> None:
        """Asked between reports; a trial that should stop has the grace time for its next report."""
        try:
            self._check_lost()
            self._check_time()
            now = time.monotonic()
            if self._runner.stopping():
                self._asked = self._asked or now
                if now - self._asked >= self._runner.study_file.grace:
                    raise PutBack
        except BaseException as error:
            self.raised = error
            raise

    def between(self, epoch: int) -> None:
        """Told of an epoch that is not judged: one of a later run of the trial (`workloads.repeats`)."""
        try:
            self._runner.on_epoch(self._trial.number, epoch, None)
            self._check_lost()
            self._checkpoint.keep()
            if self._runner.stopping():
                raise PutBack
            self._check_time()
        except BaseException as error:
            self.raised = error
            raise

    def whole(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Told what whole runs of the trial reached together. Patience is about the epochs of one run."""
        rule = self._runner.pruner
        try:
            self._report(epoch, metrics, rule.rule if isinstance(rule, Patience) else rule)
        except BaseException as error:
            self.raised = error
            raise

    def final(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Told what all runs of the trial reached together."""
        self._tell_earlier(epoch)
        self._tell(epoch, metrics)

    def _report(self, epoch: int, metrics: Mapping[str, float], rule: Pruner | None = None) -> None:
        runner, trial = self._runner, self._trial
        rule = rule or runner.pruner
        self._tell_earlier(epoch)
        value = self._tell(epoch, metrics)
        runner.on_epoch(trial.number, epoch, value)
        self._check_lost()
        self._checkpoint.report(epoch, metrics)
        if runner.length is not None and epoch + 1 >= runner.length:
            return  # it has cost everything already: let it finish
        if runner.stopping():
            raise PutBack
        self._check_time()
        if time.monotonic() - self._written > WRITE_SECONDS:
            runner.records.flush(optuna_private.trial_id(trial))
            self._written = time.monotonic()
        if runner.pauses and self._resumable():
            if self._until is not None and epoch + 1 >= self._until:
                raise Paused(epoch + 1)
            return  # whether it goes on is decided between pauses
        if value is not None and rule.should_prune(runner.study, trial):
            raise Pruned(rule.explain(runner.study, trial))

    def _resumable(self) -> bool:
        """Whether a trial that ends now can go on later: it has kept its state, or will."""
        return self._runner.workload.saves_when_paused or self._checkpoint.goes_on()

    def _tell_earlier(self, epoch: int) -> None:
        """Before the first report: tells again what an interrupted run of the trial had reported."""
        if self._first:
            self._first = False
            for before, reported in self._checkpoint.reports_before(epoch).items():
                self._tell(before, reported)

    def _tell(self, epoch: int, metrics: Mapping[str, float]) -> float | None:
        """Tells storage and W&B what an epoch gave; returns the metric."""
        self.last.update(metrics)
        value = metrics.get(self._runner.study_file.objectives[0].name)
        if value is not None:
            self._runner.records.set_trial_intermediate_value(
                optuna_private.trial_id(self._trial), epoch + 1, float(value)
            )
        self._run.log(epoch, metrics)
        return None if value is None else float(value)

    def _check_lost(self) -> None:
        if self._runner.lost():
            raise GivenAway(f"trial {self._trial.number} was given to another agent")

    def _check_time(self) -> None:
        limit = self._runner.study_file.trial_timeout
        if limit is not None and time.monotonic() - self._began > limit:
            raise TrialTooLong(limit)
