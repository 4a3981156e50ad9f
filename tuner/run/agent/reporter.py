"""Handles the reports of a trial: judges them, stores them, and sends them to W&B, once per epoch."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from optuna.trial import Trial

from tuner.artifacts.checkpoints import Checkpoint, Checkpoints
from tuner.base.endings import GivenAway, Paused, Pruned, PutBack, TrialTooLong
from tuner.search.pruners import PatienceRule, Pruner
from tuner.storage import optuna_private
from tuner.storage.study import OpenStudy
from tuner.tracking.tracker import RunTracker, Tracker
from tuner.workloads.workload import Workload

P = ParamSpec("P")
R = TypeVar("R")
NOT_PAUSED = "not paused, as it keeps no checkpoint (docs/checkpoints.md)"
WRITE_SECONDS = 1.0  # reports are written together, at most this often; rungs are judged on every report


@dataclass
class Workplace:
    """What all trials of a study share in this process.

    Attributes:
        inputs: where what the trials read lies on this machine.
        stopping: asked at each report; True returns the trial to the queue.
        lost: asked at each report; True when the trial was given to another agent.
        on_epoch: told `(number, epoch, value or None)` at each report.
        length: epochs of a whole trial, all its runs together.
        pauses: trials are paused, not pruned, where they can be resumed.
        drawn: the parameters that a function of the study file draws for a trial.
        disk_full: says so where the disk is full even without so many bytes; what fails then is not the
            trial.
    """

    study: OpenStudy
    workload: Workload
    pruner: Pruner
    tracker: Tracker
    runs: Path  # the study's folder of run folders, `results/runs/<study>`
    checkpoints: Checkpoints
    base: Mapping[str, Any]  # values that hold where the space does not say otherwise
    overrides: Mapping[str, Any]  # values that hold whatever the space says (`--set`)
    stopping: Callable[[], bool]
    lost: Callable[[], bool]
    on_epoch: Callable[[int, int, float | None], None]
    inputs: Path | None = None
    length: int | None = None
    pauses: bool = False
    drawn: Callable[[Trial], Mapping[str, Any]] = lambda trial: {}
    disk_full: Callable[[int], str | None] = lambda own: None


def _remembered(report: Callable[P, R]) -> Callable[P, R]:
    """A method of `Reporter` after which `cause` knows what it raised."""

    @functools.wraps(report)
    def remembering(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return report(*arguments, **options)
        except Exception as error:
            reporter: Any = arguments[0]
            reporter._raised = error
            raise

    return remembering


class Reporter:
    """The `report` that an objective calls once an epoch.

    Args:
        trial: Optuna's, which an objective of Optuna's is given.
        until: the trial is paused after this many epochs; None: it is not.

    Attributes:
        note: what the user should know of the trial when it is complete; "" where there is nothing.
    """

    def __init__(
        self, runner: Workplace, trial: Trial, run: RunTracker, checkpoint: Checkpoint, until: int | None
    ) -> None:
        self._runner = runner
        self._file = runner.study.file
        self.trial = trial
        self._run = run
        self._checkpoint = checkpoint
        self._until = until
        self._began = self._written = time.monotonic()
        self._asked: float | None = None  # when `check` first saw that the trial should stop
        self._first = True
        self.last: dict[str, float] = {}
        self.note = ""
        self._raised: Exception | None = None

    @_remembered
    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self._report(epoch, metrics)

    @property
    def ended(self) -> bool:
        """Whether a call of it has ended the run."""
        return self._raised is not None

    def cause(self, error: Exception) -> Exception:
        """What ended the run that raised `error`: an objective may have wrapped what `report` raised."""
        return self._raised or error

    def forget(self) -> None:
        """Forgets what was raised, whose traceback holds all that the trial used."""
        self._raised = None

    def due(self, epoch: int) -> bool:
        """Whether the study needs this epoch's metric: after it, a trial may be stopped, is paused, or ends.

        True where the length of a trial is not known.
        """
        runner, step = self._runner, epoch + 1
        if runner.length is None or step >= runner.length or step == self._until:
            return True
        pauses = runner.pauses and self._resumable()
        return not pauses and runner.pruner.judges(self.trial.number, step)

    @_remembered
    def check(self) -> None:
        """Asked between reports; a trial that should stop has the grace time for its next report."""
        self._check_lost()
        self._check_time()
        now = time.monotonic()
        if self._runner.stopping():
            self._asked = self._asked or now
            if now - self._asked >= self._file.grace:
                raise PutBack

    @_remembered
    def between(self, epoch: int) -> None:
        """Told of an epoch that is not judged: one of a later run of the trial (`repeats.py`)."""
        self._runner.on_epoch(self.trial.number, epoch, None)
        self._check_lost()
        self._checkpoint.keep()
        if self._runner.stopping():
            raise PutBack
        self._check_time()

    @_remembered
    def whole(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Told what whole runs of the trial reached together. Patience is about the epochs of one run."""
        rule = self._runner.pruner
        self._report(epoch, metrics, rule.rule if isinstance(rule, PatienceRule) else rule)

    def final(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Told what all runs of the trial reached together."""
        self._tell_earlier(epoch)
        self._tell(epoch, metrics)

    def _report(self, epoch: int, metrics: Mapping[str, float], rule: Pruner | None = None) -> None:
        runner, trial = self._runner, self.trial
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
            runner.study.records.flush(optuna_private.trial_id(trial))
            self._written = time.monotonic()
        if runner.pauses and self._resumable():
            if self._until is not None and epoch + 1 >= self._until:
                raise Paused(epoch + 1)
            return  # whether it goes on is decided between pauses
        if self._until is not None and epoch + 1 >= self._until:
            self.note = NOT_PAUSED
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
                try:
                    float(reported.get(self._file.objectives[0].name, 0))
                except (TypeError, ValueError, OverflowError):
                    continue  # a script wrote into the file
                self._tell(before, reported)

    def _tell(self, epoch: int, metrics: Mapping[str, float]) -> float | None:
        """Tells storage and W&B what an epoch gave; returns the metric."""
        self.last.update(metrics)
        value = metrics.get(self._file.objectives[0].name)
        if value is not None:
            self._runner.study.records.set_trial_intermediate_value(
                optuna_private.trial_id(self.trial), epoch + 1, float(value)
            )
        self._run.log(epoch, metrics)
        return None if value is None else float(value)

    def _check_lost(self) -> None:
        if self._runner.lost():
            raise GivenAway(self.trial.number)

    def _check_time(self) -> None:
        limit = self._file.trial_timeout
        if limit is not None and time.monotonic() - self._began > limit:
            raise TrialTooLong(limit)
