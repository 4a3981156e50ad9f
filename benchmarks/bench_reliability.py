"""Does a study survive what machines do to it? Real processes, a fast objective, random kills.

    python benchmarks/bench_reliability.py                 every scenario, over 500 SIGKILLs in all
    python benchmarks/bench_reliability.py --kills 20 kills stopped_agent

Each scenario prints one line: passed or not, and its figures. Exit status 1 when one did not pass. `--write`
stores the lines for the docs.
"""

from __future__ import annotations

import re
import sys
import tempfile
import textwrap
from collections import Counter
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
KILLS = {"kills": 100, "kills_paused": 100, "kills_scripts": 80, "kills_postgresql": 95, "kills_remote": 80,
         "kills_dask": 30, "kills_ray": 80, "optuna": 20, "ray_tune": 5}  # fmt: skip
TOLD = ("kills", "trials", "lost", "duplicated", "orphans", "blocked")


def main() -> int:
    parser = figures.parser(__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        choices=[*SCENARIOS, *OTHERS, []],
        help="(default: all but those of other tuners, optuna and ray_tune)",
    )
    parser.add_argument(
        "--kills", type=int, help=f"in each scenario that kills (default: {min(KILLS.values())} to 100)"
    )
    parser.add_argument("--every", type=int, default=1, help="faults: each N-th write fails (default: all)")
    options = parser.parse_args()
    bad = 0
    for name in options.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            more = {"kills": options.kills or KILLS[name]} if name in KILLS else {}
            more |= {"every": options.every} if name == "faults" and options.every > 1 else {}
            outcome = {**SCENARIOS, **OTHERS}[name](Path(folder) / name, **more)
        word = "skipped" if outcome.skipped else "passed" if not outcome.problems else "FAILED"
        print(f"{name:15} {word:8} {outcome.figures} {'; '.join(outcome.problems)}".rstrip(), flush=True)
        if options.write and not outcome.skipped:
            given = "".join(f"--{option} {value} " for option, value in more.items())
            command = f"python benchmarks/bench_reliability.py {given}{name}"
            line = f"{name} {word} {outcome.figures}"
            figures.record({f"reliability.{name}": shown(command, line)}, command=command)
            figures.record(totals(), command="python benchmarks/bench_reliability.py")
        bad += bool(outcome.problems)
    return 1 if bad else 0


def shown(command: str, line: str) -> list[str]:
    """The command and line of a scenario, as a terminal has them."""
    return ["```text", f"$ {command}", *textwrap.wrap(line, 110, subsequent_indent="  "), "```"]


def totals() -> dict[str, figures.Value]:
    """Sums over the stored lines of all scenarios that kill our own processes."""
    found, kept = Counter[str](), figures.load()
    for name in SCENARIOS:
        if name in KILLS and f"reliability.{name}" in kept:
            pairs = re.findall(r"(\d+)\s+(\w+)", " ".join(kept[f"reliability.{name}"]["lines"][2:]))
            found.update({word: int(number) for number, word in pairs if word in TOLD})
    return {f"reliability.all_{word}": f"{found[word]:,}" for word in TOLD}


if __name__ == "__main__":
    sys.exit(main())
