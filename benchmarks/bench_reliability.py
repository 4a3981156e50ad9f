"""Does a study survive what machines do to it? Real processes, a fast objective, random kills.

    python benchmarks/bench_reliability.py                 every scenario, 200 SIGKILLs on each database
    python benchmarks/bench_reliability.py --kills 20 kills two_studies

Each scenario prints one line: passed or not, and its figures. Exit status 1 when one did not pass. Scenarios
that need a small file system mount a tmpfs and are skipped where that is not allowed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

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
    options = parser.parse_args()
    bad = 0
    for name in options.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            more = {"kills": options.kills} if name.startswith("kills") else {}
            outcome = SCENARIOS[name](Path(folder) / name, **more)
        word = "skipped" if outcome.skipped else "passed" if not outcome.problems else "FAILED"
        print(f"{name:15} {word:8} {outcome.figures} {'; '.join(outcome.problems)}".rstrip(), flush=True)
        bad += bool(outcome.problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
