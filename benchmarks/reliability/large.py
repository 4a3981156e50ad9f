"""The scenario of size: 10,000 trials in a storage."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

from reliability.bench import ROOT, Bench, Outcome

SIZES = (2_500, 10_000)
QUADRATIC = 8.0  # times the processor time at four times the trials; in proportion it is 4
MOST_MEMORY = 2_000  # MiB of one command
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
spent = used.ru_utime + used.ru_stime
print(json.dumps([done.returncode, spent, used.ru_maxrss / 1024, done.stderr[-2000:]]))
"""


def run_measured(words: list[str], folder: Path) -> tuple[int, float, float, str]:
    """Exit status, processor seconds, MiB and standard error of a command of the tuner."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    status, seconds, memory, said = json.loads(done.stdout)
    return int(status), float(seconds), float(memory), str(said)


def many_trials(folder: Path, *, sizes: tuple[int, int] = SIZES) -> Outcome:
    """The commands that read a study, with 2,500 and with 10,000 trials in it."""
    spent: dict[str, list[float]] = {}
    problems, largest = [], 0.0
    for size in sizes:
        bench = Bench(folder / str(size), trials=size + 1)
        (bench.folder / "results").mkdir()
        fill(bench, size)
        for name, words in commands(bench).items():
            status, seconds, memory, said = run_measured(words, bench.folder)
            spent.setdefault(name, []).append(seconds)
            largest = max(largest, memory)
            if status or "Traceback" in said:
                problems.append(f"{name} of {size}: exit status {status} {said[-300:]}")
        problems += bench.problems()
    for name, (few, many) in spent.items():
        if many > QUADRATIC * few:
            problems.append(f"{name}: {few:.1f} s at {sizes[0]} trials, {many:.1f} s at {sizes[1]}")
    if largest > MOST_MEMORY:
        problems.append(f"{largest:.0f} MiB")
    shown = ", ".join(f"{name} {few:.1f} → {many:.1f}" for name, (few, many) in spent.items())
    return Outcome(
        problems, f"{sizes[0]} → {sizes[1]} trials, processor seconds: {shown}; at most {largest:.0f} MiB"
    )


def commands(bench: Bench) -> dict[str, list[str]]:
    """The commands, by name. The last runs one trial more, and so all that an agent reads."""
    file = f"{bench.name}.yaml"
    return {
        "list": ["tuner", "list"],
        "status": ["tuner", "status", bench.name],
        "best": ["tuner", "best", bench.name],
        "export": ["tuner", "export", bench.name],
        "doctor": ["tuner", "doctor"],
        "report": ["tuner", "report", bench.name, "--output", "report.html"],
        "study, 1 trial": ["tuner", "study", file, "--agents", "1", "--wandb", "off"],
    }


def fill(bench: Bench, size: int) -> None:
    """Writes finished trials of the study straight into the tables."""
    from optuna.distributions import FloatDistribution, distribution_to_json

    from tuner.definition.loading import load_study_file
    from tuner.storage import study_store
    from tuner.storage.access import open_records
    from tuner.storage.optuna_private import study_id

    study = study_store.open_study(
        open_records(bench.url, create=True),
        load_study_file(bench.folder / f"{bench.name}.yaml"),
        study_store.Origin({}),
        results=bench.folder / "results",
    )
    dice, number = random.Random(0), study_id(study)
    distribution = distribution_to_json(FloatDistribution(0.0, 1.0))
    ids = range(1, size + 1)
    xs = [dice.random() for _ in ids]
    whole = [dice.random() < 0.4 for _ in ids]
    begun, ended = "2026-01-05 09:00:00.000000", "2026-01-05 09:10:00.000000"
    with contextlib.closing(sqlite3.connect(bench.folder / "results" / "studies.db")) as connection:
        connection.executemany(
            "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            ((i, i - 1, number, "COMPLETE" if whole[i - 1] else "PRUNED", begun, ended) for i in ids),
        )
        connection.executemany(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
            "VALUES (?, ?, ?, ?)",
            ((i, "x", xs[i - 1], distribution) for i in ids),
        )
        connection.executemany(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, 0, ?, 'FINITE')",
            ((i, xs[i - 1] if whole[i - 1] else xs[i - 1] / 6) for i in ids),
        )
        connection.executemany(
            "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, "
            "intermediate_value_type) VALUES (?, ?, ?, 'FINITE')",
            ((i, step, xs[i - 1] * step / 6) for i in ids for step in range(1, 7 if whole[i - 1] else 2)),
        )
        connection.executemany(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
            ((i, "metrics", json.dumps({"score": xs[i - 1]})) for i in ids),
        )
        connection.commit()
