"""How fast one run trains and evaluates.

    python benchmarks/bench_training.py [--data data/NAME] [--rounds 3] [--steps 10] [--write]

All take turns on one machine with one thread, and processor time is measured: the ratios survive a busy one.
`--write` stores the table for the docs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures
import torch

from model.config import Config
from model.data_sets import default_data
from model.devices import place
from model.evaluate import evaluate
from model.learner import Learner
from model.network import parameter_count
from model.task import Task, prepare

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "every augmentation": {"oversampling_factor": 2, "cutout_rows": 8, "time_warp": 0.1, "mixup_alpha": 0.2},
    "default configuration": {},
    "width 256": {"d_model": 256},
}


def our_steps(learner: Learner, steps: int) -> Callable[[], int]:
    """A function that trains `steps` whole batches and returns their windows."""
    size = learner.config.batch_size

    def work() -> int:
        learner.network.train()
        permutation = learner.rng.permutation(learner.index)
        for step in range(steps):
            learner.train_step(0, step, permutation[step * size : (step + 1) * size])
        return steps * size

    return work


def evaluation(learner: Learner, task: Task) -> Callable[[], int]:
    """A function that measures every metric of `select`, greedy lines included."""

    def work() -> int:
        evaluate(learner.network, task, "select", device=learner.device)
        return len(task.parts["select"])

    return work


def speeds(folder: Path, *, rounds: int, steps: int) -> list[str]:
    """Trains and evaluates in turns; returns the rates as the lines of a table."""
    learners = {}
    for name, options in CONFIGURATIONS.items():
        for precision in ("float32", "auto"):
            config = Config.from_dict({**options, "precision": precision})
            learners[name, precision] = Learner(config, prepare(folder, config), place(config))
    learner = learners["every augmentation", "auto"]
    task, size = learner.task, learner.config.batch_size
    steps = min(steps, len(learner.index) // size)
    work = {key: our_steps(one, steps) for key, one in learners.items()}
    work["evaluation, every metric", "float32"] = evaluation(learner, task)
    for warm_up in work.values():
        warm_up()
    windows: Counter[tuple[str, str]] = Counter()
    seconds: dict[tuple[str, str], float] = dict.fromkeys(work, 0.0)
    for _ in range(rounds):
        for key, measured in work.items():
            began = time.process_time()
            windows[key] += measured()
            seconds[key] += time.process_time() - began
    print(f"{folder}: {len(task.parts['train'])} training windows, {task.source.channels} channels")
    print(f"auto is {learner.placement.reason}; {parameter_count(learner.network):,} parameters")
    rates = {key: windows[key] / seconds[key] for key in work}
    lines = figures.Lines()
    lines.head("windows a second of one core", "float32", "`precision: auto` here", "ratio", words=range(4))
    for name, precision in rates:
        if precision == "auto":
            continue
        slow, fast = rates[name, "float32"], rates.get((name, "auto"))
        more = (f"{fast:,.0f}", f"{fast / slow:.2f}") if fast else ("–", "–")
        lines.row(name, f"{slow:,.0f}", *more)
    return lines


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("--data", type=Path, help="a data set's folder (default: the only imported one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = speeds(options.data or default_data(), rounds=options.rounds, steps=options.steps)
    if options.write:
        figures.record({"training.speed": lines})


if __name__ == "__main__":
    main()
