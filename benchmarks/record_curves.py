"""Records learning curves, once, for bench_anytime.py to replay: of our model and of two small trainings.

    python benchmarks/record_curves.py --data data/mill    # our model: 25 minutes of two cores
    python benchmarks/record_curves.py --world digits      # a small network on digits: a minute
    python benchmarks/record_curves.py --world boosting    # gradient boosting: two minutes

A recording may be interrupted: the same command goes on.

Configurations are quasi-random points of the world's space (benchmarks/data/WORLD.yaml): they fill it evenly.
A line of benchmarks/data/WORLD.json is one run: its parameters, the metric after each epoch, and seconds an
epoch. Our model's world is called `curves`.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import optuna

from tuner.base.errors import TrainingFailed
from tuner.definition.loading import load_study_file
from tuner.search import samplers

sys.path[:0] = [str(Path(__file__).parent / "anytime")]

import small_worlds  # noqa: E402

FOLDER = Path(__file__).parent / "data"
Run = tuple[list[float], float]  # the metric after each epoch, and seconds an epoch


def record(world: str, data: Path | None, *, processes: int) -> None:
    """Trains what is not in the world's file yet, and writes the file after each run."""
    study = load_study_file(FOLDER / f"{world}.yaml")
    curves = FOLDER / f"{world}.json"
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
        epochs = study.max_epochs or 0
        rest = configs[len(done) :]
        if data is None:
            train = functools.partial(small, world=world, epochs=epochs)
        else:
            train = functools.partial(curve, data=data, metric=study.metric.name, epochs=epochs)
        for config, (values, seconds) in zip(rest, pool.map(train, rest), strict=True):
            done.append({"params": config, "values": values, "seconds": seconds})
            write(curves, done)
            print(f"{len(done)}: {values[-1]:.3f} after {len(values)} epochs of {seconds} s", flush=True)


def small(config: dict[str, Any], *, world: str, epochs: int) -> Run:
    """A run of one of the small trainings; equal configurations have equal curves."""
    began = time.monotonic()
    values = getattr(small_worlds, world)(config, epochs, seed=zlib.crc32(json.dumps(config).encode()))
    return values, round((time.monotonic() - began) / epochs, 4)


def curve(config: dict[str, Any], *, data: Path, metric: str, epochs: int) -> Run:
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
    worlds = ("curves", *small_worlds.DEFAULTS)
    parser.add_argument("--world", choices=worlds, default="curves", help="default: our model's")
    parser.add_argument("--data", type=Path, help="our model's data set")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if (options.world == "curves") != (options.data is not None):
        parser.error("--data goes with the world `curves`, and only with it")
    record(options.world, options.data, processes=options.processes)
