"""What a run writes when it ends: its result and, if complete, the network and its predictions."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.config import Config
from model.evaluate import evaluate, save_predictions
from model.network import Network, parameter_count
from model.run_files import PARTS, PREDICTIONS, SCALER, VOCABULARY, WEIGHTS
from model.task import Task
from model.tokens import BOS
from tuner.base.files import write_json

TIMED_WINDOWS, TIMED_ROUNDS = 64, 5


def described(network: Network, task: Task, config: Config) -> dict[str, Any]:
    """The content of `result.json` for every run, also pruned and failed ones."""
    return {
        "state": "",
        "metrics": {},
        "test_metrics": {},
        "best_epoch": -1,
        "parameters": parameter_count(network),
        "data": task.data.name,
        "data_hash": task.data.content_hash,
        "split_hash": task.split_hash,
        "track": config.track,
        "fit_on": config.fit_on,
        "seed": config.seed,
        "unknown_token_rate": {part: task.unknown_rate(part) for part in PARTS},
        "code_version": code_version(),
    }


def write_network(folder: Path, network: Network, task: Task, *, device: torch.device) -> dict[str, Any]:
    """Writes weights, vocabulary, scaler and the predictions of all parts but train.

    Returns:
        more entries of the result: `test_metrics` (only for reports) and `ms_per_window`.
    """
    outcomes = {part: evaluate(network, task, part, device=device) for part in PARTS}
    for part, outcome in outcomes.items():
        save_predictions(folder / PREDICTIONS / f"{part}.npz", outcome, task, part)
    write_json(folder / VOCABULARY, task.vocabulary.to_json())
    write_json(folder / SCALER, task.scaler.to_json())
    save_file(tensors(network, task), folder / WEIGHTS)
    return {
        "test_metrics": {f"test/{name}": value for name, value in outcomes["test"].metrics.items()},
        "ms_per_window": milliseconds_per_window(network, task, device=device),
    }


def tensors(network: Network, task: Task) -> dict[str, Tensor]:
    """All arrays that a predictor needs: the weights, and the templates of the registration."""
    found = {f"network.{name}": t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    if task.registration is not None:
        arrays = task.registration.to_arrays()
        found.update({f"registration.{name}": torch.from_numpy(array) for name, array in arrays.items()})
    return found


@torch.no_grad()
def milliseconds_per_window(network: Network, task: Task, *, device: torch.device) -> float:
    """Time per window of encoding and one decoding step: 64 windows, median of 5 rounds."""
    index = np.arange(min(TIMED_WINDOWS, len(task.parts["select"])))
    x, _ = task.source.windows(task.parts["select"], index)
    x, tokens = x.to(device), torch.full((len(index),), BOS, device=device)
    seconds = []
    for _ in range(TIMED_ROUNDS):
        began = time.perf_counter()
        network.decoder.step(network.decoder.begin(network.encode(x)), tokens)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) * 1000 / len(index)


def code_version() -> str:
    """The version of this package."""
    try:
        return version("optuna-sweeps")
    except PackageNotFoundError:
        return "unknown"
