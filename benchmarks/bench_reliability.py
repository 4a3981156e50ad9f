"""Does a study survive what machines do to it? Real processes, a fast objective, random kills.

    python benchmarks/bench_reliability.py                 every scenario, 200 SIGKILLs (about ten minutes)
    python benchmarks/bench_reliability.py --kills 20 kills two_studies

Each scenario prints one line: passed or not, and its figures. Exit status 1 when one did not pass. Scenarios
that need a small file system mount a tmpfs and are skipped where that is not allowed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

OBJECTIVE = '''
import os, time

def train(config, report):
    """A rising curve; half of the trials are poor and get pruned, one in ten fails."""
    x = config["x"]
    for epoch in range(6):
        time.sleep(config["pause"])
        report(epoch, {"score": x * (epoch + 1) / 6})
    if 0.5 < x < 0.55:
        raise ValueError("an unlucky configuration")
    return {"score": x}
'''

STUDY = """
name: {name}
method: {method}
run_cap: {trials}
metric: {{name: score, goal: maximize}}
parameters:
  x: {values}
  pause: {{value: {pause}}}
tuner:
  objective: "objective.py:train"
  max_epochs: 6
  pruner: {{type: hyperband, min_resource: 1, max_resource: 6, eta: 3}}
"""


@dataclass
class Bench:
    """A folder with a study in it, and the processes that run it."""

    folder: Path
    name: str = "reliability"
    trials: int = 30
    agents: int = 2
    pause: float = 0.02
    term: float = 60.0
    method: str = "random"
    environment: dict[str, str] = field(default_factory=dict)
    _records: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "objective.py").write_text(OBJECTIVE)
        points = [point / 100 for point in range(1, self.trials + 1)]
        values = f"{{values: {points}}}" if self.method == "grid" else "{min: 0.0, max: 1.0}"
        text = STUDY.format(
            name=self.name,
            method=self.method,
            trials=self.trials,
            pause=self.pause,
            values=values,
        )
        (self.folder / f"{self.name}.yaml").write_text(text)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder / 'results' / 'studies.db'}"

    def start(self, *, agents: int | None = None) -> subprocess.Popen[str]:
        """A supervisor with its agents; its output goes to `output.log`."""
        command = [sys.executable, __file__, "drive", str(self.folder / f"{self.name}.yaml")]
        command += ["--agents", str(agents or self.agents), "--term", str(self.term)]
        with (self.folder / "output.log").open("a") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def finish(self, *, agents: int | None = None, timeout: float = 300) -> int:
        """Runs the study to its end; returns the exit status."""
        process = self.start(agents=agents)
        try:
            return process.wait(timeout)
        finally:
            end(process)

    def error(self) -> str:
        """The line with which a supervisor gave up, if one did."""
        return next((line for line in self.output().splitlines() if line.startswith("error:")), "")

    def output(self) -> str:
        return (self.folder / "output.log").read_text()

    def trials_in_storage(self) -> list[Any]:
        import optuna

        if self._records is None:
            from tuner.storage.access import open_records

            self._records = open_records(self.url)
        self._records.refresh()
        study = optuna.load_study(study_name=self.name, storage=self._records)
        return study.get_trials(deepcopy=False)

    def states(self) -> Counter[str]:
        """How many trials are in each state; empty before the study is made. Asks SQLite, which is quick."""
        query = "SELECT state, count(*) FROM trials NATURAL JOIN studies WHERE study_name = ? GROUP BY state"
        path = self.folder / "results" / "studies.db"
        if not path.exists():
            return Counter()
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
            try:
                return Counter(dict(connection.execute(query, (self.name,)).fetchall()))
            except sqlite3.OperationalError:
                return Counter()

    def finished(self) -> dict[int, tuple[str, float, float]]:
        """State, value and x of every finished trial by number."""
        return {
            trial.number: (trial.state.name, trial.value, trial.params["x"])
            for trial in self.trials_in_storage()
            if trial.state.name in ("COMPLETE", "PRUNED")
        }

    def problems(self, *, seen: dict[int, tuple[str, float, float]] | None = None) -> list[str]:
        """What is wrong at the end of the study; empty when nothing is."""
        states, finished, found = self.states(), self.finished(), []
        if len(finished) != self.trials:
            found.append(f"{len(finished)} finished, wanted {self.trials}")
        for state in ("RUNNING", "WAITING"):
            if states[state]:
                found.append(f"{states[state]} left {state}")
        lost = [number for number, what in (seen or {}).items() if finished.get(number) != what]
        if lost:
            found.append(f"finished trials lost or changed: {lost}")
        twice = [x for x, count in Counter(x for _, _, x in finished.values()).items() if count > 1]
        if twice:
            found.append(f"{len(twice)} configurations finished twice")
        return found


@dataclass(frozen=True)
class Outcome:
    """A scenario's end: problems (none: passed) and figures in words."""

    problems: list[str]
    figures: str
    skipped: bool = False


