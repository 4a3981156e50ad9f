"""Latency of networks per window, timed in turns, so that other load affects all of them equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from model.predictor import RunPredictor
from model.tokens import BOS

ROUNDS = 9
WINDOWS = 64


def fastest(calls: Sequence[Callable[[], object]], *, rounds: int = ROUNDS) -> list[float]:
    """Milliseconds of each call: the fastest of `rounds`; each round runs all of them once."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            began = time.perf_counter()
            call()
            best[i] = min(best[i], 1000 * (time.perf_counter() - began))
    return best


def milliseconds_per_window(runs: Sequence[Path]) -> list[float]:
    """Milliseconds per window of encoding and one decoding step, per run folder; needs no data.

    Raises:
        InputError: a folder has no readable network.
    """
    calls = [_step(RunPredictor.load(run)) for run in runs]
    return [each / WINDOWS for each in fastest(calls)]


def _step(predictor: RunPredictor) -> Callable[[], object]:
    config, network = predictor.config, predictor.network
    rows = config.context_before + config.window + config.context_after
    channels = len(predictor.channels) + 3 * config.machine_position
    x = torch.zeros(WINDOWS, rows, channels, device=predictor.device)
    tokens = torch.full((WINDOWS,), BOS, device=predictor.device)

    @torch.inference_mode()
    def call() -> object:
        return network.decoder.step(network.decoder.begin(network.encode(x)), tokens)

    return call
