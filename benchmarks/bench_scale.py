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

import figures
from scale.hosts import run_hosts
from scale.parts import PARTS, parts
from scale.study import (
    EARLY,
    in_folder,
    run_study,
)
from temporary_postgres import TemporaryPostgres, binaries


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
    parser.add_argument("--write", action="store_true", help="store the tables for the docs")
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


class Table:
    """Lines of a Markdown table, printed as they come."""

    def __init__(self, *lines: str) -> None:
        self.lines: list[str] = []
        for line in lines:
            self.add(line)

    def add(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)

    def end(self, part: str, options: argparse.Namespace, **more: str) -> None:
        """Stores the table, with --write, and further figures of the part."""
        print(flush=True)
        if options.write:
            values = {f"scale.{part}": self.lines, **{f"scale.{key}": value for key, value in more.items()}}
            figures.record(values, command=f"python benchmarks/bench_scale.py --only {part}")


def report_studies(server: TemporaryPostgres, options: argparse.Namespace) -> bool:
    table = Table(
        "| storage | agents | trials | lost | duplicated | trials/s | ms per trial at 100 | at the end "
        "| ratio |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    )
    found = [
        in_folder(
            lambda folder: run_study(
                server.url("scale"), "PostgreSQL", folder, trials=options.trials, agents=options.agents
            )
        ),
    ]
    table.add(found[0].row())
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
    table.add(found[1].row())
    table.end("studies", options)
    return any(scale.lost or scale.doubled for scale in found)


def report_parts(server: TemporaryPostgres, options: argparse.Namespace) -> None:
    sizes = (EARLY, options.trials)
    columns = [
        in_folder(lambda folder, n=n: parts(server.url(f"parts_{n}"), folder, finished=n)) for n in sizes
    ]
    sizes_of = " | ".join(f"{size:,} trials" for size in sizes)
    cpu = " | ".join(f"CPU at {size:,}" for size in sizes)
    table = Table(
        f"| ms per trial, one agent, PostgreSQL | {sizes_of} | {cpu} |",
        "| --- |" + " --: |" * (2 * len(sizes)),
    )
    rows = [*zip(PARTS, *(c.wall for c in columns), *(c.cpu for c in columns), strict=True)]
    sums = [sum(part) for part in zip(*(row[1:] for row in rows), strict=True)]
    for name, *amounts in (*rows, ("sum", *sums)):
        table.add(f"| {name} | " + " | ".join(f"{figure:.1f}" for figure in amounts) + " |")
    firsts = " | ".join(f"{column.first:.0f}" for column in columns)
    table.add(f"| once, when an agent starts: reading all trials | {firsts} | | |")
    table.end("parts", options, growth=f"{sums[1] / sums[0]:.2f}", growth_cpu=f"{sums[3] / sums[2]:.2f}")


def report_hosts(server: TemporaryPostgres, options: argparse.Namespace) -> bool:
    found = in_folder(
        lambda folder: run_hosts(server.url("hosts"), folder, hosts=options.hosts, trials=options.host_trials)
    )
    table = Table(
        "| hosts at a time | trials | joined | left properly | killed | lost | duplicated |",
        "| --: | --: | --: | --: | --: | --: | --: |",
        found.row(),
    )
    table.end("hosts", options)
    return bool(found.lost or found.doubled)


if __name__ == "__main__":
    sys.exit(main())
