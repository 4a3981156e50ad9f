r"""How far one study scales: thousands of trials, many agents, hosts that come and go.

    make bench-scale                                        the sizes of docs/benchmarks.md
    python benchmarks/bench_scale.py --trials 300 --agents 4 --sqlite-trials 200 --sqlite-agents 4 \
        --hosts 6 --host-trials 60                          a small try

A trivial objective (8 parameters, 4 reports), so that everything measured is the tuner's own. It prints the
tables of docs/benchmarks.md, and `--write` stores them for that page:

1. PostgreSQL (a server of its own on this machine) and SQLite: trials lost and duplicated, and what a trial
   costs around trial 100 and around the last.
2. The parts of that cost, each alone in one process, with 100 and with all trials finished.
3. Simulated hosts (names and boots of their own) that join, leave in order, or are killed: lost, duplicated.

A trial is duplicated where its configuration was finished twice, or one more than wanted is finished. It is
lost where one is missing, or RUNNING or WAITING after the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import figures
import numpy as np
import optuna
from measure import now
from optuna.trial import Trial
from reliability.bench import doubled
from scale.hosts import REPORTS, run_hosts
from temporary_postgres import TemporaryPostgres, binaries
from trivial import NAME, finished, opened, run_study, write_study

from tuner.search import samplers
from tuner.storage.access import open_records
from tuner.storage.allocate import Allocator
from tuner.storage.leases import Observer, Owner

EARLY = 100  # finished trials at which costs are compared with those at the end
PARTS = (
    "allocation: look for dead agents, count trials, claim one",
    "loading: trials that other agents finished in the meantime",
    "suggestion by TPE, and storing it",
    "four reports and the end",
)


class Accounts(NamedTuple):
    """Trials lost, trials doubled, and when each complete one ended, in order."""

    lost: int
    doubled: int
    ends: list[datetime]


def accounts(url: str, folder: Path, wanted: int) -> Accounts:
    """What became of a study of so many trials."""
    trials = optuna.load_study(study_name=NAME, storage=open_records(url)).get_trials(deepcopy=False)
    states = Counter(trial.state.name for trial in trials)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    lost = max(0, wanted - len(complete)) + states["RUNNING"] + states["WAITING"]
    twice = max(0, len(complete) - wanted) + doubled(trial.number for trial in trials)
    twice += doubled(repr(trial.params["x0"]) for trial in complete)
    # one whose agent was killed between its last line and its end in the storage runs again, rightly
    again = sum(1 for trial in trials if trial.user_attrs.get("agent_lost"))
    twice += max(0, len(finished(folder)) - len(complete) - again)
    return Accounts(lost, twice, sorted(t.datetime_complete for t in complete if t.datetime_complete))


def pace(ends: list[datetime]) -> float:
    """Seconds between ends, on average."""
    return (ends[-1] - ends[0]).total_seconds() / (len(ends) - 1)


def study(lines: figures.Lines, storage: str, url: str, folder: Path, trials: int, agents: int) -> bool:
    """Adds a row for a whole study, with ms of one agent a trial; True if it went wrong."""
    write_study(folder, trials, reports=REPORTS)
    began = time.perf_counter()
    run_study(folder, agents, TUNER_STORAGE=url)
    seconds = time.perf_counter() - began
    found = accounts(url, folder, trials)
    window = min(EARLY, trials // 4)
    early, late = found.ends[window // 2 : window // 2 + window], found.ends[-window:]
    before, after = 1000 * agents * pace(early), 1000 * agents * pace(late)
    costs = (f"{trials / seconds:.1f}", f"{before:.0f}", f"{after:.0f}", f"{after / before:.2f}")
    lines.row(storage, agents, f"{trials:,}", found.lost, found.doubled, *costs)
    return bool(found.lost or found.doubled)


def parts(url: str, folder: Path, done: int, *, repeats: int = 12) -> tuple[np.ndarray, float]:
    """What a trial costs in a study of so many finished trials, in ms.

    Returns:
        `(part, clock or processor)`: medians of PARTS, each alone in this process; and a first reading.
    """
    file, records, study = opened(folder, url, done, reports=REPORTS)
    other = open_records(url)
    study.sampler = samplers.make(file, 0)
    theirs = optuna.load_study(study_name=study.study_name, storage=other)
    allocator = Allocator(study, owner=Owner.this_process(), observer=Observer(), total=None)
    began = time.perf_counter()
    study.get_trials(deepcopy=False)
    first = 1000 * (time.perf_counter() - began)
    times = []
    for _ in range(repeats):
        foreign = other.claim(study._study_id, user_attrs={})
        file.space.suggest(Trial(theirs, foreign._trial_id))
        theirs.tell(foreign.number, 1.0)
        row = [now()]
        claimed = allocator.next()
        row.append(now())
        study.get_trials(deepcopy=False)
        row.append(now())
        trial = Trial(study, claimed._trial_id)
        file.space.suggest(trial)
        records.flush(claimed._trial_id)
        row.append(now())
        for epoch in range(REPORTS):
            trial.report(0.5, epoch + 1)
        study.tell(trial, 1.0)
        times.append([*row, now()])
    return 1000 * np.median(np.diff(times[2:], axis=1), axis=0), first


def report_studies(server: TemporaryPostgres, options: argparse.Namespace, folder: Path) -> bool:
    lines = figures.Lines()
    numbers = (
        "agents",
        "trials",
        "lost",
        "duplicated",
        "trials/s",
        "ms per trial at 100",
        "at the end",
        "ratio",
    )
    lines.head("storage", *numbers)
    runs = {
        "PostgreSQL": (server.url("scale"), options.trials, options.agents),
        "SQLite": (f"sqlite:///{folder}/SQLite/studies.db", options.sqlite_trials, options.sqlite_agents),
    }
    bad = False
    for storage, (url, trials, agents) in runs.items():
        (folder / storage).mkdir()
        bad |= study(lines, storage, url, folder / storage, trials, agents)
    store("study", {"studies": lines}, options)
    return bad


def report_parts(server: TemporaryPostgres, options: argparse.Namespace, folder: Path) -> bool:
    sizes = (EARLY, options.trials)
    few, many = (parts(server.url(f"parts_{size}"), folder, size) for size in sizes)
    lines = figures.Lines()
    heads = [*(f"{size:,} trials" for size in sizes), *(f"CPU at {size:,}" for size in sizes)]
    lines.head("ms per trial, one agent, PostgreSQL", *heads)
    costs = np.stack([few[0], many[0]]).transpose(1, 2, 0).reshape(len(PARTS), 4)  # as the columns
    sums = costs.sum(axis=0)
    for name, row in zip((*PARTS, "sum"), (*costs, sums), strict=True):
        lines.row(name, *(f"{cost:.1f}" for cost in row))
    lines.row("once, when an agent starts: reading all trials", f"{few[1]:.0f}", f"{many[1]:.0f}", "", "")
    growth = {"growth": f"{sums[1] / sums[0]:.2f}", "growth_cpu": f"{sums[3] / sums[2]:.2f}"}
    store("parts", {"parts": lines, **growth}, options)
    return False


def report_hosts(server: TemporaryPostgres, options: argparse.Namespace, folder: Path) -> bool:
    url = server.url("hosts")
    count = run_hosts(url, folder, hosts=options.hosts, trials=options.host_trials)
    found = accounts(url, folder, options.host_trials)
    lines = figures.Lines()
    heads = ("hosts at a time", "trials", "joined", "left properly", "killed", "lost", "duplicated")
    lines.head(*heads, words=())
    moves = (count["joined"], count["left"], count["killed"])
    lines.row(options.hosts, options.host_trials, *moves, found.lost, found.doubled)
    store("hosts", {"hosts": lines}, options)
    return bool(found.lost or found.doubled)


def store(part: str, found: dict[str, figures.Value], options: argparse.Namespace) -> None:
    """Stores the figures of a part, with --write."""
    print()
    if options.write:
        values = {f"scale.{key}": value for key, value in found.items()}
        figures.record(values, command=f"python benchmarks/bench_scale.py --only {part}")


def main() -> int:
    parser = figures.parser(__doc__)
    parser.add_argument("--trials", type=int, default=5000, help="on PostgreSQL (default: 5000)")
    parser.add_argument("--agents", type=int, default=16, help="on PostgreSQL (default: 16)")
    parser.add_argument("--sqlite-trials", type=int, default=2000, help="(default: 2000)")
    parser.add_argument("--sqlite-agents", type=int, default=8, help="(default: 8)")
    parser.add_argument("--hosts", type=int, default=32, help="at work at any time (default: 32)")
    parser.add_argument("--host-trials", type=int, default=600, help="(default: 600)")
    reports = {"study": report_studies, "parts": report_parts, "hosts": report_hosts}
    parser.add_argument("--only", choices=reports, action="append", help="a part of it (default: all)")
    options = parser.parse_args()
    if binaries() is None:
        print("needs PostgreSQL's programs (apt install postgresql)", file=sys.stderr)
        return 2
    bad = False
    with TemporaryPostgres(connections=40 + 4 * max(options.agents, options.hosts)) as server:
        print(f"{os.cpu_count()} cores; PostgreSQL and the agents on one machine\n", flush=True)
        for part in options.only or reports:
            with tempfile.TemporaryDirectory() as folder:
                bad |= reports[part](server, options, Path(folder))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
