"""Scenarios of killed, stopped and started processes."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from reliability.bench import Bench, Outcome, children, end, send, wait_for


def kills(folder: Path, *, kills: int = 200, agents: int = 4, trials: int | None = None) -> Outcome:
    """SIGKILL of a random agent, or (one in six) of the parent with or without its agents, over and over."""
    bench = Bench(folder, agents=agents, trials=trials or 2 * kills, pause=0.05)
    dice = random.Random(0)
    process = bench.start()
    done = parents = starts = 0
    seen: dict[int, tuple[str, float, float]] = {}
    began = time.monotonic()
    try:
        while done < kills:
            if dice.random() < 0.75:  # mostly in the middle of trials, now and then while agents start
                wait_until_busy(bench, process)
            time.sleep(dice.uniform(0.05, 1.2))
            if process.poll() is not None:
                if process.returncode in (0, 2):
                    break  # the study is done before its kills are, or refused for good
                process, starts = bench.start(), starts + 1
                continue
            if bench.states():
                seen.update(bench.finished())
            victims = children(process.pid)
            if dice.random() < 1 / 6:
                send(process.pid, signal.SIGKILL)
                parents += 1
                if dice.random() < 0.5:
                    for pid in victims:
                        send(pid, signal.SIGKILL)
                        done += 1
                done += 1
                process.wait()
            elif victims:
                send(dice.choice(victims), signal.SIGKILL)
                done += 1
    finally:
        end(process)
    status = bench.finish()
    found = bench.problems(seen=seen)
    if status:
        found.append(f"the last run ended with status {status} {bench.error()}")
    states = bench.states()
    return Outcome(
        found,
        f"{done} kills ({parents} of parents), {starts} restarts, {agents} agents: "
        f"{states['COMPLETE']} complete + {states['PRUNED']} pruned of {bench.trials}, "
        f"{states['FAIL']} failed or lost and retried, {time.monotonic() - began:.0f} s",
    )


def wait_until_busy(bench: Bench, process: subprocess.Popen[str], *, seconds: float = 15) -> None:
    """Waits until a trial is running in an agent of `process`, or it has ended, or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if children(process.pid) and bench.states()["RUNNING"]:
            return
        time.sleep(0.1)


def grid(folder: Path, *, kills: int = 6, agents: int = 8) -> Outcome:
    """A grid on eight agents, some of them killed: each point is finished once and once only."""
    bench = Bench(folder, agents=agents, trials=40, pause=0.05, method="grid")
    dice = random.Random(1)
    done = 0
    process = bench.start()
    try:
        while done < kills and process.poll() is None:
            time.sleep(dice.uniform(0.5, 1.5))
            victims = children(process.pid)
            if victims and bench.states():
                send(dice.choice(victims), signal.SIGKILL)
                done += 1
        status = process.wait(300)
    finally:
        end(process)
    found = bench.problems()
    points = sorted(round(100 * x) for _, _, x in bench.finished().values())
    if points != list(range(1, 41)):
        found.append(f"points finished: {points}")
    if status:
        found.append(f"exit status {status} {bench.error()}")
    return Outcome(found, f"40 points, {agents} agents, {done} killed, {bench.states()['FAIL']} retried")


def fresh_database(folder: Path, *, starters: int = 8) -> Outcome:
    """Eight supervisors, an agent each, open a database that does not exist yet, at the same moment."""
    bench = Bench(folder, trials=40)
    processes = [bench.start(agents=1) for _ in range(starters)]
    statuses = [process.wait(300) for process in processes]
    found = bench.problems()
    if any(statuses):
        found.append(f"exit statuses {statuses} {bench.error()}")
    return Outcome(found, f"{starters} at once, {bench.states()['FAIL']} failed")


def two_studies(folder: Path) -> Outcome:
    """Two studies at once in one database."""
    one, other = Bench(folder, name="one", trials=15), Bench(folder, name="other", trials=15)
    processes = [one.start(), other.start()]
    statuses = [process.wait(300) for process in processes]
    found = one.problems() + other.problems()
    if any(statuses):
        found.append(f"exit statuses {statuses}")
    return Outcome(found, f"{one.trials} + {other.trials} trials, 2 agents each")


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
        found.append("the woken agent did not say that its trial was given away")
    return Outcome(found, f"trial {lost} given away after {bench.term:g} s, its agent woke and went on")


def silent(trial: Any) -> bool:
    """Whether the trial was given away because its agent gave no sign."""
    return "gave no sign" in trial.user_attrs.get("error", "")


def sigterm(folder: Path) -> Outcome:
    """SIGTERM in the middle: trials are put back, the next start runs them."""
    bench = Bench(folder, trials=12, pause=0.3)
    process = bench.start()
    try:
        wait_for(lambda: bench.states()["RUNNING"] > 0)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    finally:
        end(process)
    took, states = time.monotonic() - began, bench.states()
    found = [] if status == 130 else [f"exit status {status} instead of 130"]
    if states["RUNNING"] or not states["WAITING"]:
        found.append(f"after SIGTERM: {dict(states)}")
    bench.finish()
    return Outcome(found + bench.problems(), f"left after {took:.1f} s, {states['WAITING']} trials put back")
