"""Records learning curves, once, for bench_arena.py to replay: of our model and of two small trainings.

    python benchmarks/record_curves.py --data data/mill    # our model: 25 minutes of two cores
    python benchmarks/record_curves.py --world digits      # a small network on digits: a minute
    python benchmarks/record_curves.py --world boosting    # gradient boosting: two minutes

A recording may be interrupted: the same command goes on.

Configurations are quasi-random points of the world's space (benchmarks/data/WORLD.yaml): they fill it evenly.
A line of benchmarks/data/WORLD.json is one run: its parameters, the metric after each epoch, and seconds an
epoch. Our model's world is called `curves`. The data of the small trainings comes with scikit-learn: its
digits, and the problem of Hastie et al. (2009), equation 10.2, on which boosting is usually shown.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from arena.worlds import FOLDER, NAMES

from tuner.base.errors import TrainingFailed
from tuner.definition.loading import load_study_file
from tuner.search import samplers

TRAINED_ON = 400  # of the 1,797 digits: with more, most configurations are as good as each other
ROUNDS = 8  # trees that count as an epoch


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
    done = json.loads(curves.read_text()) if curves.exists() else []
    for number, run in enumerate(done):
        assert run["params"] == configs[number], f"{curves}: run {number} is of another space; remove it"
    train: Callable[..., list[float]] = digits if world == "digits" else boosting
    if data is not None:
        train = functools.partial(ours, data=data, metric=study.metric.name)
    timed_run = functools.partial(timed, train=train, epochs=study.max_epochs or 0)
    rest = configs[len(done) :]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for config, (values, seconds) in zip(rest, pool.map(timed_run, rest), strict=True):
            done.append({"params": config, "values": values, "seconds": seconds})
            beside = curves.with_suffix(".partial")
            beside.write_text("[\n" + ",\n".join(json.dumps(run) for run in done) + "\n]\n")
            beside.replace(curves)
            print(f"{len(done)}: {values[-1]:.3f} after {len(values)} epochs of {seconds} s", flush=True)


def timed(
    config: dict[str, Any], *, train: Callable[..., list[float]], epochs: int
) -> tuple[list[float], float]:
    """The metric after each epoch, and seconds an epoch. Equal configurations have equal curves."""
    began = time.monotonic()
    values = train(config, epochs, seed=zlib.crc32(json.dumps(config).encode()))
    return values, round((time.monotonic() - began) / epochs, 4)


def ours(config: dict[str, Any], epochs: int, *, seed: int, data: Path, metric: str) -> list[float]:
    """The metric of our model after each epoch, 0 from where training failed. It has a seed of its own."""
    import torch

    from model.trainer import train

    torch.set_num_threads(1)
    values: list[float] = []
    try:
        train(
            {**config, "epochs": epochs},
            lambda _, metrics: values.append(round(metrics[metric], 5)),
            data=data,
        )
    except TrainingFailed:
        values += [0.0] * (epochs - len(values))
    return values


def digits(config: Mapping[str, Any], epochs: int, seed: int) -> list[float]:
    """Accuracy of a small network on scikit-learn's digits, after each epoch."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    torch.manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x = torch.tensor(images[order] / 16, dtype=torch.float32)
    y = torch.tensor(labels[order])
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    layers: list[nn.Module] = []
    inputs, width = 64, 2 ** config["log2_width"]
    for _ in range(config["layers"]):
        layers += [nn.Linear(inputs, width), kinds[config["activation"]](), nn.Dropout(config["dropout"])]
        inputs = width
    network = nn.Sequential(*layers, nn.Linear(inputs, 10))
    optimizers = {
        "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
        "rmsprop": torch.optim.RMSprop,
        "adam": torch.optim.Adam,
    }
    settings = {"lr": config["learning_rate"], "weight_decay": config["weight_decay"]}
    optimizer = optimizers[config["optimizer"]](network.parameters(), **settings)
    values = []
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(TRAINED_ON).split(config["batch_size"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = (network(x[TRAINED_ON:]).argmax(1) == y[TRAINED_ON:]).float().mean()
        values.append(round(float(right), 5))
    return values


def boosting(config: Mapping[str, Any], epochs: int, seed: int) -> list[float]:
    """Log loss of gradient boosting on Hastie's problem, after each ROUNDS trees; overfitting raises it."""
    from sklearn.datasets import make_hastie_10_2
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import log_loss

    x, y = make_hastie_10_2(4000, random_state=0)
    settings = {name: value for name, value in config.items() if name != "log2_leaves"}
    model = HistGradientBoostingClassifier(
        **settings,
        max_leaf_nodes=2 ** config["log2_leaves"],
        max_iter=ROUNDS * epochs,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(x[:1000], y[:1000])
    staged = [log_loss(y[1000:], proba[:, 1]) for proba in model.staged_predict_proba(x[1000:])]
    return [round(float(loss), 5) for loss in staged[ROUNDS - 1 :: ROUNDS]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--world", choices=NAMES, default="curves", help="default: our model's")
    parser.add_argument("--data", type=Path, help="our model's data set")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if (options.world == "curves") != (options.data is not None):
        parser.error("--data goes with the world `curves`, and only with it")
    record(options.world, options.data, processes=options.processes)
