"""Records learning curves of our model, once, for bench_anytime.py to replay.

    python benchmarks/record_curves.py --data data/mill   # about 25 minutes of two cores; may be interrupted

Configurations are quasi-random points of benchmarks/data/curves.yaml: they fill its space evenly. A line
of benchmarks/data/curves.json is one run: its parameters, the metric after each epoch, and seconds an epoch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from tuner.base.errors import TrainingFailed
from tuner.definition.loading import load_study_file
from tuner.search import samplers

FOLDER = Path(__file__).parent / "data"


def record(data: Path, curves: Path, *, processes: int) -> None:
    """Trains what is not in `curves` yet, and writes the file after each run."""
    study = load_study_file(FOLDER / "curves.yaml")
    drawn = optuna.create_study(sampler=samplers.make(study, 0))
    configs = []
    for _ in range(study.run_cap or 0):
        trial = drawn.ask()
        configs.append(study.space.suggest(trial))
        drawn.tell(trial, 0.0)
    done = read(curves)
    for number, run in enumerate(done):
        assert run["params"] == configs[number], f"{curves}: run {number} is of another space; remove it"
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        metric, epochs = study.metric.name, study.max_epochs or 0
        rest = configs[len(done) :]
        for config, (values, seconds) in zip(
            rest, pool.map(partial(curve, data=data, metric=metric, epochs=epochs), rest), strict=True
        ):
            done.append({"params": config, "values": values, "seconds": seconds})
            write(curves, done)
            print(f"{len(done)}: {values[-1]:.3f} after {len(values)} epochs of {seconds} s", flush=True)


def curve(config: dict[str, Any], *, data: Path, metric: str, epochs: int) -> tuple[list[float], float]:
    """The metric after each epoch, 0 from where training failed, and seconds an epoch."""
    import torch

    from model.trainer import train

    torch.set_num_threads(1)
    values: list[float] = []
    began = time.monotonic()
    try:
        train(
            {**config, "epochs": epochs},
            lambda _, metrics: values.append(round(metrics[metric], 5)),
            data=data,
        )
    except TrainingFailed:
        values += [0.0] * (epochs - len(values))
    return values, round((time.monotonic() - began) / len(values), 2)


def read(curves: Path) -> list[dict[str, Any]]:
    """The recorded runs; none where there is no file yet."""
    return json.loads(curves.read_text()) if curves.exists() else []


def write(curves: Path, runs: list[dict[str, Any]]) -> None:
    """One run a line, in one step."""
    beside = curves.with_suffix(".partial")
    beside.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n")
    beside.replace(curves)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    record(options.data, FOLDER / "curves.json", processes=options.processes)
