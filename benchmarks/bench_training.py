"""How fast one run trains and evaluates, beside a plain PyTorch loop, and what memory agents share.

    python benchmarks/bench_training.py [--data data/NAME] [--rounds 3] [--steps 10] [--threads 2]

Ours and the plain loop take turns on the same machine, so that their ratio survives a busy one. Beside the
windows per second of the clock stand those per second of processor time, which other programs hardly touch.
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

import torch
from plain_loop import PlainLoop

from model.config import Config
from model.data_sets import default_data
from model.evaluate import evaluate
from model.network import parameter_count
from model.task import Task, prepare
from model.trainer import _Run

STATUS = Path("/proc/self/status")  # Linux; elsewhere memory is not measured
# The default run with every augmentation on.
EVERYTHING = {"oversampling_factor": 2, "cutout_rows": 8, "time_warp": 0.1, "mixup_alpha": 0.2}


@dataclass
class Meter:
    """Windows, seconds of the clock and seconds of processor time of repeated measurements."""

    windows: int = 0
    seconds: float = 0.0
    processor: float = 0.0

    def measure(self, work: Callable[[], int]) -> None:
        clock, processor = time.perf_counter(), time.process_time()
        self.windows += work()
        self.seconds += time.perf_counter() - clock
        self.processor += time.process_time() - processor

    def __str__(self) -> str:
        rate, per_core = self.windows / self.seconds, self.windows / self.processor
        return f"{rate:8,.0f} windows/s   {per_core:8,.0f} per second of processor time"


def our_steps(run: _Run, steps: int) -> Callable[[], int]:
    """A function that trains `steps` whole batches and returns their windows."""
    size = run.config.batch_size

    def work() -> int:
        run.network.train()
        permutation = run.rng.permutation(run.index)
        for step in range(steps):
            run.train_step(0, step, permutation[step * size : (step + 1) * size])
        return steps * size

    return work


def evaluation(run: _Run, task: Task) -> Callable[[], int]:
    """A function that measures every metric of `select`, greedy lines included."""

    def work() -> int:
        evaluate(run.network, task, "select", device=run.device)
        return len(task.parts["select"])

    return work


def speeds(folder: Path, *, rounds: int, steps: int) -> None:
    """Trains and evaluates in turns, and prints the rates."""
    bare, full = Config(), Config.from_dict(EVERYTHING)
    task = prepare(folder, full)
    run, plain_run = _Run(full, task, _ignore, None), _Run(bare, task, _ignore, None)
    plain = PlainLoop(task.data, task.parts["train"], task.vocabulary, full)
    steps = min(steps, len(run.index) // full.batch_size)
    ours, default, evaluated, theirs = Meter(), Meter(), Meter(), Meter()
    work = our_steps(run, steps), our_steps(plain_run, steps), evaluation(run, task)
    for warm_up in work:
        warm_up()
    plain.run(1)
    for _ in range(rounds):
        ours.measure(work[0])
        default.measure(work[1])
        evaluated.measure(work[2])
        theirs.measure(lambda: plain.run(max(1, steps // 5)))
    print(f"{folder}: {len(task.parts['train'])} training windows, {task.source.channels} channels")
    print(f"training, every augmentation      {ours}   ({parameter_count(run.network):,} parameters)")
    print(f"training, default config          {default}")
    print(f"evaluation, every metric          {evaluated}")
    print(f"plain loop, every augmentation    {theirs}   ({parameter_count(plain.network):,} parameters)")
    ratio = (ours.windows / ours.seconds) / (theirs.windows / theirs.seconds)
    per_core = (ours.windows / ours.processor) / (theirs.windows / theirs.processor)
    print(f"ratio of training to the plain loop {ratio:.1f} (processor time: {per_core:.1f})")


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
    run = _Run(Config(), task, _ignore, None)
    our_steps(run, min(5, len(run.index) // run.config.batch_size))()
    evaluate(run.network, task, "select", device=run.device)
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


def _ignore(epoch: int, metrics: dict[str, float]) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a data set's folder (default: the only imported one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--as-agent", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.data or default_data()
    if options.as_agent:
        as_agent(folder)
        return
    torch.set_num_threads(options.threads)
    speeds(folder, rounds=options.rounds, steps=options.steps)
    if STATUS.exists():
        for agents in (1, 2):
            memory(folder, agents=agents)


if __name__ == "__main__":
    main()