def children(pid: int) -> list[int]:
    """Process ids of a supervisor's agents."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def end(process: subprocess.Popen[str]) -> None:
    """Ends a supervisor and its agents, whatever state they are in."""
    for pid in [*children(process.pid), process.pid]:
        send(pid, signal.SIGKILL)
    process.wait()


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_for(what: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Waits until `what` is true, and gives what it was then."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.05)
    return found


# -- the scenarios


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


def torn_metrics(folder: Path) -> Outcome:
    """A metrics file whose last line was cut off by a kill is read without that line."""
    from tuner.base.run_folder import METRICS, read_metrics

    bench = Bench(folder, trials=3)
    bench.finish()
    path = bench.folder / "results" / "runs" / bench.name / "0" / METRICS
    whole = read_metrics(path)
    with path.open("a") as file:
        file.write('{"epoch": 99, "sco')
    found = [] if read_metrics(path) == whole else ["the torn line was not left out"]
    return Outcome(found + bench.problems(), f"{len(whole)} whole lines read")


def disk_full(folder: Path) -> Outcome:
    """The disk fills up in the middle of a study; space is made, and the study goes on."""
    with tmpfs(folder, megabytes=4) as mounted:
        if not mounted:
            return Outcome([], "mounting a tmpfs is not allowed here", skipped=True)
        bench = Bench(folder, trials=40, pause=0.05)
        process = bench.start()
        try:
            wait_for(lambda: len(bench.finished()) >= 5 if bench.states() else False)
            seen = bench.finished()
            fill(folder / "ballast")
            status = process.wait(120)
        finally:
            end(process)
        words = (
            bench.output().strip().splitlines()[-1] if bench.output().strip() else "(its log is cut off too)"
        )
        found = [] if status == 1 else [f"exit status {status} instead of 1"]
        (folder / "ballast").unlink()
        if bench.finish():
            found.append("it could not be resumed")
        return Outcome(found + bench.problems(seen=seen), f"stopped with: {words[:150]}")


def read_only(folder: Path) -> Outcome:
    """The storage becomes read-only between two starts."""
    with tmpfs(folder, megabytes=64) as mounted:
        if not mounted:
            return Outcome([], "mounting a tmpfs is not allowed here", skipped=True)
        bench = Bench(folder, trials=6)
        bench.finish()
        Bench(folder, trials=8)
        log = folder.parent / "read_only.log"
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        command = [sys.executable, "-m", "tuner", "study", str(folder / f"{bench.name}.yaml")]
        command += ["--wandb", "off", "--results", str(folder / "results")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with log.open("w") as output:
            run = subprocess.run(
                command, cwd=folder, env=environment, stderr=output, stdout=output, check=False
            )
        status = run.returncode
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        lines = log.read_text().strip().splitlines()
        found = [] if status == 1 and len(lines) <= 3 else [f"status {status}, {len(lines)} lines"]
        again = Bench(folder, trials=8)
        again.finish()
        return Outcome(found + again.problems(), f"stopped with: {lines[-1][:150]}")


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long offset(void) {
  long seconds = 0;
  FILE *file = fopen(getenv("CLOCK_OFFSET_FILE"), "r");
  if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
  return seconds;
}
int clock_gettime(clockid_t id, struct timespec *spec) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int status = real(id, spec);
  if (id == CLOCK_REALTIME) spec->tv_sec += offset();
  return status;
}
int gettimeofday(struct timeval *restrict value, void *restrict zone) {
  struct timespec spec;
  clock_gettime(CLOCK_REALTIME, &spec);
  value->tv_sec = spec.tv_sec; value->tv_usec = spec.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *out) {
  struct timespec spec;
  clock_gettime(CLOCK_REALTIME, &spec);
  if (out) *out = spec.tv_sec;
  return spec.tv_sec;
}
"""


