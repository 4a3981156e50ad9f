r"""How far one study scales: thousands of trials, many agents, hosts that come and go.

    make bench-scale                                        the sizes of docs/scaling.md
    python benchmarks/bench_scale.py --trials 300 --agents 4 --sqlite-trials 200 --sqlite-agents 4 \
        --hosts 6 --host-trials 60                          a small try

A trivial objective (8 parameters, 4 reports), so that everything measured is the tuner's own. It prints the
tables of docs/scaling.md:

1. PostgreSQL (a server of its own on this machine) and SQLite: trials lost and doubled, and what a trial
   costs around trial 100 and around the last.
2. The parts of that cost, each alone in one process, with 100 and with all trials finished.
3. Simulated hosts (names and boots of their own) that join, leave in order, or are killed: lost, doubled.

A trial is doubled where its configuration was finished twice, or one more than wanted is finished; it is lost
where one is missing, or RUNNING or WAITING after the end.
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from temporary_postgres import TemporaryPostgres, binaries

ROOT = Path(__file__).resolve().parent.parent
EARLY = 100  # finished trials at which costs are compared with those at the end
PARAMETERS, REPORTS = 8, 4
TERM = 5.0  # seconds of a simulated host's lease, so that a killed one is noticed soon

OBJECTIVE = f"""
import os

def train(config, report):
    total = sum(config[f"x{{i}}"] for i in range({PARAMETERS}))
    for epoch in range({REPORTS}):
        report(epoch, {{"score": total * (epoch + 1) / {REPORTS}}})
    with open(os.environ["FINISHED"], "a") as file:  # one write of a short line: whole, whoever else writes
        file.write(f"{{config['x0']!r}}\\n")
    return {{"score": total}}
"""


def write_study(folder: Path, trials: int) -> Path:
    """The study file and its objective."""
    (folder / "objective.py").write_text(OBJECTIVE)
    parameters = "".join(f"  x{i}: {{min: 0.0, max: 1.0}}\n" for i in range(PARAMETERS))
    path = folder / "scale.yaml"
    path.write_text(
        f"name: scale\nmethod: bayes\nrun_cap: {trials}\nmetric: {{name: score, goal: maximize}}\n"
        f'parameters:\n{parameters}tuner:\n  objective: "objective.py:train"\n  max_epochs: {REPORTS}\n'
        "  pruner: {type: none}\n"
    )
    return path


# -- a whole study


@dataclass(frozen=True)
class Scale:
    """What one study of many trials showed; costs in milliseconds of one agent's time a trial."""

    storage: str
    agents: int
    trials: int
    lost: int
    doubled: int
    seconds: float
    early: float
    late: float

    def row(self) -> str:
        return (
            f"| {self.storage} | {self.agents} | {self.trials:,} | {self.lost} | {self.doubled} "
            f"| {self.trials / self.seconds:.1f} | {self.early:.0f} | {self.late:.0f} "
            f"| {self.late / self.early:.2f} |"
        )


