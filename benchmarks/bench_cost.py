"""What it is worth to search with an eye on seconds: studies of equal time on recorded learning curves.

    python benchmarks/bench_cost.py [--splits 2] [--seeds 20] [--worlds digits] [--write]

The worlds are those of bench_anytime.py; here an epoch takes as long as it took when the runs were recorded.
Each study has the seconds of 24 full runs of median cost, which two simulated workers spend. Of each search
there are two: one is told what trials took, as an agent tells it, and the other is not, so that to it all
configurations cost the same. The settings were chosen on the other side of the recorded runs.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: two threads take longer for small matrices
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "anytime"), str(HERE.parent)]

import figures  # noqa: E402
import worlds  # noqa: E402
from bench_anytime import LENGTHS, OURS, WORKERS, signed  # noqa: E402
from comparison import compare  # noqa: E402
from surrogate import Surrogate  # noqa: E402
from worlds import World  # noqa: E402

SEARCHES = ("freeze-thaw, default known", "freeze-thaw", "TPE, default known", "TPE")
POINTS = 432  # of time, at which the best value is noted


class Seconds:
    """What an epoch of a configuration takes."""

    def __init__(self, world: World) -> None:
        runs = [{"params": run["params"], "values": [math.log(run["seconds"])]} for run in world.runs]
        self._logs = Surrogate(world.study.space.distributions(), runs)
        self.median = statistics.median(run["seconds"] for run in world.runs)

    def of(self, params: dict[str, Any]) -> float:
        return math.exp(self._logs.curve(params)[0])


def study(tuner: Any, world: World, seconds: Seconds, *, told: bool) -> tuple[NDArray[np.float64], int]:
    """The best value at POINTS times, and the epochs that were trained in all."""
    end = worlds.LENGTHS * world.epochs * seconds.median / WORKERS
    free = [(0.0, worker) for worker in range(WORKERS)]
    running: dict[int, list[Any]] = {}
    best, epochs = np.full(POINTS, -math.inf), 0
    while True:
        now, worker = heapq.heappop(free)
        if worker not in running:
            trial, params = tuner.ask()
            running[worker] = [trial, tuner.done(trial), world.curve(params), seconds.of(params)]
        running[worker][1] += 1
        trial, epoch, curve, each = running[worker]
        now += each
        if now > end:
            return np.maximum.accumulate(best), epochs
        epochs += 1
        value = curve[epoch - 1]
        place = min(POINTS - 1, int(POINTS * now / end))
        best[place] = max(best[place], value)
        if told:
            tuner.took(trial, epoch, each)
        stop = tuner.report(trial, epoch, value)
        if stop or epoch == world.epochs:
            tuner.finish(trial, value, stopped=stop and epoch < world.epochs)
            del running[worker]
        heapq.heappush(free, (now, worker))


def main() -> None:
    """Prints for each world the best value over time of each search with and without seconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--splits", type=int, default=2, help="random halves of the recorded runs")
    parser.add_argument("--seeds", type=int, default=20, help="studies of each search in a half")
    parser.add_argument("--worlds", nargs="+", choices=worlds.NAMES, default=list(worlds.NAMES))
    parser.add_argument("--write", action="store_true", help="store the table for the docs")
    options = parser.parse_args()
    lengths = " | ".join(map(str, LENGTHS))
    stored: dict[str, figures.Value] = {}
    for name in options.worlds:
        lines = [
            f"| {worlds.NAMES[name]}: best after the time of so many full runs | {lengths} | gain | epochs |",
            "| --- |" + " --: |" * (len(LENGTHS) + 2),
        ]
        print("", *lines, sep="\n", flush=True)
        halves = [World.of(name, options.half, split) for split in range(options.splits)]
        costs = [Seconds(world) for world in halves]
        for label in SEARCHES:
            found, epochs = {}, {}
            for told in (False, True):
                done = [
                    [study(OURS[label](world, seed), world, cost, told=told) for seed in range(options.seeds)]
                    for world, cost in zip(halves, costs, strict=True)
                ]
                found[told] = [np.array([trace for trace, _ in half]) for half in done]
                epochs[told] = statistics.fmean(count for half in done for _, count in half)
            gain = signed(compare(found[True], found[False]).gain, halves[0].sign)
            for told in (False, True):
                mean = np.concatenate(found[told]).mean(0)
                values = [halves[0].sign * mean[POINTS * n // worlds.LENGTHS - 1] for n in LENGTHS]
                row = label + ", seconds known" * told
                cells = [*(f"{value:.4f}" for value in values), gain if told else "", f"{epochs[told]:.0f}"]
                lines.append(f"| {row} | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
        stored[f"cost.{name}"] = lines
    if options.write:
        figures.record(stored, command=figures.own_command())


if __name__ == "__main__":
    main()
