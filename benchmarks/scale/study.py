"""A whole study of many trials by several agents: what was lost, doubled, and what a trial cost."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = Path(__file__).resolve().parents[1]


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
    """Runs `tuner study` to its end."""
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
    extra = {"PYTHONPATH": f"{ROOT}{os.pathsep}{BENCHMARKS}", "OMP_NUM_THREADS": "1", "TUNER_STORAGE": url}
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


def in_folder(work: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return work(Path(folder))
