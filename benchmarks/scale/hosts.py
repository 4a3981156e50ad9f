"""Simulated hosts, with names and boots of their own, that join, leave or are killed."""

from __future__ import annotations

import atexit
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from scale.study import (
    REPORTS,
    TERM,
    accounts,
    environment,
    write_study,
)


def host(url: str, folder: Path, name: str, seed: int) -> None:
    """One simulated host: an agent under another host's name, in this process, until the study is done."""
    import socket

    import optuna
    from optuna.trial import FrozenTrial, Trial

    from tuner.definition.loading import load_study_file
    from tuner.search import samplers
    from tuner.storage import leases
    from tuner.storage.access import open_records
    from tuner.storage.allocate import Allocator, Done
    from tuner.storage.study import OpenStudy

    socket.gethostname = lambda: name  # type: ignore[assignment]
    leases.boot_id = lambda: f"boot of {name}"  # type: ignore[assignment]
    leaving: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(1))
    file = load_study_file(folder / "scale.yaml")
    records = open_records(url)
    study = optuna.load_study(study_name="scale", storage=records, sampler=samplers.make(file, seed))
    heartbeat = leases.Heartbeat(leases.Owner.this_process(), records.renew, term=TERM)
    allocator = Allocator(
        OpenStudy(records, study.study_name),
        owner=leases.Owner.this_process(),
        observer=leases.Observer(term=TERM, since=records.patience.back_at),
        total=int(file.run_cap or 0),
    )
    while not leaving and not isinstance(found := allocator.next(), Done):
        if not isinstance(found, FrozenTrial):
            time.sleep(0.1)
            continue
        heartbeat.watch(found._trial_id)
        trial = Trial(study, found._trial_id)
        config = file.space.suggest(trial)
        records.flush(found._trial_id)
        for epoch in range(REPORTS):
            time.sleep(0.05)
            trial.report(0.5, epoch + 1)
        if leaving:
            records.release(found._trial_id)
            break
        with Path(os.environ["FINISHED"]).open("a") as log:
            log.write(f"{config['x0']!r}\n")
        study.tell(trial, sum(config.values()))
        heartbeat.watch(None)


@dataclass(frozen=True)
class Hosts:
    """What hosts that come and go left behind."""

    hosts: int
    trials: int
    left: int
    killed: int
    joined: int
    lost: int
    doubled: int

    def row(self) -> str:
        return (
            f"| {self.hosts} | {self.trials:,} | {self.joined} | {self.left} | {self.killed} "
            f"| {self.lost} | {self.doubled} |"
        )


def run_hosts(url: str, folder: Path, *, hosts: int, trials: int) -> Hosts:
    """Keeps so many hosts at work; every few trials one leaves or is killed, and another joins.

    By trials, not by time: on a slow machine hosts would be gone before they have finished anything.
    """
    from tuner.definition.loading import load_study_file
    from tuner.storage import study_store
    from tuner.storage.access import open_records

    file = load_study_file(write_study(folder, trials))
    records = open_records(url, create=True)
    study = study_store.open_study(records, file, study_store.Origin({}))
    finished = folder / "finished.txt"
    numbers = random.Random(0)
    running: list[subprocess.Popen[bytes]] = []
    joined = left = killed = 0
    leaves_at = 1  # finished trials at which the next host leaves

    def join() -> None:
        nonlocal joined
        command = [sys.executable, "-m", "scale.hosts", url_name, str(folder), f"host-{joined}", str(joined)]
        running.append(subprocess.Popen(command, env=environment(url, finished)))
        atexit.register(running[-1].kill)  # after Ctrl-C none stays behind
        joined += 1

    url_name = "TUNER_STORAGE"  # the password stays out of the arguments, which everybody may read
    for _ in range(hosts):
        join()
    while True:
        time.sleep(0.5)
        counts = {state.name: count for state, count in records.queue.counts(study._study_id).items()}
        if counts["COMPLETE"] >= trials:
            break
        if any(process.poll() not in (None, 0, -signal.SIGKILL) for process in running):
            raise SystemExit("a host failed; its trace is above")
        running = [process for process in running if process.poll() is None]
        if counts["COMPLETE"] > trials * 0.9:  # the last ones are not disturbed, so that it comes to an end
            while len(running) < min(4, hosts):
                join()
            continue
        if running and counts["COMPLETE"] >= leaves_at:
            leaves_at += max(1, trials // (3 * hosts))
            process = running.pop(numbers.randrange(len(running)))
            if numbers.random() < 0.5:
                process.send_signal(signal.SIGTERM)
                left += 1
            else:
                process.kill()
                process.wait()
                killed += 1
        while len(running) < hosts:
            join()
    for process in running:
        process.wait()
    lost, doubled, _ = accounts(url, trials, finished)
    return Hosts(hosts, trials, left, killed, joined, lost, doubled)


if __name__ == "__main__":
    host(os.environ[sys.argv[1]], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
