"""The same kills of other tuners, each in the set-up that its documentation recommends.

No other tuner starts its processes again: the harness does, as a user would. W&B sweeps need W&B's server, so
they are not here.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import figures
from peers import PEERS, Peer
from reliability.bench import Outcome, doubled
from reliability.clusters import PATIENT
from reliability.processes import MARK, descendants, end, marked, send, start, wait_for, words

SCRIPTS = figures.ROOT / "benchmarks" / "reliability"
OPTUNA = Peer("optuna", "Optuna (database, heartbeat, retries)", ("optuna==5.*",))
RAY = next(peer for peer in PEERS if peer.key == "ray")


def killed(folder: Path, *, peer: Peer, processes: int, kills: int = 20) -> Outcome:
    """So many processes of a peer work on one study; one that is killed is started again."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        python = peer.python()
    except subprocess.CalledProcessError:
        return Outcome([], f"{peer.name} cannot be installed here", skipped=True)
    wanted, dice, began = 4 * kills, random.Random(0), time.monotonic()
    script = [python, SCRIPTS / f"peer_{peer.key}.py"]
    own = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", MARK: str(folder)}
    environment = {**os.environ, **PATIENT, **own}

    def begin() -> subprocess.Popen[bytes]:
        return start([*script, "run", str(wanted)], folder, environment)

    def helpers() -> list[int]:
        """The helpers of trials that still run."""
        return [pid for pid in marked(str(folder)) if b"SIG_IGN" in words(pid)]

    running = [begin() for _ in range(processes)]
    done = started = 0
    try:
        while done < kills and any(process.poll() is None for process in running):
            starting, index = dice.random() < 0.25, dice.randrange(processes)
            process = running[index]
            if starting:
                time.sleep(dice.expovariate(2.0))
            else:
                wait_for(lambda process=process: process.poll() is not None or _works(process), seconds=60)
                time.sleep(dice.uniform(0.0, 1.0))
            workers = [pid for pid in descendants(process.pid) if words(pid).startswith(b"ray::")]
            victim = dice.choice(workers) if workers and dice.random() < 0.75 else process.pid
            send(victim, signal.SIGKILL)
            done, started = done + 1, started + starting
            time.sleep(0.1)
            if process.poll() is not None:
                running[index] = begin()
        wait_for(lambda: all(process.poll() is not None for process in running), seconds=900)
        blocked = sum(process.poll() is None for process in running)
    finally:
        for process in running:
            end(process)
    time.sleep(3)
    orphans = helpers()
    counted = subprocess.run(
        [*script, "count", str(wanted)], cwd=folder, env=environment, capture_output=True, check=True
    )
    for pid in {*orphans, *helpers()}:
        send(pid, signal.SIGKILL)
    trials = json.loads(counted.stdout.splitlines()[-1])
    states = Counter(state for _, state, _, _ in trials)
    finished = [x for _, state, _, x in trials if state in ("COMPLETE", "PRUNED")]
    return Outcome(
        [],
        f"{peer.name}: {done} kills ({started} while starting), {len(finished)} of {wanted} trials finished, "
        f"{states['FAIL']} failed or retried, {states['RUNNING'] + states['WAITING']} left unfinished, "
        f"{doubled(finished)} duplicated, {len(orphans)} orphans, {blocked} blocked, "
        f"{time.monotonic() - began:.0f} s",
    )


def _works(process: subprocess.Popen[bytes]) -> bool:
    """Whether a trial of this process has begun: its helper is there."""
    return any(b"SIG_IGN" in words(pid) for pid in descendants(process.pid))
