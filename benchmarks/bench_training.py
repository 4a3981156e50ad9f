"""How fast one run trains and evaluates, beside a plain PyTorch loop, and what memory agents share.

    python benchmarks/bench_training.py [--data data/NAME] [--rounds 3] [--steps 10] [--write]

All take turns on one machine with one thread, and processor time is measured: the ratios survive a busy one.
`--write` stores the table for the docs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import figures
import torch
from plain_loop import PlainLoop

from model.config import Config
from model.data_sets import default_data
from model.devices import place
from model.evaluate import evaluate
from model.learner import Learner
from model.network import parameter_count
from model.task import Task, prepare

STATUS = Path("/proc/self/status")  # Linux; elsewhere memory is not measured
# The default run with every augmentation on.
EVERYTHING = {"oversampling_factor": 2, "cutout_rows": 8, "time_warp": 0.1, "mixup_alpha": 0.2}


@dataclass
class Meter:
    """Windows and seconds of processor time of repeated measurements."""

    windows: int = 0
    processor: float = 0.0

    def measure(self, work: Callable[[], int]) -> None:
        began = time.process_time()
        self.windows += work()
        self.processor += time.process_time() - began


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
    full, wide = EVERYTHING, {"d_model": 256}
    learners = {
        (name, precision): Learner(config, prepare(folder, config), place(config))
        for name, options in (
            ("every augmentation", full),
            ("default configuration", {}),
            ("width 256", wide),
        )
        for precision in ("float32", "auto")
        for config in [Config.from_dict({**options, "precision": precision})]
    }
    learner = learners["every augmentation", "auto"]
    task, size = learner.task, learner.config.batch_size
    plain = PlainLoop(task.data, task.parts["train"], task.vocabulary, learner.config)
    steps = min(steps, len(learner.index) // size)
    work = {key: our_steps(one, steps) for key, one in learners.items()}
    work["evaluation, every metric", "float32"] = evaluation(learner, task)
    for warm_up in work.values():
        warm_up()
    plain.run(1)
    work["plain loop, every augmentation", "float32"] = lambda: plain.run(max(1, steps // 5))
    meters = {key: Meter() for key in work}
    for _ in range(rounds):
        for key, measured in work.items():
            meters[key].measure(measured)
    print(f"{folder}: {len(task.parts['train'])} training windows, {task.source.channels} channels")
    print(f"auto is {learner.placement.reason}; {parameter_count(learner.network):,} parameters")
    rates = {key: meter.windows / meter.processor for key, meter in meters.items()}
    lines = [
        "| windows a second of one core | float32 | `precision: auto` here | ratio |",
        "| --- | --- | --- | --- |",
    ]
    for name, precision in rates:
        if precision == "auto":
            continue
        slow, fast = rates[name, "float32"], rates.get((name, "auto"))
        more = f"{fast:,.0f} | {fast / slow:.2f}" if fast else "– | –"
        lines.append(f"| {name} | {slow:,.0f} | {more} |")
    return lines


def memory(folder: Path, *, agents: int) -> None:
    """Starts so many training processes at once and prints what they take, each and together.

    Memory that maps a file (the data set, the libraries) exists once, however many processes read it.
    """
    command = [sys.executable, __file__, "--as-agent", "--data", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(agents)
    ]
    for process in running:  # all have trained
        assert process.stdout is not None
        process.stdout.readline()
    found = []
    for process in running:
        found.append(json.loads(process.communicate("measure\n")[0]))
    peak, mapped = (max(one[name] for one in found) for name in ("peak", "mapped"))
    together = sum(one["own"] for one in found) + mapped
    print(
        f"memory, {agents} agent{'s' * (agents > 1)}: peak {peak:,} MB each; "
        f"{together:,} MB together, of which {mapped:,} MB are mapped files that all share"
    )


def as_agent(folder: Path) -> None:
    """A training process: trains a few steps, waits to be asked, prints its memory in MB."""
    task = prepare(folder, Config())
    learner = Learner(Config(), task, place(Config()))
    our_steps(learner, min(5, len(learner.index) // learner.config.batch_size))()
    evaluate(learner.network, task, "select", device=learner.device)
    print("trained", flush=True)
    sys.stdin.readline()
    names = {"peak": "VmHWM", "own": "RssAnon", "mapped": "RssFile"}
    print(json.dumps({name: _megabytes(field) for name, field in names.items()}))


def _megabytes(field: str) -> int:
    """A field of this process's status, which Linux gives in kB."""
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) // 1024
    raise RuntimeError(f"{STATUS} has no {field}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a data set's folder (default: the only imported one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    parser.add_argument("--write", action="store_true", help="store the table for the docs")
    parser.add_argument("--as-agent", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.data or default_data()
    if options.as_agent:
        as_agent(folder)
        return
    torch.set_num_threads(1)
    lines = speeds(folder, rounds=options.rounds, steps=options.steps)
    print("\n".join(lines))
    if options.write:
        command = f"python benchmarks/bench_training.py --data {folder} --rounds {options.rounds}"
        figures.record({"training.speed": lines}, command=command)
    if STATUS.exists():
        for agents in (1, 2):
            memory(folder, agents=agents)


if __name__ == "__main__":
    main()
