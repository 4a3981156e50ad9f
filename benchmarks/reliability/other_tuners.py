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
from typing import Any

from peers import PEERS, Peer
from reliability.bench import MARK, Outcome, descendants, send
from reliability.clusters import PATIENT

HERE = Path(__file__).parent
OPTUNA = Peer("optuna", "Optuna (database, heartbeat, retries)", ("optuna==5.*",))
RAY = next(peer for peer in PEERS if peer.key == "ray")
END_SECONDS = 900.0


def optuna(folder: Path, *, kills: int = 20) -> Outcome:
    """Four processes work on one study; a process that is killed is started again."""
    return _killed(folder, OPTUNA, kills=kills, processes=4)


def ray_tune(folder: Path, *, kills: int = 20) -> Outcome:
    """One driver and its workers; a driver that is killed restores the experiment."""
    return _killed(folder, RAY, kills=kills, processes=1)


def _killed(folder: Path, peer: Peer, *, kills: int, processes: int) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        python = peer.python()
    except subprocess.CalledProcessError:
        return Outcome([], f"{peer.name} cannot be installed here", skipped=True)
    wanted, dice, began = 4 * kills, random.Random(0), time.monotonic()
    command = [str(python), str(HERE / f"peer_{peer.key}.py")]
    environment = {
        **os.environ,
        **PATIENT,
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        MARK: str(folder),
    }

    def start() -> subprocess.Popen[bytes]:
        with (folder / "output.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "run", str(wanted)],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def count() -> list[Any]:
        done = subprocess.run(
            [*command, "count", str(wanted)], cwd=folder, env=environment, capture_output=True, check=True
        )
        found: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    running = [start() for _ in range(processes)]
    done = started = 0
    try:
        while done < kills and any(process.poll() is None for process in running):
            starting = dice.random() < 0.25
            index = dice.randrange(processes)
            victim = running[index].pid
            if starting:
                time.sleep(dice.expovariate(2.0))
            else:
                _wait_for_a_trial(running[index])
                time.sleep(dice.uniform(0.0, 1.0))
            workers = [pid for pid in descendants(victim) if _is_ray_worker(pid)]
            send(dice.choice(workers) if workers and dice.random() < 0.75 else victim, signal.SIGKILL)
            done, started = done + 1, started + starting
            time.sleep(0.1)
            if running[index].poll() is not None:
                running[index] = start()
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline and any(process.poll() is None for process in running):
            time.sleep(0.5)
        blocked = sum(process.poll() is None for process in running)
    finally:
        for process in running:
            for pid in (*descendants(process.pid), process.pid):
                send(pid, signal.SIGKILL)
            process.wait()
    time.sleep(3)
    orphans = _helpers(folder)
    trials = count()
    for pid in {*orphans, *_helpers(folder)}:
        send(pid, signal.SIGKILL)
    states = Counter(state for _, state, _, _ in trials)
    finished = states["COMPLETE"] + states["PRUNED"]
    points = Counter(x for _, state, _, x in trials if state in ("COMPLETE", "PRUNED"))
    twice = sum(count - 1 for count in points.values())
    return Outcome(
        [],
        f"{peer.name}: {done} kills ({started} while starting), {finished} of {wanted} trials finished, "
        f"{states['FAIL']} failed or retried, {states['RUNNING'] + states['WAITING']} left unfinished, "
        f"{twice} duplicated, {len(orphans)} orphans, {blocked} blocked, {time.monotonic() - began:.0f} s",
    )


def _wait_for_a_trial(process: subprocess.Popen[bytes], *, seconds: float = 60) -> None:
    """Waits until a trial of this process has begun: its helper is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if any(_is_helper(Path(f"/proc/{pid}")) for pid in descendants(process.pid)):
            return
        time.sleep(0.1)


def _is_helper(process: Path) -> bool:
    try:
        return b"SIG_IGN" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def _is_ray_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def _helpers(folder: Path) -> list[int]:
    """Helper processes of trials that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            mark = f"{MARK}={folder}".encode() in (path / "environ").read_bytes()
            if mark and _is_helper(path):
                found.append(int(path.name))
        except OSError:
            continue
    return found
