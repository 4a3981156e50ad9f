"""Scenarios of killed, stopped and started processes."""

from __future__ import annotations

import importlib.util
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import temporary_postgres
from reliability.bench import Bench, Finished, Outcome, doubled, lost
from reliability.clusters import Postgres, Server, cluster
from reliability.processes import descendants, end, parent, runs, send, wait_for, words

KILLS_A_STUDY = 25
MOST_BLOCKED = 3  # studies; then something is wrong that further ones would only repeat
DONE = (
    "{studies} studies, {kills} kills ({starting} while starting, {parents} of supervisors, {others} of "
    "workers, servers or scripts), {stops} stops, {trials} trials finished, {retried} failed or retried: "
    "{lost} lost, {duplicated} duplicated, {orphans} orphans, {blocked} blocked, {agents} agents, {seconds} s"
)


def kill_many(
    folder: Path,
    *,
    kills: int = 200,
    agents: int = 4,
    trials: int | None = None,
    server: Server | Postgres | None = None,
    of_server: float = 1 / 8,
    **options: Any,
) -> Outcome:
    """Random kills over as many studies as they take, at every moment from the first millisecond.

    A quarter comes while a supervisor starts. Of the others, one in six ends the supervisor, with or without
    its agents; one in six stops an agent or the supervisor (SIGSTOP) for a while instead. Every trial has a
    helper process that ignores SIGTERM and has left its session. Scripts are killed as often as their agents;
    on a cluster one kill in four is of a Dask worker or Ray actor.

    Args:
        server: of the storage, which is killed and started again.
        of_server: the share of kills that are of it.
        options: of `Bench`.
    """
    dice, began = random.Random(0), time.monotonic()
    total, problems = Counter[str](), list[str]()
    while total["kills"] < kills and total["blocked"] < MOST_BLOCKED:
        wanted = min(KILLS_A_STUDY, kills - total["kills"])
        name = f"reliability{total['studies']}"
        fixed: dict[str, Any] = {"agents": agents, "pause": 0.05, "helper": True, **options}
        bench = Bench(folder / name, name=name, trials=trials or 4 * wanted, **fixed)
        problems += [
            f"{name}: {problem}" for problem in _killed(bench, wanted, dice, total, server, of_server)
        ]
    told = {"agents": agents, "seconds": round(time.monotonic() - began)}
    return Outcome(problems, DONE.format_map(Counter({**total, **told})))


def _killed(
    bench: Bench,
    kills: int,
    dice: random.Random,
    total: Counter[str],
    server: Server | Postgres | None,
    of_server: float,
) -> list[str]:
    """Runs one study through `kills` kills and to its end; returns what is wrong then."""
    process = bench.start()
    seen: Finished = {}
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
            seen.update(bench.finished())
            victims = bench.running_agents(process.pid)
            if server is not None and dice.random() < of_server:
                server.restart()
                total["others"] += 1
            elif dice.random() < (0.8 if starting else 1 / 6):
                process.kill()
                total["parents"] += 1
                for pid in victims if dice.random() < 0.5 else []:
                    send(pid, signal.SIGKILL)
                process.wait()
            elif victims and dice.random() < 1 / 6:
                victim = dice.choice([*victims, process.pid])
                send(victim, signal.SIGSTOP)
                time.sleep(dice.uniform(0.1, 1.0))
                send(victim, signal.SIGCONT)
                total["stops"] += 1
                continue
            elif victims:
                victim = dice.choice(victims)
                other = _other(bench, victim) if dice.random() < (0.5 if bench.script else 0.25) else None
                send(other or victim, signal.SIGKILL)
                total["others"] += other is not None
            else:
                continue
            done += 1
            total["starting"] += starting
    finally:
        end(process)
    status = bench.finish()
    problems, orphans, finished = bench.problems(seen=seen), bench.orphans(), bench.finished()
    total.update(
        studies=1,
        kills=done,
        trials=len(finished),
        retried=bench.states()["FAIL"],
        lost=len(lost(seen, finished)),
        duplicated=doubled(x for _, _, x in finished.values()),
        orphans=len(orphans),
        blocked=int(status != 0),
    )
    if orphans:
        left = [words(pid).replace(b"\0", b" ").decode(errors="replace")[-80:] for pid in orphans]
        problems.append(f"{len(orphans)} processes left: {left}")
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

    def script() -> int | None:
        return next((pid for pid in descendants(agent) if runs(pid, "objective.py")), None)

    return wait_for(script, seconds=5)  # on a busy machine it starts some time after its trial


