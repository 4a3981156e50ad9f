"""Does a study survive what machines do to it? Real processes, a fast objective, random kills.

    python benchmarks/bench_reliability.py                 every scenario, 200 SIGKILLs on each database
    python benchmarks/bench_reliability.py --kills 20 kills two_studies

Each scenario prints one line: passed or not, and its figures. Exit status 1 when one did not pass. Scenarios
that need a small file system mount a tmpfs and are skipped where that is not allowed. `--write` stores the
lines for the docs.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import figures
from reliability.bench import Outcome
from reliability.kills import (
    fresh_database,
    grid,
    kill_many,
    kills_paused,
    kills_postgresql,
    sigterm,
    stopped_agent,
    two_studies,
)
from reliability.machine import clock_jump, disk_full, read_only, torn_metrics

SCENARIOS: dict[str, Callable[..., Outcome]] = {
    "kills": kill_many,
    "kills_paused": kills_paused,
    "kills_postgresql": kills_postgresql,
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="(default: all)")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="store the figures for the docs")
    options = parser.parse_args()
    bad = 0
    for name in options.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            more = {"kills": options.kills} if name.startswith("kills") else {}
            outcome = SCENARIOS[name](Path(folder) / name, **more)
        word = "skipped" if outcome.skipped else "passed" if not outcome.problems else "FAILED"
        print(f"{name:15} {word:8} {outcome.figures} {'; '.join(outcome.problems)}".rstrip(), flush=True)
        if options.write and not outcome.skipped:
            kills = f"--kills {options.kills} " if more else ""
            command = f"python benchmarks/bench_reliability.py {kills}{name}"
            line = f"{name} {word} {outcome.figures}"
            figures.record(stored(name, command, line), command=command)
        bad += bool(outcome.problems)
    return 1 if bad else 0


def stored(scenario: str, command: str, line: str) -> dict[str, figures.Value]:
    """The command and line of a scenario; its numbers by the word after them (`reliability.kills_lost`)."""
    shown = ["```text", f"$ {command}", *textwrap.wrap(line, 110, subsequent_indent="  "), "```"]
    pairs = re.findall(r"(\d+) (\w+)", line)
    numbers = {f"reliability.{scenario}_{word}": number for number, word in pairs}
    return {f"reliability.{scenario}": shown, **numbers}


if __name__ == "__main__":
    sys.exit(main())
