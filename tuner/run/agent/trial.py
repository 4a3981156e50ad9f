"""Runs one trial from configuration to told result: where an exception becomes a trial state."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from optuna.trial import Trial, TrialState

from tuner.artifacts.checkpoints import Checkpoint
from tuner.base import endings
from tuner.base.endings import GivenAway, OwnFault, Paused, Pruned, PutBack, in_short, ran_out_of_memory
from tuner.base.errors import InputError, WorkFailed
from tuner.base.files import CannotWrite, read_object, size_of
from tuner.base.run_folder import RESULT, if_readable
from tuner.base.words import printable
from tuner.run.agent import ended_runs, repeats
from tuner.run.agent.reporter import Reporter, Workplace
from tuner.search import levels, memory
from tuner.storage import optuna_private
from tuner.storage.attributes import (
    CHECKPOINT,
    ERROR,
    LEASE,
    METRICS,
    OUT_OF_MEMORY,
    PAUSED,
    PRUNED_BECAUSE,
    RUN_FOLDER,
    STINTS,
    TRACEBACK,
    UNTIL,
    VIOLATION,
)
from tuner.storage.leases import agent_of
from tuner.storage.outage import is_storage_error
from tuner.tracking import gone_names
from tuner.tracking.tracker import RunTracker
from tuner.workloads.masking import Mask

TRACEBACK_LIMIT = 8_000  # characters kept of a failure's trace, from its end
MAX_DRAWS = 50  # configurations drawn for one trial before `requires` is said to rule out everything

Outcome = Literal["complete", "pruned", "failed", "paused", "returned to the queue", "given away"]


@dataclass(frozen=True)
class Ended:
    """How a trial ended. `value` is the first objective, where there is one; `message` says why, in words."""

    number: int
    outcome: Outcome
    value: float | None = None
    message: str = ""


@dataclass
class Running:
    """A trial between its begin and its end."""

    trial: Trial
    config: dict[str, Any]
    run: RunTracker
    report: Reporter
    started: float
    checkpoint: Checkpoint


@dataclass
class TrialRunner(Workplace):
    """Runs trials of one study in this process."""

    def run(self, trial: Trial) -> Ended:
        """Draws the configuration, runs the workload, tells the result.

        Raises:
            InputError: `requires` leaves no configuration.
            StorageFailed: the storage cannot be written; the trial stays RUNNING and is reaped later.
            CannotWrite: a file cannot be written; the trial is in the queue again, or has ended.
        """
        try:
            running = self.begin(trial)
            try:
                if self.study.file.stop.levels:
                    trials = self.study.get_trials(deepcopy=False)
                    if reason := levels.cannot_win(trials, trial.params, self.study.file):
                        raise Pruned(reason)
                found = repeats.run(
                    self.workload,
                    running.config,
                    running.report,
                    run_folder=self.folder(trial.number),
                    inputs=self.inputs,
                    checkpoint=running.checkpoint.files,
                    length=self.length,
                )
                metrics = dict(found)
                values = repeats.values_of(metrics, self.study.file)
            except Exception as error:
                return self.stop(running, error)
            return self.complete(running, metrics, values)
        except GivenAway as error:
            return Ended(trial.number, "given away", message=str(error))

    # -- the pieces of `run`, for a caller that runs the configuration itself (`tuner.run.asking`)

    def folder(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.runs / str(number)

    def begin(self, trial: Trial) -> Running:
        """Draws the configuration and starts the trial's W&B run.

        Raises:
            InputError: `requires` leaves no configuration.
        """
        # a sampler may read the study in a way of its own
        config = self.study.records.patience.insist(lambda: self._configuration(trial))
        attributes = self.study.records.get_trial(optuna_private.trial_id(trial)).user_attrs
        try:
            checkpoint = self.checkpoints.open(attributes[CHECKPOINT])
        except CannotWrite:
            self.study.records.release(optuna_private.trial_id(trial))
            raise
        run = self.tracker.start(trial.number, config, f"{self.study.study_name}-{trial.number}")
        report = Reporter(self, trial, run, checkpoint, attributes.get(UNTIL))
        return Running(trial, config, run, report, time.monotonic(), checkpoint)

    def complete(self, running: Running, metrics: Mapping[str, float], values: list[float]) -> Ended:
        """Ends a trial that ran to its end. `values`: `repeats.values_of(metrics, …)`."""
        return self._end(running, TrialState.COMPLETE, metrics, values, None)

    def stop(self, running: Running, error: Exception) -> Ended:
        """Ends a trial that raised `error`: paused, pruned, returned to the queue or failed.

        Raises:
            GivenAway: it is another agent's by now.
            CannotWrite, WorkFailed: the disk failed or is full; the trial is returned to the queue.
            Exception: the storage's own error; the trial stays RUNNING and is reaped later.
        """
        report, run, trial = running.report, running.run, running.trial
        cause = self._own_fault(running, report.cause(error))
        if isinstance(cause, Paused):
            return self._pause(running, cause)
        if isinstance(cause, PutBack | CannotWrite):
            self._put_back(running)
            if isinstance(cause, CannotWrite):
                raise cause from None
            return Ended(trial.number, "returned to the queue")
        if isinstance(cause, GivenAway):
            run.finish("failed", {"given_away": True})
            raise cause from None
        if is_storage_error(cause):
            raise cause from None
        state = TrialState.PRUNED if isinstance(cause, Pruned) else TrialState.FAIL
        failed = state is TrialState.FAIL and not isinstance(cause, OwnFault)
        if failed and (full := self.disk_full(0)):
            self._put_back(running)
            raise WorkFailed(
                f"trial {trial.number} was returned to the queue ({in_short(cause)}): {full}"
            ) from None
        ended = self._end(running, state, report.last, None, cause)
        # The traceback's frames hold the network and its optimiser, in a ring through `report` that the
        # garbage collector comes to late: some 80 MB a pruned trial.
        report.forget()
        cause.__traceback__ = None
        return ended

    def _own_fault(self, running: Running, cause: Exception) -> Exception:
        """`cause`, or that the trial deleted or made folders where the tuner writes, or filled the disk."""
        if isinstance(cause, CannotWrite) and cause.deleted and self.runs.parents[1].is_dir():
            return OwnFault(f"{cause.path.parent} was deleted while the trial ran")
        if isinstance(cause, CannotWrite) and cause.taken:
            shutil.rmtree(cause.path, ignore_errors=True)  # the tuner's own name: it writes the failure there
            return OwnFault(f"a folder was made at {cause.path} while the trial ran")
        ends_well = isinstance(cause, Paused | PutBack | GivenAway | Pruned)
        if ends_well or is_storage_error(cause) or not self.disk_full(0):
            return cause
        folders = [*self.runs.glob(f"{running.trial.number}.partial-*"), running.checkpoint.folder]
        own = sum(size_of(folder) for folder in folders if folder.exists())
        if self.disk_full(own):
            return cause
        for folder in folders:  # what it holds is all that keeps the others from going on
            shutil.rmtree(folder, ignore_errors=True)
        return OwnFault(f"it filled the disk: {own / 2**20:,.0f} MiB in its run folder, which were removed")

    def _put_back(self, running: Running) -> None:
        running.run.finish("failed", {"put_back": True})
        running.checkpoint.upload()  # before another agent may take the trial
        self.study.records.release(optuna_private.trial_id(running.trial))

    def _configuration(self, trial: Trial) -> dict[str, Any]:
        """Draws until `requires` holds; what was ruled out is never written, so it never counts."""
        space, id_ = self.study.file.space, optuna_private.trial_id(trial)
        for _ in range(MAX_DRAWS):
            config = {**self.base, **space.suggest(trial), **self.drawn(trial), **self.overrides}
            violated = space.violated(config)
            if not violated:
                if CHECKPOINT not in trial.user_attrs:
                    trial.set_user_attr(CHECKPOINT, self.checkpoints.new_name(trial.number))
                self.study.records.flush(id_)
                return config
            self.study.records.discard_params(id_)
            trial = Trial(self.study, id_)
            optuna_private.drop_fixed_params(trial)
        self.study.records.release(id_)
        raise InputError(
            f"{self.study.file.name}: {MAX_DRAWS} draws in a row broke requires '{violated[0]}'; "
            "almost no configuration is left"
        )

    def _end(
        self,
        running: Running,
        state: TrialState,
        metrics: Mapping[str, Any],
        values: list[float] | None,
        cause: BaseException | None,
    ) -> Ended:
        """Writes attributes, constraints and state in one transaction, then `trial.json` beside the run, the
        end of the W&B run, and removes the checkpoint."""
        trial = running.trial
        mask = Mask(os.environ)
        if cause is None:
            result = if_readable(read_object, self.folder(trial.number) / RESULT) or {}
            message = "; ".join(filter(None, (*result.get("notes", ()), running.report.note)))
        else:
            message = in_short(cause)
        message = printable(mask.text(message))
        said, mark, printed = message.partition(endings.LAST_LINES)
        message = said + gone_names.instead(said) + mark + printed
        if state is TrialState.FAIL and cause is not None:
            if ran_out_of_memory(cause):
                message = self._out_of_memory(trial, message)
            trial.set_user_attr(ERROR, message)
            trace = printable(mask.text("".join(traceback.format_exception(cause))))
            trial.set_user_attr(TRACEBACK, trace[-TRACEBACK_LIMIT:])
        if state is TrialState.PRUNED:
            trial.set_user_attr(PRUNED_BECAUSE, message)
        self._describe(trial, metrics, failed=state is TrialState.FAIL)
        if self.pauses:
            self._note_stint(running)
        told = self.study.tell(trial, values, state=state)
        outcome = ended_runs.OUTCOMES[state]
        value = told.values[0] if told.values else None
        ended_runs.note(self.folder(told.number), told, self.study.file)
        running.checkpoint.remove()
        seconds = time.monotonic() - running.started
        last = {**running.report.last, **metrics, "state": outcome, "trial": trial.number, "seconds": seconds}
        running.run.finish(outcome, last)
        return Ended(trial.number, outcome, value, message)

    def _out_of_memory(self, trial: Trial, message: str) -> str:
        """Marks a trial that ran out of memory, from which the search learns; says what it avoids now.

        Of the error the first sentence is enough: PyTorch's has five.
        """
        trial.set_user_attr(OUT_OF_MEMORY, True)
        file = self.study.file
        known = {} if file.method == "grid" or file.space.open else file.space.distributions()
        limit = memory.learnt(self.study.get_trials(deepcopy=False), known)
        larger = limit.larger() if limit and known else []
        remedy = "make the trials smaller, or run fewer agents at a time"
        if larger:
            remedy = f"the search avoids larger {', '.join(sorted(larger))} now"
        said, mark, printed = message.partition(endings.LAST_LINES)
        return f"{endings.OUT_OF_MEMORY} ({remedy}): {said.partition('. ')[0]}{mark}{printed}"

    def _pause(self, running: Running, paused: Paused) -> Ended:
        """Lets a trial wait with its checkpoint; its W&B run reads as pruned unless it is resumed."""
        trial, last = running.trial, running.report.last
        trial.set_user_attr(PAUSED, paused.epochs)
        self._note_stint(running)
        self._describe(trial, last)
        seconds = time.monotonic() - running.started
        running.run.finish("pruned", {**last, "trial": trial.number, "seconds": seconds})
        running.checkpoint.upload()  # before another agent may take the trial
        if not self.study.records.pause(optuna_private.trial_id(trial)):
            raise GivenAway(trial.number)
        return Ended(trial.number, "paused", last.get(self.study.file.metric.name), str(paused))

    def _note_stint(self, running: Running) -> None:
        """Adds by which agent, from when and until when the trial was run this time."""
        end = datetime.now()
        begin = end - timedelta(seconds=time.monotonic() - running.started)
        attrs = running.trial.user_attrs
        stint = [agent_of(LEASE.of(attrs)), begin.isoformat(), end.isoformat()]
        running.trial.set_user_attr(STINTS, [*STINTS.of(attrs), stint])

    def close_paused(self, numbers: Collection[int]) -> None:
        """What is left to do for paused trials that the storage has ended as pruned."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.number not in numbers:
                continue
            ended_runs.note(self.folder(trial.number), trial, self.study.file)
            if CHECKPOINT in trial.user_attrs:
                self.checkpoints.forget(trial.user_attrs[CHECKPOINT])

    def _describe(self, trial: Trial, metrics: Mapping[str, Any], *, failed: bool = False) -> None:
        """Writes to the storage what a trial reached and took."""
        folder = self.folder(trial.number)
        violations = {} if failed else self.study.file.violations(metrics)
        for name, violation in violations.items():
            trial.set_constraint(name, violation)
        missed = {} if failed else trial.constraints  # also those that an objective of Optuna's has set
        if missed:
            trial.set_user_attr(VIOLATION, sum(max(0.0, v) for v in missed.values()))
        trial.set_user_attr(METRICS, _plain(metrics))
        if folder.exists():
            trial.set_user_attr(RUN_FOLDER, f"runs/{self.study.study_name}/{trial.number}")
        result = if_readable(read_object, folder / RESULT) or {}
        for name in ("seconds", "seed", repeats.REPEATS, *self.workload.measures):
            if name in result:
                trial.set_user_attr(name, result[name])


def _plain(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among `metrics`."""
    found = {}
    for name, value in metrics.items():
        with contextlib.suppress(OverflowError):  # a whole number of hundreds of digits
            if isinstance(value, int | float) and math.isfinite(value):
                found[name] = float(value)
    return found
