"""Scenarios of killed, stopped and started processes."""

from __future__ import annotations

import importlib.util
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import temporary_postgres
from reliability.bench import Bench, Outcome, descendants, end, parent, runs, send, wait_for
from reliability.clusters import Server, cluster

KILLS_A_STUDY = 25
MOST_BLOCKED = 3  # studies; then something is wrong that further ones would only repeat


def kill_many(
    folder: Path,
    *,
    kills: int = 200,
    agents: int = 4,
    trials: int | None = None,
    database: str = "",
    keeps: bool = False,
    script: bool = False,
    executor: str = "local",
    address: str = "",
    server: Server | None = None,
) -> Outcome:
    """Random kills over as many studies as they take, at every moment from the first millisecond.

    A quarter comes while a supervisor starts. Of the others, one in six ends the supervisor, with or without
    its agents; one in six stops an agent or the supervisor (SIGSTOP) for a while instead. Every trial has a
    helper process that ignores SIGTERM and has left its session.

    Args:
        database: the URL of a database; "": SQLite files.
        keeps: trials have checkpoints; they are paused and resumed.
        script: trials run a script, which is killed as often as its agent.
        executor, address: a cluster; one kill in four is of a Dask worker or Ray actor.
        server: of the storage; one kill in eight is of it.
    """
    dice = random.Random(0)
    total, problems = Tally(), list[str]()
    began = time.monotonic()
    while total.kills < kills and total.blocked < MOST_BLOCKED:
        wanted = min(KILLS_A_STUDY, kills - total.kills)
        name = f"reliability{total.studies}"
        bench = Bench(
            folder / name,
            name=name,
            agents=agents,
            trials=trials or 4 * wanted,
            pause=0.05,
            helper=True,
            database=database,
            keeps=keeps,
            script=script,
            executor=executor,
            address=address,
            mark=str(folder) if address else "",
        )
        problems += [f"{name}: {problem}" for problem in _killed(bench, wanted, dice, total, server)]
    return Outcome(problems, f"{total}, {agents} agents, {time.monotonic() - began:.0f} s")


@dataclass
class Tally:
    """What was done to studies, and what came of it."""

    studies: int = 0
    kills: int = 0
    starting: int = 0
    parents: int = 0
    others: int = 0  # workers of a cluster, the server of a storage, scripts
    stops: int = 0
    trials: int = 0
    retried: int = 0
    lost: int = 0
    duplicated: int = 0
    orphans: int = 0
    blocked: int = 0

    def __str__(self) -> str:
        return (
            f"{self.studies} studies, {self.kills} kills ({self.starting} while starting, {self.parents} of "
            f"supervisors, {self.others} of workers, servers or scripts), {self.stops} stops, "
            f"{self.trials} trials finished, {self.retried} failed or retried: {self.lost} lost, "
            f"{self.duplicated} duplicated, {self.orphans} orphans, {self.blocked} blocked"
        )


def _killed(bench: Bench, kills: int, dice: random.Random, total: Tally, server: Server | None) -> list[str]:
    """Runs one study through `kills` kills and to its end; returns what is wrong then."""
    process = bench.start()
    seen: dict[int, tuple[str, float, float]] = {}
    done = 0
    try:
        while done < kills and process.poll() in (None, -signal.SIGKILL, 1):
            if process.poll() is not None:
                process = bench.start()
            starting = dice.random() < 0.25
            if starting:
                time.sleep(dice.expovariate(2.0))
            else:
                wait_until_busy(bench, process, seconds=180 if bench.address else 15)  # Ray starts slowly
                time.sleep(dice.uniform(0.0, 0.5))
            if bench.states():
                seen.update(bench.finished())
            victims = bench.running_agents(process.pid)
            if server is not None and dice.random() < 1 / 8:
                server.restart()
                total.others += 1
            elif dice.random() < (0.8 if starting else 1 / 6):
                process.kill()
                total.parents += 1
                for pid in victims if dice.random() < 0.5 else []:
                    send(pid, signal.SIGKILL)
                process.wait()
            elif victims and dice.random() < 1 / 6:
                victim = dice.choice([*victims, process.pid])
                send(victim, signal.SIGSTOP)
                time.sleep(dice.uniform(0.1, 1.0))
                send(victim, signal.SIGCONT)
                total.stops += 1
                continue
            elif victims:
                victim = dice.choice(victims)
                other = _other(bench, victim) if dice.random() < (0.5 if bench.script else 0.25) else None
                send(other or victim, signal.SIGKILL)
                total.others += other is not None
            else:
                continue
            done += 1
            total.starting += starting
    finally:
        end(process)
    status = bench.finish()
    problems, orphans = bench.problems(seen=seen), bench.orphans()
    finished = bench.finished()
    values = [x for _, _, x in finished.values()]
    total.studies += 1
    total.kills += done
    total.trials += len(finished)
    total.retried += bench.states()["FAIL"]
    total.lost += sum(finished.get(number) != what for number, what in seen.items())
    total.duplicated += len(values) - len(set(values))
    total.orphans += len(orphans)
    total.blocked += status != 0
    if orphans:
        problems.append(f"{len(orphans)} processes left")
        for pid in orphans:
            send(pid, signal.SIGKILL)
    if status:
        problems.append(f"the last run ended with status {status} {bench.error()}")
    return problems


