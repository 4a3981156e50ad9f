"""An agent: a long-lived process that runs one trial after the other until the study is done.

It is started by an executor (`tuner.run.executors`) with an `Order` and one end of a pipe. Up the pipe go
dictionaries (what it is doing, for the live view); down come "stop" and, when the supervisor is killed, the
end of the file: both make it finish the epoch, return the trial to the queue and leave. Torch and its like
are imported once an agent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from optuna.trial import FrozenTrial, Trial

from tuner.base import left_over
from tuner.base.errors import InputError, WorkFailed
from tuner.base.files import make_folder
from tuner.run.agent import arrival
from tuner.run.agent.order import Order
from tuner.run.agent.station import IDLE_SECONDS, Station
from tuner.storage import optuna_private, outage
from tuner.storage.allocate import Done, Wait
from tuner.storage.attributes import CHOSEN, TRACEBACK
from tuner.workloads.child_process import Log
from tuner.workloads.script_trial import OUTPUT


def main(order: Order, connection: Connection) -> None:
    """Runs an agent to its end and says why it left; the entry point of its process."""
    os.setsid()  # Ctrl-C reaches the supervisor alone, which decides what its agents do
    signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the scripts of trials would inherit
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    link = Link(connection)
    signal.signal(signal.SIGTERM, lambda *_: link.stop())
    try:
        if order.log is not None:
            make_folder(order.log.parent, private=True)
            link.log = Log(order.log)  # the terminal is the live view's
        arrival.settle(order)
        done = Agent(order, link).run()
        reason, fine = done.reason, done.fine
    except arrival.Unsuited as error:
        link.send(event="refused", reason=str(error))
        link.leave()
    except outage.StorageUnreachable as error:
        _leave_to_another(error)
    except (WorkFailed, InputError, OSError) as error:
        reason, fine = " ".join(str(error).split()), False
    except Exception as error:
        if not outage.is_unreachable(error):
            raise
        _leave_to_another(error)
    link.send(event="leave", reason=reason, fine=fine)
    link.leave()


def _leave_to_another(error: Exception) -> NoReturn:
    """The storage went away where nothing waits for it: the supervisor starts another agent, which does."""
    sys.stdout.write(f"the storage does not answer ({outage.cause_of(error)})\n")
    sys.stdout.flush()
    os._exit(1)


class Link:
    """The agent's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.log: Log | None = None
        self._stopping = threading.Event()
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    def send(self, **message: Any) -> None:
        """Tells the supervisor, if there still is one."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def stop(self) -> None:
        """Tells the agent to return its trial to the queue and leave."""
        self._stopping.set()

    def stopping(self) -> bool:
        return self._stopping.is_set()

    def wait(self, seconds: float) -> None:
        """Waits, or less when asked to stop."""
        self._stopping.wait(seconds)

    def leave(self) -> NoReturn:
        """Ends this process: what still runs are daemon threads, and waiting for a database that is gone
        would hold up the supervisor. The pipe ends with it: a thread still reads from it."""
        sys.stdout.flush()
        if self.log is not None:
            self.log.close()
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
        self._order, self._link = order, link
        self._station = Station(
            order,
            stopping=link.stopping,
            lost=lambda: self._heartbeat.lost,
            on_epoch=lambda number, epoch, value: link.send(
                event="epoch", number=number, epoch=epoch, value=value
            ),
            unstored=lambda reason: link.send(event="unstored", reason=reason),
            mark=os.environ.get(left_over.VARIABLE, ""),
        )
        self._heartbeat = self._station.heartbeat()

    def run(self) -> Done:
        """Runs trials until none is left or it is asked to stop; returns why."""
        self._link.send(event="ready", owner=asdict(self._station.owner))
        count, ended = self._order.work.count, 0
        try:
            while not self._link.stopping():
                if count is not None and ended >= count:
                    return Done(f"{count} trial{'s'[: count != 1]} run, as asked")
                found = self._station.next()
                if isinstance(found, Done):
                    return found
                if isinstance(found, Wait):
                    self._link.send(event="idle")
                    self._link.wait(IDLE_SECONDS)
                    continue
                ended += self._run(found)
            return Done("asked to stop")
        finally:
            self._order.tracker.close()

    def _run(self, found: FrozenTrial) -> bool:
        """Runs a trial; whether it ended here, well or not."""
        study, id_ = self._station.study, optuna_private.trial_id(found)
        # a sampler may read the study in a way of its own
        trial = study.records.patience.insist(lambda: Trial(study, id_))
        done = max(found.intermediate_values, default=0)
        self._link.send(event="start", number=trial.number, why=CHOSEN.of(trial), done=done)
        self._heartbeat.watch(optuna_private.trial_id(trial))
        try:
            ended = self._station.runner.run(trial)
        finally:
            self._heartbeat.watch(None)
        self._link.send(
            event="end",
            number=ended.number,
            outcome=ended.outcome,
            value=ended.value,
            message=ended.message,
            log=self._log_of(trial) if ended.outcome == "failed" else None,
        )
        self._station.tidy_up(ended)
        return ended.outcome in ("complete", "pruned", "failed")

    def _log_of(self, trial: Trial) -> str | None:
        """The file with the output of a failed trial: a script's own, or the agent's log."""
        output = self._station.runner.folder(trial.number) / OUTPUT
        if output.exists():
            return str(output)
        if self._link.log is None:
            return None
        sys.stdout.write(TRACEBACK.of(trial))  # into the log
        return str(self._order.log)
