"""An agent: a long-lived process that runs one trial after the other until the study is done.

It is started by an executor (`tuner.executors`) with an `Order` and one end of a pipe. Up the pipe go
dictionaries (what it is doing, for the live view); down come "stop" and, when the supervisor is killed, the
end of the file: both make it finish the epoch, put the trial back and leave. Torch and its like are imported
once an agent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import optuna
from optuna.trial import Trial

from tuner.artifacts import run_store, weights
from tuner.base.errors import InputError, WorkFailed
from tuner.run.agent import arrival
from tuner.run.agent.order import Order
from tuner.run.agent.trial import Ended, TrialRunner
from tuner.search import pruners, samplers, stopping
from tuner.storage import leases, optuna_private
from tuner.storage.access import open_records, patience_with, storage_errors
from tuner.storage.allocate import Allocator, Done, Wait
from tuner.storage.records import Records
from tuner.workloads.registry import workload_of

IDLE_SECONDS = 0.25  # between looks at the storage while all places are taken
AGENTS_STARTED = "agents_started"  # study attribute: how many agents have worked on it, for their seeds


def main(order: Order, connection: Connection) -> None:
    """Runs an agent to its end and says why it left; the entry point of its process."""
    os.setsid()  # Ctrl-C reaches the supervisor alone, which decides what its agents do
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    link = Link(connection)
    signal.signal(signal.SIGTERM, lambda *_: link.stop())
    if order.log is not None:
        _redirect_output(order.log)
    try:
        arrival.settle(order)
        done = Agent(order, link).run()
        reason, fine = done.reason, done.fine
    except arrival.Unsuited as error:
        link.send(event="refused", reason=str(error))
        link.leave()
    except (WorkFailed, InputError, OSError) as error:
        reason, fine = " ".join(str(error).split()), False
    link.send(event="leave", reason=reason, fine=fine)
    link.leave()


class Link:
    """The agent's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stopping = threading.Event()
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    def send(self, **message: Any) -> None:
        """Tells the supervisor, if there still is one."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def stop(self) -> None:
        """Asks the agent to put its trial back and leave."""
        self._stopping.set()

    def stopping(self) -> bool:
        return self._stopping.is_set()

    def wait(self, seconds: float) -> None:
        """Waits, or less when asked to stop."""
        self._stopping.wait(seconds)

    def leave(self) -> NoReturn:
        """Ends this process: what still runs are daemon threads, and waiting for a database that is gone
        would hold up the supervisor."""
        self._connection.close()
        sys.stdout.flush()
        os._exit(0)

    def _listen(self) -> None:
        try:
            while self._connection.recv() != "stop":
                pass
        except (EOFError, OSError):  # the supervisor is gone
            pass
        self._stopping.set()


class Agent:
    """The ask, run, tell loop."""

    def __init__(self, order: Order, link: Link) -> None:
        self._order = order
        self._link = link
        study_file = order.study_file
        self._records, self._study = _connected(order, link.stopping)
        owner = self._owner = leases.Owner.this_process()
        self._heartbeat = leases.Heartbeat(owner, self._records.renew, term=order.term)
        grid = None
        if study_file.method == "grid":
            grid = [study_file.space.params_for(config) for config in study_file.space.grid()]
            grid = grid[: order.total]
        self._allocator = Allocator(
            self._records,
            optuna_private.study_id(self._study),
            owner=owner,
            observer=leases.Observer(term=order.term, since=self._records.patience.back_at),
            total=order.total,
            grid=grid,
        )
        workload = workload_of(study_file)
        workload.wandb = order.tracker.inner
        self._weights = workload.weights
        self._mirror = None
        if order.artifacts is not None:
            self._mirror = run_store.Mirror(
                order.artifacts,
                self._study,
                study_file,
                results=order.results,
                keep=order.keep_weights,
                say=lambda reason: link.send(event="unstored", reason=reason),
            )
        self._runner = TrialRunner(
            study=self._study,
            records=self._records,
            study_file=study_file,
            workload=workload,
            inputs=arrival.inputs_folder(order, workload),
            pruner=pruners.make(order.pruner, order.study_file.name),
            tracker=order.tracker,
            runs=order.results / "runs" / order.study_file.name,
            base=order.base,
            overrides=order.overrides,
            stopping=link.stopping,
            lost=lambda: self._heartbeat.lost,
            on_epoch=lambda number, epoch, value: link.send(
                event="epoch", number=number, epoch=epoch, value=value
            ),
            length=order.length,
        )

    def run(self) -> Done:
        """Runs trials until none is left or it is asked to stop; returns why."""
        self._link.send(event="ready", owner=asdict(self._owner))
        try:
            while not self._link.stopping():
                check_disk(self._order.results, self._order.min_free)
                with storage_errors(self._order.url):
                    found = self._records.patience.insist(self._allocator.next)
                if isinstance(found, Done):
                    return found
                if isinstance(found, Wait):
                    self._link.send(event="idle")
                    self._link.wait(IDLE_SECONDS)
                    continue
                self._run(Trial(self._study, optuna_private.trial_id(found)))
            return Done("asked to stop")
        finally:
            self._order.tracker.close()

    def _run(self, trial: Trial) -> None:
        self._link.send(event="start", number=trial.number)
        self._heartbeat.watch(optuna_private.trial_id(trial))
        try:
            ended = self._runner.run(trial)
        finally:
            self._heartbeat.watch(None)
        self._link.send(
            event="end", number=ended.number, outcome=ended.outcome, value=ended.value, message=ended.message
        )
        with storage_errors(self._order.url):
            self._records.patience.insist(lambda: self._tidy_up(ended))

    def _tidy_up(self, ended: Ended) -> None:
        """What a trial's end may mean for the study and for the disk."""
        if ended.outcome == "failed" or self._order.study_file.metric.target is not None:
            stopping.check(self._study, self._records, self._order.study_file)
        if ended.outcome == "complete":
            weights.tidy(
                self._study,
                self._order.study_file,
                self._order.results,
                keep=self._order.keep_weights,
                patterns=self._weights,
            )
            if self._mirror is not None:
                self._mirror.after(ended.number)


