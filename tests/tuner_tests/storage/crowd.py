"""Agents without a network to train: what the contract tests run in several processes at once.

    STORAGE=URL python crowd.py ORDER        an order in JSON; prints a line of JSON for each process

The processes are forked after the imports, which makes eight of them as cheap as one.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial, Trial

from tuner.storage.access import open_records
from tuner.storage.allocate import Allocator, Done
from tuner.storage.leases import Observer, Owner
from tuner.storage.study import OpenStudy

URL = os.environ["STORAGE"]
HELD = os.pipe()  # a byte for each process once the first, which is to die, holds a trial


def open_fresh(index: int) -> None:
    """Opens the storage, makes it where it is not there, and uses it."""
    records = open_records(URL, create=True)
    with records.lock:
        optuna.get_all_study_names(records)


def run_studies(index: int) -> None:
    """Works on every study of the order; the first process kills itself in the middle of its first trial."""
    order = json.loads(sys.argv[1])
    records = open_records(URL)
    if order["kill"] and index > 0:
        os.read(HELD[0], 1)
    for name, total, grid in order["studies"]:
        study = optuna.load_study(
            study_name=name, storage=records, sampler=optuna.samplers.RandomSampler(seed=index)
        )
        allocator = Allocator(
            OpenStudy(records, study.study_name),
            owner=Owner.this_process(),
            observer=Observer(),
            total=total,
            grid=[{"x": x} for x in grid] if grid else None,
        )
        while not isinstance(found := allocator.next(), Done):
            if not isinstance(found, FrozenTrial):
                time.sleep(0.02)
                continue
            trial = Trial(study, found._trial_id)
            x = trial.suggest_float("x", 0, 1)
            records.flush(found._trial_id)
            if index == 0 and order["kill"]:
                os.write(HELD[1], bytes(order["processes"]))
                os.kill(os.getpid(), signal.SIGKILL)
            trial.report(x, 1)
            study.tell(trial, x)


WORK: dict[str, Callable[[int], None]] = {"open": open_fresh, "run": run_studies}


def main() -> None:
    order = json.loads(sys.argv[1])
    children = []
    for index in range(order["processes"]):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                WORK[order["work"]](index)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
