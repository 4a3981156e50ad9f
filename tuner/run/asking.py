"""Trials that the user's own loop runs: `tuner.ask` hands one out, `tuner.tell` takes its result.

A trial that was asked for is one like an agent's: it is leased to this process, its lease is renewed by a
thread, it has a run folder, and the study's pruner judges its reports. Any number of processes may ask; the
study gets its number of trials. When a process is killed, its trial is queued again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from optuna.trial import FrozenTrial, Trial

from tuner.base.endings import GivenAway, Pruned, PutBack
from tuner.base.errors import InputError, WorkFailed
from tuner.base.files import make_folder, write_json
from tuner.base.run_folder import CONFIG, RunFolder
from tuner.definition.study_file import StudyFile
from tuner.run import launch
from tuner.run import plan as plans
from tuner.run.agent import repeats
from tuner.run.agent.station import IDLE_SECONDS, Station
from tuner.run.agent.trial import Ended, Running, TrialRunner
from tuner.run.request import Request
from tuner.storage import optuna_private
from tuner.storage.allocate import Done, Wait
from tuner.storage.leases import Heartbeat
from tuner.workloads.function import FunctionReport
from tuner.workloads.registry import workload_if_known
from tuner.workloads.workload import Workload

OUTSIDE = "tuner.workloads.workload:Workload"  # of a study whose trials are only ever asked for

Told = Literal["complete", "pruned", "failed"]


class AskedTrial:
    """A trial that the caller runs. As a context manager, it ends as failed if the block raises, as pruned if
    `report` ended it, and otherwise as complete with its last report.

    Attributes:
        number: its number in the study.
        config: the configuration to run, a nested dictionary.
        outcome: None while it runs; then complete, pruned, failed, returned to the queue or given away.
    """

    def __init__(self, asking: Asking, runner: TrialRunner, running: Running, heart: Heartbeat) -> None:
        self.number, self.config = running.trial.number, running.config
        self.outcome: str | None = None
        self.heart = heart
        self._asking, self._runner, self._running = asking, runner, running
        self._files = RunFolder(runner.folder(self.number), checkpoint=running.checkpoint.files).__enter__()
        self._report = FunctionReport(
            running.report, self._files, runner.study.file.objectives, running.checkpoint.files
        )
        write_json(self._files.path / CONFIG, self.config)

    @property
    def folder(self) -> Path:
        """The folder for files of this trial. They are kept if it ends as complete or pruned."""
        return self._files.final if self.outcome in ("complete", "pruned") else self._files.path

    @property
    def checkpoint(self) -> Path:
        """The checkpoint folder: the trial that continues an interrupted one gets the same folder."""
        return self._running.checkpoint.files

    def report(self, epoch: int, metrics: Any) -> None:
        """Reports the metrics of an epoch, counted from 0: a dictionary, or the study's metric as a number.

        Raises:
            Pruned: the trial is over and recorded as pruned; continue with the next. The message says why.
            InputError: the trial has ended already, or these are not metrics.
        """
        self._check_running()
        try:
            self._report(epoch, metrics)
        except Pruned as error:
            self._stop(error)
            raise
        except GivenAway as error:
            self._stop(error)
            raise Pruned(f"{error}: this process sent no sign of life for too long") from None

    def tell(
        self, result: Any = None, *, state: Told = "complete", error: str | Exception | None = None
    ) -> str:
        """Ends the trial and returns its outcome; a result that is not finite makes it `failed`.

        Args:
            result: its metrics, or the study's metric as a number. Metrics of the last report are kept.
            state: complete, pruned or failed; with `error` it is failed.
            error: why it failed.

        Raises:
            InputError: the trial has ended already, or the study's metric is missing (it still runs then).
        """
        if self.outcome == "given away" or (self.outcome == "pruned" and state != "complete"):
            return self.outcome  # `report` has ended it
        self._check_running()
        if state not in ("complete", "pruned", "failed"):
            raise InputError(f"trial {self.number}: expected state complete, pruned or failed, got {state!r}")
        if state == "complete" and error is None:
            return self._complete(result)
        if state == "pruned":
            return self._stop(Pruned(str(error or "told as pruned")))
        return self._stop(error if isinstance(error, Exception) else WorkFailed(error or "told as failed"))

    def put_back(self) -> None:
        """Returns the trial to the queue, as if it had not been asked for."""
        if self.outcome is None:
            self._stop(PutBack())

    def _complete(self, result: Any) -> str:
        file, runner = self._runner.study.file, self._runner
        metrics = self._report.with_result(result)
        missing = [m.name for m in file.objectives if m.declared and m.name not in metrics]
        if missing:
            known = ", ".join(sorted(metrics)) or "nothing"
            raise InputError(f"trial {self.number}: metric '{missing[0]}' is missing; told: {known}")
        try:
            values = repeats.values_of(metrics, file)
        except InputError as error:  # it is not finite
            return self._stop(error)
        self._keep_files("complete", metrics)
        return self._asking.end(self, lambda: runner.complete(self._running, metrics, values))

    def _stop(self, cause: Exception) -> str:
        """Ends the trial as `cause` says: pruned, returned to the queue, given away or failed."""
        if isinstance(cause, Pruned):
            self._keep_files("pruned", self._running.report.last)
        return self._asking.end(self, lambda: self._runner.stop(self._running, cause))

    def _keep_files(self, state: Told, metrics: Mapping[str, float]) -> None:
        """Moves the run folder to its place; once, also where the trial is told again (the disk was full)."""
        if self._files.path.exists():
            self._files.finish({"state": state, "metrics": dict(metrics)})

    def ended(self, outcome: str) -> None:
        """Called when the storage has the trial's end."""
        self.outcome = outcome
        self.heart.watch(None)
        self._files.__exit__(None, None, None)

    def _check_running(self) -> None:
        if self.outcome is not None:
            raise InputError(f"trial {self.number} has ended already: {self.outcome}")

    def __enter__(self) -> AskedTrial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Pruned):
            if self.outcome is None:
                self.tell(state="pruned", error=error)
            return True
        if self.outcome is not None:
            return False
        if error is None:
            self.tell()
        elif isinstance(error, Exception):
            self.tell(state="failed", error=error)
        else:  # Ctrl-C
            self.put_back()
        return False

    def __repr__(self) -> str:
        return f"Trial({self.number}, {self.config}, {self.outcome or 'running'})"


