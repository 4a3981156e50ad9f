"""Does a study survive what machines do to it? Real processes, a fast objective, random kills.

    python benchmarks/bench_reliability.py                 every scenario, 60 SIGKILLs in each that kills
    python benchmarks/bench_reliability.py --kills 20 kills stopped_agent

Each scenario prints one line: passed or not, and its figures. Exit status 1 when one did not pass. `--write`
stores the lines for the docs.
"""

from __future__ import annotations

import re
import sys
import tempfile
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import figures
from reliability.bench import Outcome
from reliability.faulty import faults
from reliability.kills import (
    fresh_database,
    kill_many,
    kills_on,
    kills_postgresql,
    kills_remote,
    stopped_agent,
)
from reliability.many import many_trials
from reliability.other_tuners import OPTUNA, RAY, killed
from reliability.wandb_away import wandb_away

SCENARIOS: dict[str, Callable[..., Outcome]] = {
    "kills": kill_many,
    "kills_paused": partial(kill_many, keeps=True),
    "kills_scripts": partial(kill_many, script=True),
    "kills_postgresql": kills_postgresql,
    "kills_remote": kills_remote,
    "kills_dask": partial(kills_on, executor="dask"),
    "kills_ray": partial(kills_on, executor="ray"),
    "fresh_database": fresh_database,
    "stopped_agent": stopped_agent,
    "faults": faults,
    "wandb_away": wandb_away,
    "many_trials": many_trials,
}
OTHERS: dict[str, Callable[..., Outcome]] = {
    "optuna": partial(killed, peer=OPTUNA, processes=4),
    "ray_tune": partial(killed, peer=RAY, processes=1),
}
ALONE = ("kills", "trials", "lost", "duplicated", "orphans")


def main() -> int:
    parser = figures.parser(__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        choices=[*SCENARIOS, *OTHERS, []],
        help="(default: all but those of other tuners, optuna and ray_tune)",
    )
    parser.add_argument("--kills", type=int, default=60, help="in each scenario that kills (default: 60)")
    parser.add_argument("--every", type=int, default=1, help="faults: each N-th write fails (default: all)")
    options = parser.parse_args()
    bad = 0
    for name in options.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            more = {"kills": options.kills} if name.startswith("kills") or name in OTHERS else {}
            more |= {"every": options.every} if name == "faults" and options.every > 1 else {}
            outcome = {**SCENARIOS, **OTHERS}[name](Path(folder) / name, **more)
        word = "skipped" if outcome.skipped else "passed" if not outcome.problems else "FAILED"
        print(f"{name:15} {word:8} {outcome.figures} {'; '.join(outcome.problems)}".rstrip(), flush=True)
        if options.write and not outcome.skipped:
            given = "".join(f"--{option} {value} " for option, value in more.items())
            command = f"python benchmarks/bench_reliability.py {given}{name}"
            line = f"{name} {word} {outcome.figures}"
            figures.record(stored(name, command, line), command=command)
        bad += bool(outcome.problems)
    return 1 if bad else 0


def stored(scenario: str, command: str, line: str) -> dict[str, figures.Value]:
    """The command and line of a scenario; of `kills` also its counts, each alone."""
    shown = ["```text", f"$ {command}", *textwrap.wrap(line, 110, subsequent_indent="  "), "```"]
    pairs = re.findall(r"(\d+) (\w+)", line)
    alone = ALONE if scenario == "kills" else ()
    numbers = {f"reliability.{scenario}_{word}": number for number, word in pairs if word in alone}
    return {f"reliability.{scenario}": shown, **numbers}


if __name__ == "__main__":
    sys.exit(main())