def run_study(url: str, storage: str, folder: Path, *, trials: int, agents: int) -> Scale:
    """Runs `python -m tuner study` to its end."""
    write_study(folder, trials)
    finished = folder / "finished.txt"
    command = [
        sys.executable,
        "-m",
        "tuner",
        "study",
        "scale.yaml",
        "--agents",
        str(agents),
        "--wandb",
        "off",
    ]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, env=environment(url, finished), stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    lost, doubled, ends = accounts(url, trials, finished)
    window = min(EARLY, trials // 4)
    return Scale(
        storage,
        agents,
        trials,
        lost,
        doubled,
        seconds,
        1000 * agents * pace(ends[window // 2 : window // 2 + window]),
        1000 * agents * pace(ends[-window:]),
    )


def environment(url: str, finished: Path) -> dict[str, str]:
    finished.touch()
    extra = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TUNER_STORAGE": url}
    return {**os.environ, **extra, "FINISHED": str(finished)}


def accounts(url: str, wanted: int, finished: Path) -> tuple[int, int, list[datetime]]:
    """Trials lost, trials doubled, and when each complete one ended, in order."""
    import optuna

    from tuner.storage.access import open_records

    trials = optuna.load_study(study_name="scale", storage=open_records(url)).get_trials(deepcopy=False)
    states = Counter(trial.state.name for trial in trials)
    lost = max(0, wanted - states["COMPLETE"]) + states["RUNNING"] + states["WAITING"]
    numbers = Counter(trial.number for trial in trials)
    complete = Counter(repr(trial.params["x0"]) for trial in trials if trial.state.name == "COMPLETE")
    runs = Counter(finished.read_text().split())
    doubled = max(0, states["COMPLETE"] - wanted)
    doubled += sum(count - 1 for count in (*numbers.values(), *complete.values()))
    # one whose agent was killed between its last line and its end in the storage runs again, rightly
    again = sum(1 for trial in trials if trial.user_attrs.get("agent_lost"))
    doubled += max(0, sum(runs.values()) - states["COMPLETE"] - again)
    ends = sorted(t.datetime_complete for t in trials if t.state.name == "COMPLETE" and t.datetime_complete)
    return lost, doubled, ends


def pace(ends: list[datetime]) -> float:
    """Seconds between ends, on average."""
    return (ends[-1] - ends[0]).total_seconds() / (len(ends) - 1)


# -- the parts of a trial's cost

PARTS = (
    "allocation: dead agents looked for, trials counted, one claimed",
    "loading: what other agents finished since the last trial",
    "suggestion by TPE, and its write",
    "four reports and the end",
)


def parts(url: str, folder: Path, *, finished: int, repeats: int = 12) -> tuple[list[float], float]:
    """Median milliseconds of each of PARTS in a study of so many finished trials; and of a first reading."""
    import optuna
    from optuna.trial import Trial

    from tuner.definition.loading import load_study_file
    from tuner.search import samplers
    from tuner.storage import study_store
    from tuner.storage.access import open_records
    from tuner.storage.allocate import Allocator
    from tuner.storage.leases import Observer, Owner

    file = load_study_file(write_study(folder, finished + 1000))
    records, other = open_records(url, create=True), open_records(url)
    study, _ = study_store.open_study(records, file, study_store.Origin({}))
    fill(records, study, file, finished)
    study.sampler = samplers.make(file, 0)
    theirs = optuna.load_study(study_name=study.study_name, storage=other)
    allocator = Allocator(
        records, study._study_id, owner=Owner.this_process(), observer=Observer(), total=None
    )
    began = time.perf_counter()
    study.get_trials(deepcopy=False)
    first = 1000 * (time.perf_counter() - began)
    rows = []
    for _ in range(repeats):
        foreign = other.claim(study._study_id, user_attrs={})
        file.space.suggest(Trial(theirs, foreign._trial_id))
        theirs.tell(foreign.number, 1.0)
        times = [time.perf_counter()]
        claimed: Any = allocator.next()
        times.append(time.perf_counter())
        study.get_trials(deepcopy=False)
        times.append(time.perf_counter())
        trial = Trial(study, claimed._trial_id)
        file.space.suggest(trial)
        records.flush(claimed._trial_id)
        times.append(time.perf_counter())
        for epoch in range(REPORTS):
            trial.report(0.5, epoch + 1)
        study.tell(trial, 1.0)
        times.append(time.perf_counter())
        rows.append([1000 * (b - a) for a, b in pairwise(times)])
    return [statistics.median(column) for column in zip(*rows[2:], strict=True)], first


def fill(records: Any, study: Any, file: Any, count: int) -> None:
    """Writes finished trials straight into the tables: thousands in seconds."""
    import sqlalchemy
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models
    from optuna.trial import TrialState

    numbers = random.Random(0)
    distributions = {name: distribution_to_json(d) for name, d in file.space.distributions().items()}
    engine = records.optuna_storage._backend.engine
    with engine.begin() as connection:
        start = datetime(2026, 1, 1)
        highest = connection.execute(
            sqlalchemy.select(sqlalchemy.func.max(models.TrialModel.trial_id))
        ).scalar()
        taken = connection.execute(
            sqlalchemy.select(sqlalchemy.func.count(models.TrialModel.trial_id))
        ).scalar()
        first_id, first_number = (highest or 0) + 1, int(taken or 0)
        trials, params, values, reports = [], [], [], []
        for index in range(count):
            trial_id, drawn = first_id + index, {name: numbers.random() for name in distributions}
            trials.append(
                {
                    "trial_id": trial_id,
                    "number": first_number + index,
                    "study_id": study._study_id,
                    "state": TrialState.COMPLETE,
                    "datetime_start": start,
                    "datetime_complete": start + timedelta(seconds=index),
                }
            )
            values.append(
                {"trial_id": trial_id, "objective": 0, "value": sum(drawn.values()), "value_type": "FINITE"}
            )
            for name, value in drawn.items():
                params.append(
                    {
                        "trial_id": trial_id,
                        "param_name": name,
                        "param_value": value,
                        "distribution_json": distributions[name],
                    }
                )
            for step in range(1, REPORTS + 1):
                reports.append(
                    {
                        "trial_id": trial_id,
                        "step": step,
                        "intermediate_value": 0.5,
                        "intermediate_value_type": "FINITE",
                    }
                )
        for model, rows in (
            (models.TrialModel, trials),
            (models.TrialParamModel, params),
            (models.TrialValueModel, values),
            (models.TrialIntermediateValueModel, reports),
        ):
            connection.execute(sqlalchemy.insert(model.__table__), rows)
        if engine.name == "postgresql":
            connection.execute(
                sqlalchemy.text("SELECT setval('trials_trial_id_seq', (SELECT max(trial_id) FROM trials))")
            )


# -- hosts that come and go


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

    socket.gethostname = lambda: name  # type: ignore[assignment]
    leases.boot_id = lambda: f"boot of {name}"  # type: ignore[assignment]
    leaving: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(1))
    file = load_study_file(folder / "scale.yaml")
    records = open_records(url)
    study = optuna.load_study(study_name="scale", storage=records, sampler=samplers.make(file, seed))
    heartbeat = leases.Heartbeat(leases.Owner.this_process(), records.renew, term=TERM)
    allocator = Allocator(
        records,
        study._study_id,
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
    study, _ = study_store.open_study(records, file, study_store.Origin({}))
    finished = folder / "finished.txt"
    numbers = random.Random(0)
    running: list[subprocess.Popen[bytes]] = []
    joined = left = killed = 0
    leaves_at = 1  # finished trials at which the next host leaves

    def join() -> None:
        nonlocal joined
        command = [sys.executable, __file__, "host", url_name, str(folder), f"host-{joined}", str(joined)]
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


# -- the report


def in_folder(work: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return work(Path(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000, help="on PostgreSQL (default: 5000)")
    parser.add_argument("--agents", type=int, default=16, help="on PostgreSQL (default: 16)")
    parser.add_argument("--sqlite-trials", type=int, default=2000, help="(default: 2000)")
    parser.add_argument("--sqlite-agents", type=int, default=8, help="(default: 8)")
    parser.add_argument("--hosts", type=int, default=32, help="at work at any time (default: 32)")
    parser.add_argument("--host-trials", type=int, default=600, help="(default: 600)")
    parser.add_argument(
        "--only", choices=("study", "parts", "hosts"), action="append", help="a part of it (default: all)"
    )
    options = parser.parse_args()
    only = options.only or ["study", "parts", "hosts"]
    if binaries() is None:
        print("needs PostgreSQL's programs (apt install postgresql)", file=sys.stderr)
        return 2
    bad = False
    with TemporaryPostgres(connections=40 + 4 * max(options.agents, options.hosts)) as server:
        print(f"{os.cpu_count()} cores; PostgreSQL and the agents on one machine\n", flush=True)
        if "study" in only:
            bad |= report_studies(server, options)
        if "parts" in only:
            report_parts(server, options)
        if "hosts" in only:
            bad |= report_hosts(server, options)
    return 1 if bad else 0


def report_studies(server: TemporaryPostgres, options: argparse.Namespace) -> bool:
    print(
        "| storage | agents | trials | lost | doubled | trials/s | ms a trial at 100 | at the end | ratio |\n"
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |"
    )
    found = [
        in_folder(
            lambda folder: run_study(
                server.url("scale"), "PostgreSQL", folder, trials=options.trials, agents=options.agents
            )
        ),
    ]
    print(found[0].row(), flush=True)
    found.append(
        in_folder(
            lambda folder: run_study(
                f"sqlite:///{folder}/studies.db",
                "SQLite",
                folder,
                trials=options.sqlite_trials,
                agents=options.sqlite_agents,
            )
        )
    )
    print(found[1].row() + "\n", flush=True)
    return any(scale.lost or scale.doubled for scale in found)


def report_parts(server: TemporaryPostgres, options: argparse.Namespace) -> None:
    sizes = (EARLY, options.trials)
    columns = [
        in_folder(lambda folder, n=n: parts(server.url(f"parts_{n}"), folder, finished=n)) for n in sizes
    ]
    print(f"| ms a trial, one agent, PostgreSQL | {sizes[0]:,} trials | {sizes[1]:,} trials |")
    print("| --- | --: | --: |")
    for index, name in enumerate(PARTS):
        print(f"| {name} | {columns[0][0][index]:.1f} | {columns[1][0][index]:.1f} |")
    print(f"| sum | {sum(columns[0][0]):.1f} | {sum(columns[1][0]):.1f} |")
    print(f"| once, when an agent starts: reading all trials | {columns[0][1]:.0f} | {columns[1][1]:.0f} |\n")


def report_hosts(server: TemporaryPostgres, options: argparse.Namespace) -> bool:
    found = in_folder(
        lambda folder: run_hosts(server.url("hosts"), folder, hosts=options.hosts, trials=options.host_trials)
    )
    print("| hosts at a time | trials | joined | left in order | killed | lost | doubled |")
    print(f"| --: | --: | --: | --: | --: | --: | --: |\n{found.row()}")
    return bool(found.lost or found.doubled)


if __name__ == "__main__":
    if sys.argv[1:2] == ["host"]:
        host(os.environ[sys.argv[2]], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    else:
        sys.exit(main())
