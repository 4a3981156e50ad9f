"""The scenario of size: the commands that read a study, with 2,500 and with 10,000 trials in it."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from reliability.bench import Bench, Outcome
from reliability.processes import environment, start
from trivial import fill

from tuner.definition.loading import load_study_file
from tuner.storage import study_store
from tuner.storage.access import open_records

SIZES = (2_500, 10_000)
QUADRATIC = 8.0  # times the processor time at four times the trials; in proportion it is 4
MOST_MEMORY = 2_000  # MiB of one command
COMMANDS = {  # the last runs one trial more, and so all that an agent reads
    "list": "list",
    "status": "status reliability",
    "best": "best reliability",
    "export": "export reliability",
    "doctor": "doctor",
    "report": "report reliability --output report.html",
    "study, 1 trial": "study reliability.yaml --agents 1 --wandb off",
}


def many_trials(folder: Path) -> Outcome:
    """Runs every command at both sizes; processor time must not grow much faster than the trials."""
    spent: dict[str, list[float]] = {}
    problems, largest = [], 0.0
    for size in SIZES:
        bench = Bench(folder / str(size), trials=size + 1)
        (bench.folder / "results").mkdir()
        records = open_records(bench.url, create=True)
        study = study_store.open_study(
            records,
            load_study_file(bench.file),
            study_store.Origin({}),
            results=bench.folder / "results",
        )
        dice = random.Random(0)
        fill(records, study, (_trial(dice) for _ in range(size)))
        for name, words in COMMANDS.items():
            process = start([sys.executable, "-m", "tuner", *words.split()], bench.folder, environment())
            _, status, usage = os.wait4(process.pid, 0)
            spent.setdefault(name, []).append(usage.ru_utime + usage.ru_stime)
            largest = max(largest, usage.ru_maxrss / 1024)
            if status or "Traceback" in bench.output():
                problems.append(f"{name} of {size}: wait status {status} {bench.output()[-300:]}")
        problems += bench.problems()
    for name, (few, many) in spent.items():
        if many > QUADRATIC * few:
            problems.append(f"{name}: {few:.1f} s at {SIZES[0]} trials, {many:.1f} s at {SIZES[1]}")
    if largest > MOST_MEMORY:
        problems.append(f"{largest:.0f} MiB")
    shown = ", ".join(f"{name} {few:.1f} → {many:.1f}" for name, (few, many) in spent.items())
    words = f"{SIZES[0]} → {SIZES[1]} trials, processor seconds: {shown}; at most {largest:.0f} MiB"
    return Outcome(problems, words)


def _trial(dice: random.Random) -> FrozenTrial:
    """A trial of the study: four in ten are complete, the others were pruned at the first rung."""
    x, complete = dice.random(), dice.random() < 0.4
    epochs = 6 if complete else 1
    return create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        params={"x": x},
        distributions={"x": FloatDistribution(0.0, 1.0)},
        value=x * epochs / 6,
        intermediate_values={epoch: x * epoch / 6 for epoch in range(1, epochs + 1)},
        user_attrs={"metrics": {"score": x}},
    )
