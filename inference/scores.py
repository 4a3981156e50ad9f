"""What a trial on a bundle measures: exact lines of a decoder, or the likelihood of stored predictions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from inference.calibrate import read_samples
from inference.options import neutral
from inference.scaling import Scaling
from inference.workbench import Workbench, options_of
from model.tokens import HEADS
from tuner.base.run_folder import Report

TEMPERATURES = "temperatures"


def score(config: Mapping[str, Any], report: Report, *, bundle: Path) -> dict[str, float]:
    """Metrics of a configuration on the bundle's part `calibrate`; it may name `data`.

    A configuration with temperatures by head and no method asks for calibrated probabilities, not for lines.
    """
    if TEMPERATURES in config and "method" not in config:
        return _likelihood(bundle)(config, report)
    return _lines(bundle, config.get("data"))(config, report)


@lru_cache(maxsize=2)  # the networks run once in an agent, however many trials it has
def _lines(bundle: Path, data: str | None) -> Lines:
    return Lines(Workbench(bundle, data=None if data is None else Path(data)))


@lru_cache(maxsize=2)
def _likelihood(bundle: Path) -> Likelihood:
    return Likelihood(bundle)


class Lines:
    """Exact lines and right commands of a decoder."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench

    def __call__(self, config: Mapping[str, Any], report: Report) -> dict[str, float]:
        options = options_of(config)
        right = self.bench.right(options)
        words = [
            [word for word in line.split() if word[0] in "GMT"]
            for lines in (self.bench.lines(options), self.bench.truth)
            for line in lines
        ]
        half = len(words) // 2
        same = [a == b for a, b in zip(words[:half], words[half:], strict=True)]
        metrics = {"val/exact_acc": float(right.mean()), "val/command_acc": float(np.mean(same))}
        report(0, metrics)
        return metrics


class Likelihood:
    """Negative log-likelihood of the stored predictions, in nats a token."""

    def __init__(self, folder: Path) -> None:
        self.samples = read_samples(folder, "calibrate")

    def __call__(self, config: Mapping[str, Any], report: Report) -> dict[str, float]:
        metrics = self.measure({**neutral(), **config[TEMPERATURES]})
        report(0, metrics)
        return metrics

    def measure(self, temperatures: Mapping[str, float]) -> dict[str, float]:
        """`val/nll` of all heads, and each head's own, which is a mean over its positions."""
        each = {head: self.samples[head].nll(Scaling(float(temperatures[head]))) for head in HEADS}
        total = sum(each[head] * len(self.samples[head]) for head in HEADS)
        tokens = len(self.samples["type"])
        return {"val/nll": total / max(1, tokens), **{f"val/nll_{head}": nll for head, nll in each.items()}}