# trials that this process runs, by process, storage and study: it may ask for one study in several ways
_running: dict[tuple[int, str, str], set[AskedTrial]] = {}


class Asking:
    """One study that this process asks for trials. May be used from several threads.

    Raises:
        InputError: something about the request is wrong, or the study was started with other settings.
        StorageFailed: the storage cannot be used.
    """

    def __init__(self, request: Request, say: Callable[[str], None]) -> None:
        self._say = say
        self._plan = plans.make(replace(request, study_file=outside(request.study_file)), say)
        make_folder(request.results)
        study = launch.register(self._plan, say)
        self._order = launch.order_of(self._plan, study, say)
        study.records.close()
        self._station = Station(self._order, unstored=say)
        key = (os.getpid(), request.url, self._plan.file.name)
        self._running = _running.setdefault(key, set())
        self._idle: list[Heartbeat] = []
        self._lock = threading.RLock()
        self._process = os.getpid()
        atexit.register(self._leave)

    def ask(self) -> AskedTrial | None:
        """The next trial; waits while other processes run all that are left, as one may come back.

        Returns:
            None when the study is done, or when all that are left were asked for here and are to be told.

        Raises:
            WorkFailed: the study has stopped because its trials fail, or the disk is full.
        """
        while True:
            with self._lock:
                found = self._station.next()
                if isinstance(found, Done):
                    if not found.fine:
                        raise WorkFailed(f"{self._plan.file.name}: {found.reason}")
                    launch.conclude(self._station.study, self._plan, self._say)
                    return None
                if not isinstance(found, Wait):
                    return self._begin(found)
                if self._running:
                    return None
            time.sleep(IDLE_SECONDS)

    def _begin(self, found: FrozenTrial) -> AskedTrial:
        id_ = optuna_private.trial_id(found)
        heart = self._idle.pop() if self._idle else self._station.heartbeat()
        runner = replace(
            self._station.runner, lost=lambda: heart.lost, pauses=False, disk_full=lambda own: None
        )
        heart.watch(id_)
        try:
            asked = AskedTrial(self, runner, runner.begin(Trial(self._station.study, id_)), heart)
        except BaseException:
            heart.watch(None)
            raise
        self._running.add(asked)
        return asked

    def end(self, asked: AskedTrial, end: Callable[[], Ended]) -> str:
        """Ends a trial in the storage by `end`, with what follows from it for the study; its outcome."""
        with self._lock:
            try:
                ended = end()
            except GivenAway as error:
                ended = Ended(asked.number, "given away", message=str(error))
            asked.ended(ended.outcome)
            self._running.discard(asked)
            self._idle.append(asked.heart)
            self._station.tidy_up(ended)
            return ended.outcome

    def _leave(self) -> None:
        """At the end of this process: its trials go back to the queue."""
        if os.getpid() != self._process:
            return
        for asked in list(self._running):
            with contextlib.suppress(Exception):  # the next process to ask finds that this one has died
                asked.put_back()
        self._order.tracker.close()


def outside(file: StudyFile) -> StudyFile:
    """`file` with nothing to run: whoever asks for a trial runs it.

    A workload that is installed stays: it knows what the trials read and what they need.

    Raises:
        InputError: a trial is to consist of several runs, which are the caller's affair here.
    """
    if file.repeats.count > 1:
        raise InputError(
            f"{file.name}: 'seeds' and 'folds' are for trials that the tuner runs; in a loop of your own, "
            "run each configuration as often as you like and tell the mean"
        )
    if file.program or file.command or file.objective or type(workload_if_known(file)) is Workload:
        return replace(file, program=None, command=None, objective=None, function=None, workload=OUTSIDE)
    return file