def wait_until_busy(bench: Bench, process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Waits until a trial is running in an agent of `process`, or it has ended, or time is up."""
    wait_for(
        lambda: (
            process.poll() is not None or (bench.states()["RUNNING"] and bench.running_agents(process.pid))
        ),
        seconds=seconds,
    )


def kills_postgresql(folder: Path, **options: Any) -> Outcome:
    """Kills on a PostgreSQL server of its own; two of three kills are of the server."""
    if temporary_postgres.binaries() is None:
        return Outcome([], "needs PostgreSQL's programs", skipped=True)
    with Postgres() as server:
        return kill_many(folder, database=server.url("kills"), server=server, of_server=2 / 3, **options)


def kills_remote(folder: Path, **options: Any) -> Outcome:
    """Kills on a storage that `tuner serve` serves; the server is killed, too."""
    with Server(folder) as server:
        return kill_many(folder, database=server.url, server=server, **options)


def kills_on(folder: Path, *, executor: str, agents: int = 2, **options: Any) -> Outcome:
    """Kills of agents on Dask workers or in Ray actors, which are killed, too."""
    if importlib.util.find_spec({"dask": "distributed"}.get(executor, executor)) is None:
        return Outcome([], f"{executor} is not installed", skipped=True)
    folder.mkdir(parents=True, exist_ok=True)
    with cluster(executor, folder, places=agents) as address:
        return kill_many(folder, agents=agents, executor=executor, address=address, **options)


def fresh_database(folder: Path, *, starters: int = 8) -> Outcome:
    """Eight supervisors, an agent each, open a database that does not exist yet, at the same moment."""
    bench = Bench(folder, trials=40)
    processes = [bench.start(agents=1) for _ in range(starters)]
    statuses = [process.wait(300) for process in processes]
    found = bench.problems()
    if any(statuses):
        found.append(f"exit statuses {statuses} {bench.error()}")
    return Outcome(found, f"{starters} at once, {bench.states()['FAIL']} failed")


def stopped_agent(folder: Path) -> Outcome:
    """An agent is stopped in the middle of a trial, which is given away; then it wakes up."""
    bench = Bench(folder, trials=20, pause=0.1, term=2.0)

    def stopped_in_a_trial() -> tuple[int, list[int]] | None:
        """Stops an agent; its process and trial. None when it had ended its trial before it was stopped."""
        victim = next((pid for pid in map(_holder, bench.found()) if pid is not None), None)
        if victim is None:  # between two trials an agent holds none
            return None
        send(victim, signal.SIGSTOP)
        held = [trial.number for trial in bench.found() if _holder(trial) == victim]
        if not held:
            send(victim, signal.SIGCONT)
        return (victim, held) if held else None

    process = bench.start()
    try:
        wait_for(lambda: len(bench.finished()) >= 2)
        victim, given = wait_for(stopped_in_a_trial)
        wait_for(lambda: any("no sign of life" in t.user_attrs.get("error", "") for t in bench.found()))
        send(victim, signal.SIGCONT)
        status = process.wait(120)
    finally:
        end(process)
    found = bench.problems()
    if status:
        found.append(f"exit status {status}")
    if "given away" not in bench.output():
        found.append("the woken agent did not say that its trial was given to another agent")
    return Outcome(found, f"trial {given} given away after {bench.term:g} s, its agent woke and went on")


def _holder(trial: Any) -> int | None:
    """The process that runs a trial."""
    running = trial.state.name == "RUNNING"
    return int(trial.user_attrs["lease"]["pid"]) if running and "lease" in trial.user_attrs else None
