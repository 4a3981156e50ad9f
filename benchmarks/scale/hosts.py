"""Simulated hosts, with names and boots of their own, that join, leave or are killed."""

from __future__ import annotations

import atexit
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial
from reliability.processes import environment
from trivial import LOG, NAME, write_study

from tuner.definition.loading import load_study_file
from tuner.search import samplers
from tuner.storage import leases, study_store
from tuner.storage.access import open_records
from tuner.storage.allocate import Allocator, Done
from tuner.storage.study import OpenStudy

REPORTS = 4
TERM = 5.0  # seconds of a simulated host's lease, so that a killed one is noticed soon


def host(url: str, name: str) -> None:
    """One simulated host: an agent under another host's name, in this process, until the study is done."""
    socket.gethostname = lambda: name  # type: ignore[assignment]
    leases.boot_id = lambda: f"boot of {name}"  # type: ignore[assignment]
    leaving: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(1))
    file = load_study_file(f"{NAME}.yaml")
    records = open_records(url)
    study = optuna.load_study(
        study_name=NAME, storage=records, sampler=samplers.make(file, int(name.split("-")[1]))
    )
    heartbeat = leases.Heartbeat(leases.Owner.this_process(), records.renew, term=TERM)
    allocator = Allocator(
        OpenStudy(records, NAME),
        owner=leases.Owner.this_process(),
        observer=leases.Observer(term=TERM, since=records.patience.back_at),
        total=int(file.run_cap or 0),
    )
    while not leaving and not isinstance(found := allocator.next(), Done):
        if not isinstance(found, FrozenTrial):
            time.sleep(0.1)
            continue
        heartbeat.watch(found._trial_id)
        trial, began = Trial(study, found._trial_id), time.time()
        config = file.space.suggest(trial)
        records.flush(found._trial_id)
        for epoch in range(REPORTS):
            time.sleep(0.05)
            trial.report(0.5, epoch + 1)
        if leaving:
            records.release(found._trial_id)
            break
        with Path(LOG).open("a") as log:
            log.write(f"{os.getpid()} {began!r} {config['x0']!r}\n")
        study.tell(trial, sum(config.values()))
        heartbeat.watch(None)


def run_hosts(url: str, folder: Path, *, hosts: int, trials: int) -> Mapping[str, int]:
    """Keeps so many hosts at work; every few trials one leaves or is killed, and another joins.

    By trials, not by time: on a slow machine hosts would be gone before they have finished anything.

    Returns:
        how many joined, left and were killed.
    """
    file = load_study_file(write_study(folder, trials, reports=REPORTS))
    records = open_records(url, create=True)
    study = study_store.open_study(records, file, study_store.Origin({}))
    dice, count = random.Random(0), Counter[str]()
    running: list[subprocess.Popen[bytes]] = []
    leaves_at = itertools.count(1, max(1, trials // (3 * hosts)))  # finished trials at which one leaves
    next_leaves = next(leaves_at)
    while True:
        complete = sum(
            n for state, n in records.queue.counts(study._study_id).items() if state.name == "COMPLETE"
        )
        if complete >= trials:
            break
        if any(process.poll() not in (None, 0, -signal.SIGKILL) for process in running):
            raise SystemExit("a host failed; its trace is above")
        running = [process for process in running if process.poll() is None]
        last = complete > trials * 0.9  # they are not disturbed, so that it comes to an end
        if not last and running and complete >= next_leaves:
            next_leaves = next(leaves_at)
            process, properly = running.pop(dice.randrange(len(running))), dice.random() < 0.5
            process.send_signal(signal.SIGTERM if properly else signal.SIGKILL)
            count["left" if properly else "killed"] += 1
        while len(running) < (min(4, hosts) if last else hosts):
            command = [sys.executable, "-m", "scale.hosts", f"host-{count['joined']}"]
            running.append(subprocess.Popen(command, cwd=folder, env=environment(TUNER_STORAGE=url)))
            atexit.register(running[-1].kill)  # after Ctrl-C none stays behind
            count["joined"] += 1
        time.sleep(0.5)
    for process in running:
        process.wait()
    return count


if __name__ == "__main__":  # the password stays out of the arguments, which everybody may read
    host(os.environ["TUNER_STORAGE"], sys.argv[1])