def clock_jump(folder: Path) -> Outcome:
    """The wall clock of all processes jumps a day ahead, then two back, while trials run."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return Outcome([], "needs a C compiler", skipped=True)
    folder.mkdir(parents=True)
    (folder / "clock.c").write_text(CLOCK)
    library, offset = folder / "clock.so", folder / "offset"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "clock.c", "-ldl"], check=True)
    offset.write_text("0")
    bench = Bench(
        folder,
        trials=16,
        pause=0.1,
        term=5.0,
        environment={"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)},
    )
    process = bench.start()
    try:
        for jump in (86_400, -86_400):
            target = len(bench.finished()) + 3 if bench.states() else 3
            wait_for(lambda target=target: len(bench.finished()) >= target if bench.states() else False)
            offset.write_text(str(jump))
        status = process.wait(120)
    finally:
        end(process)
    found = bench.problems()
    lost = [t for t in bench.trials_in_storage() if t.user_attrs.get("agent_lost")]
    if status or lost:
        found.append(f"exit status {status}, {len(lost)} trials given up")
    days = {t.datetime_start.date() for t in bench.trials_in_storage() if t.datetime_start}
    return Outcome(found, f"trials of {len(days)} different days, none given up")


SCENARIOS: dict[str, Callable[..., Outcome]] = {
    "kills": kills,
    "grid": grid,
    "fresh_database": fresh_database,
    "two_studies": two_studies,
    "stopped_agent": stopped_agent,
    "sigterm": sigterm,
    "torn_metrics": torn_metrics,
    "disk_full": disk_full,
    "read_only": read_only,
    "clock_jump": clock_jump,
}


@contextlib.contextmanager
def tmpfs(folder: Path, *, megabytes: int) -> Iterator[bool]:
    """A small file system at `folder`; False where mounting is not allowed."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(path: Path) -> None:
    """Writes a file until no space is left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def drive(arguments: list[str]) -> int:
    """What `python -m tuner study` does, with a lease term of its own and no wish for free disk."""
    from rich.console import Console

    from tuner.base.command_line import run_command
    from tuner.definition.loading import load_study_file
    from tuner.run import launch
    from tuner.run.request import Request
    from tuner.show.live import PlainView
    from tuner.storage.access import default_url

    parser = argparse.ArgumentParser()
    parser.add_argument("study")
    parser.add_argument("--agents", type=int)
    parser.add_argument("--term", type=float)

    def run(options: argparse.Namespace) -> int:
        results = Path("results")
        request = Request(
            study_file=load_study_file(options.study),
            url=default_url(results),
            results=results,
            agents=options.agents,
            wandb="off",
            term=options.term,
            min_free=0,
        )
        result = launch.run(request, PlainView(Console(stderr=True, width=200)))
        if result.interrupted:
            raise KeyboardInterrupt
        if not result.fine:
            sys.stderr.write(f"error: {result.reason}\n")
        return 0 if result.fine else 1

    parser.set_defaults(run=run, debug=False)
    return run_command(parser, arguments)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="(default: all)")
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    bad = 0
    for name in options.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            more = {"kills": options.kills} if name == "kills" else {}
            outcome = SCENARIOS[name](Path(folder) / name, **more)
        word = "skipped" if outcome.skipped else "passed" if not outcome.problems else "FAILED"
        print(f"{name:15} {word:8} {outcome.figures} {'; '.join(outcome.problems)}".rstrip(), flush=True)
        bad += bool(outcome.problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(drive(sys.argv[2:]) if sys.argv[1:2] == ["drive"] else main())