def _connected(order: Order, stopping: Callable[[], bool]) -> tuple[Records, optuna.Study]:
    """The storage and the study in it; an agent that starts while the storage is away waits for it."""

    def connect() -> tuple[Records, optuna.Study]:
        records = open_records(order.url)
        records.patience.stopping = stopping
        with storage_errors(order.url):
            study = optuna.load_study(study_name=order.study_file.name, storage=records)
            study.sampler = samplers.make(
                order.study_file,
                _seed(order, records, optuna_private.study_id(study)),
                known_start=order.known_start,
            )
        return records, study

    patience = patience_with(order.url)
    patience.stopping = stopping
    return patience.insist(connect)


def _seed(order: Order, records: Records, study_id: int) -> int:
    """Differs by agent and restart, as equal seeds draw equal start-up trials."""
    with records.lock:
        serial = int(records.get_study_user_attrs(study_id).get(AGENTS_STARTED, 0))
        records.set_study_user_attr(study_id, AGENTS_STARTED, serial + 1)
    return seed_of(order.study_file.name, order.seed, serial)


def check_disk(folder: Path, wanted: int) -> None:
    """Raises WorkFailed unless `wanted` bytes are free where `folder` lies."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise WorkFailed(
            f"{folder}: {free / 2**20:.0f} MiB are free on its disk, {wanted / 2**20:.0f} wanted before a "
            "trial starts; free some space and run the same command again"
        )


def seed_of(study_name: str, seed: int, serial: int) -> int:
    """The sampler's seed of the `serial`-th agent that works on a study."""
    return zlib.crc32(f"{study_name}/{seed}/{serial}".encode())


def _redirect_output(log: Path) -> None:
    """Sends what objectives print, and traces of crashes, to a file: the terminal is the live view's."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