def _other(bench: Bench, agent: int) -> int | None:
    """What belongs to an agent and is killed in its place: its worker on a cluster, its script."""
    if bench.address:
        return parent(agent)
    if not bench.script:
        return None
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:  # on a busy machine it starts some time after its trial
        for pid in descendants(agent):
            if runs(pid, "objective.py"):
                return pid
        time.sleep(0.05)
    return None


def kills_paused(folder: Path, *, kills: int = 200, agents: int = 4) -> Outcome:
    """Random kills over studies whose trials are paused and resumed."""
    return kill_many(folder, kills=kills, agents=agents, keeps=True)


def kills_postgresql(folder: Path, *, kills: int = 100, agents: int = 4) -> Outcome:
    """The same on a PostgreSQL server of its own."""
    if temporary_postgres.binaries() is None:
        return Outcome([], "needs PostgreSQL's programs", skipped=True)
    with temporary_postgres.TemporaryPostgres() as server:
        return kill_many(folder, kills=kills, agents=agents, database=server.url("kills"))


def kills_scripts(folder: Path, *, kills: int = 100, agents: int = 4) -> Outcome:
    """Random kills of scripts, their agents and supervisors."""
    return kill_many(folder, kills=kills, agents=agents, script=True)


def kills_remote(folder: Path, *, kills: int = 100, agents: int = 4) -> Outcome:
    """The same on a storage that `tuner serve` serves; the server is killed, too."""
    server = Server(folder)
    try:
        return kill_many(folder, kills=kills, agents=agents, database=server.url, server=server)
    finally:
        server.close()


def kills_dask(folder: Path, *, kills: int = 100, agents: int = 2) -> Outcome:
    """The same with agents on Dask workers, which are killed, too."""
    return _on_cluster("dask", folder, kills=kills, agents=agents)


def kills_ray(folder: Path, *, kills: int = 100, agents: int = 2) -> Outcome:
    """The same with agents in Ray actors, which are killed, too."""
    return _on_cluster("ray", folder, kills=kills, agents=agents)


def _on_cluster(kind: str, folder: Path, *, kills: int, agents: int) -> Outcome:
    if importlib.util.find_spec({"dask": "distributed"}.get(kind, kind)) is None:
        return Outcome([], f"{kind} is not installed", skipped=True)
    folder.mkdir(parents=True, exist_ok=True)
    with cluster(kind, folder, places=agents) as address:
        return kill_many(folder, kills=kills, agents=agents, executor=kind, address=address)


def wait_until_busy(bench: Bench, process: subprocess.Popen[str], *, seconds: float) -> None:
    """Waits until a trial is running in an agent of `process`, or it has ended, or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if bench.states()["RUNNING"] and bench.running_agents(process.pid):
            return
        time.sleep(0.1)


def fresh_database(folder: Path, *, starters: int = 8) -> Outcome:
    """Eight supervisors, an agent each, open a database that does not exist yet, at the same moment."""
    bench = Bench(folder, trials=40)
    processes = [bench.start(agents=1) for _ in range(starters)]
    statuses = [process.wait(300) for process in processes]
    found = bench.problems()
    if any(statuses):
        found.append(f"exit statuses {statuses} {bench.error()}")
    return Outcome(found, f"{starters} at once, {bench.states()['FAIL']} failed")


def stopped_in_a_trial(bench: Bench) -> tuple[int, list[int]] | None:
    """Stops an agent and gives it and its trial; None when it had ended its trial before it was stopped."""
    running = [trial for trial in bench.trials_in_storage() if trial.state.name == "RUNNING"]
    victim = next((t.user_attrs["lease"]["pid"] for t in running if "lease" in t.user_attrs), None)
    if victim is None:  # between two trials an agent holds none
        return None
    send(victim, signal.SIGSTOP)
    held = [
        trial.number
        for trial in bench.trials_in_storage()
        if trial.state.name == "RUNNING" and trial.user_attrs.get("lease", {}).get("pid") == victim
    ]
    if held:
        return victim, held
    send(victim, signal.SIGCONT)
    return None


def stopped_agent(folder: Path) -> Outcome:
    """An agent is stopped in the middle of a trial, which is given away; then it wakes up."""
    bench = Bench(folder, trials=20, pause=0.1, term=2.0)
    process = bench.start(agents=2)
    try:
        wait_for(lambda: len(bench.finished()) >= 2 if bench.states() else False)
        victim, lost = wait_for(lambda: stopped_in_a_trial(bench))
        wait_for(lambda: bench.states()["FAIL"] > 0 and any(map(silent, bench.trials_in_storage())))
        send(victim, signal.SIGCONT)
        status = process.wait(120)
    finally:
        end(process)
    found = bench.problems()
    if status:
        found.append(f"exit status {status}")
    if "given away" not in bench.output():
        found.append("the woken agent did not say that its trial was given to another agent")
    return Outcome(found, f"trial {lost} given away after {bench.term:g} s, its agent woke and went on")


def silent(trial: Any) -> bool:
    """Whether the trial was given to another agent because its agent gave no sign of life."""
    return "no sign of life" in trial.user_attrs.get("error", "")
