"""How much the differences of a claim's pairs deviate, and whether another way to score a run reduces it.

    python benchmarks/bench_pairs.py --data data/mill [--pairs 20] [--keep FILE] [--write]

A pair is two runs of nine epochs with the same seed, as in a round of `study hypotheses`: they differ in many
parameters (`together`) or in one (`alone`), the same ones in all pairs, so the true difference is a constant.
Each run is scored in all ways at once and takes half a minute of processor time. `--keep` stores scores and
takes over those that are there; `--write` stores the figures of the docs.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import figures
import numpy as np
import torch

from model import evaluate as evaluation
from model.config import Config
from model.devices import place
from model.learner import Learner
from model.metrics import Forced, head_accuracies
from model.optimizers import WeightAverage
from model.task import Task, prepare
from model.windows import find_windows

SHORT = {"epochs": 9, "evaluate": "due", "warmup_epochs": 1}  # half a trial of 18 epochs
MANY: dict[str, tuple[Any, Any]] = {
    "oversampling_factor": (3, 1), "noise_std": (0.04, 0.02), "mixup_alpha": (0.2, 0.0), "shift_max": (0, 2),
    "warmup_type": ("cosine", "linear"), "encoder_layers": (1, 2), "decoder_layers": (2, 1),
    "reconstruction_weight": (0.0, 0.4), "loss_type": ("focal", "cross_entropy"),
    "param_value_weight": (2.0, 1.0), "command_weight": (1.0, 3.0),
}  # fmt: skip
PAIRS = {"together": MANY, "alone": {"command_weight": (3.0, 1.0)}}
FIRST_SEED = 2000
DENSE = 4  # rows from the start of one window to the next
LAST = 4  # epochs that are evaluated
DECAYS = (0.9, 0.98)  # `WeightAverage` limits it to 0.967 in 261 steps: a larger one is the same


class Averages(list[WeightAverage]):
    def update(self) -> None:
        for average in self:
            average.update()


def scores(learner: Learner, task: Task) -> dict[str, float]:
    """The accuracy of the network as it is on each set of windows."""
    outcome = evaluation.evaluate(learner.network, task, "dense", device=learner.device)
    forced, windows = evaluation.forced_choices(outcome, task.vocabulary), task.parts["dense"]
    first = np.array([r.start for r in task.data.recordings])[windows.recording]
    coarse = (windows.start - first) % learner.config.stride == 0
    select = np.isin(windows.recording, task.parts["select"].recording)
    sets = {"select": coarse & select, "select, dense": select}
    sets |= {"select and calibrate": coarse, "both, dense": coarse | ~coarse}
    found = {}
    for name, chosen in sets.items():
        here = chosen[forced.window]
        part = Forced(**{field: values[here] for field, values in vars(forced).items()})
        found[name] = head_accuracies(part, task.vocabulary)["overall_acc"]
    return found


def run(folder: Path, sides: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Trains one run; returns its accuracy by the way of scoring. The first is what a claim's run has."""
    config = Config.from_dict({**SHORT, **sides, "seed": seed})
    task = prepare(folder, config)
    held = np.unique(np.concatenate([task.parts[part].recording for part in ("select", "calibrate")]))
    if "dense" not in task.parts:
        task.parts["dense"] = find_windows(
            task.data, window=config.window, stride=DENSE, which=held, labels=task.labels
        )
    learner = Learner(config, task, place(config))
    learner.average = averages = Averages(WeightAverage(learner.network, d) for d in DECAYS)  # type: ignore
    ends: list[dict[str, float]] = []
    for epoch in range(config.epochs):
        learner.train_epoch(epoch)
        ends = [scores(learner, task), *ends] if epoch >= config.epochs - LAST else ends
    found = {f"{part}: at the end": value for part, value in ends[0].items()}
    for k in range(2, LAST + 1):
        found |= {f"{part}: mean of {k} epochs": fmean(e[part] for e in ends[:k]) for part in ends[0]}
    for decay, average in zip(DECAYS, averages, strict=True):
        with average.applied():
            known = scores(learner, task)
        found |= {f"{part}: averaged weights, {decay}": value for part, value in known.items()}
    return found


def compared(lines: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """The table of deviations, and the number of pairs of each kind."""
    found = {(line["set"], line["side"], line["seed"]): line["scores"] for line in lines}
    seeds = [
        s for s in sorted({s for *_, s in found}) if all((n, k, s) in found for n in PAIRS for k in (0, 1))
    ]
    draws = np.random.default_rng(0).integers(0, len(seeds), (4000, len(seeds)))
    table = figures.Lines()
    heads = [(f"{name}: difference", "deviation", "… over that of the first row") for name in PAIRS]
    table.head("scored on", *itertools.chain(*heads))
    first, *_ = ways = list(found["together", 0, seeds[0]])
    for way in ways:
        cells = []
        for name in PAIRS:
            gap, today = (
                np.array([found[name, 0, s][w] - found[name, 1, s][w] for s in seeds]) for w in (way, first)
            )
            ratios = gap[draws].std(1, ddof=1) / np.maximum(today[draws].std(1, ddof=1), 1e-9)
            low, high = np.quantile(ratios, (0.025, 0.975))
            ratio = f"{gap.std(ddof=1) / today.std(ddof=1):.2f} [{low:.2f}, {high:.2f}]"
            cells += [f"{gap.mean():+.4f}", f"{gap.std(ddof=1):.4f}", "" if way == first else ratio]
        table.row(way, *cells)
    return table, len(seeds)


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="file of scores, one run a line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    evaluation.KEPT = 1 << 30  # the features of the dense part are computed once
    kept = options.keep.read_text().splitlines() if options.keep and options.keep.exists() else []
    lines = [json.loads(line) for line in kept]
    done = {(line["set"], line["side"], line["seed"]) for line in lines}
    for seed in range(FIRST_SEED, FIRST_SEED + options.pairs):
        for name, varied in PAIRS.items():
            for side in {0, 1} - {k for n, k, s in done if (n, s) == (name, seed)}:
                found = run(options.data, {n: both[side] for n, both in varied.items()}, seed)
                lines.append({"set": name, "side": side, "seed": seed, "scores": found})
                if options.keep:
                    with options.keep.open("a") as file:
                        file.write(json.dumps(lines[-1]) + "\n")
    table, pairs = compared(lines)
    if options.write:
        values = {"pairs.count": str(pairs)}
        for key, row in (("end", table[2]), ("dense", table[3])):
            _, values[f"pairs.difference_{key}"], values[f"pairs.deviation_{key}"], *_ = row.split(" | ")
        values["pairs.alone"] = table[2].split(" | ")[5]
        figures.record(values, command=f"python benchmarks/bench_pairs.py --data data/mill --pairs {pairs}")


if __name__ == "__main__":
    main()
