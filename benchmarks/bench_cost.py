"""What it is worth to search with an eye on seconds: studies of equal time on recorded learning curves.

    python benchmarks/bench_cost.py [--splits 2] [--seeds 20] [--worlds digits] [--write]

The worlds are those of bench_arena.py; here an epoch takes as long as it took when the runs were recorded.
Each study has the seconds of 24 full runs of median cost, which two simulated workers spend. Of each search
there are two: one is told what trials took, as an agent tells it, and the other is not, so that to it all
configurations cost the same. The settings were chosen on the other side of the recorded runs.
"""

from __future__ import annotations

import itertools
import math

import figures
import numpy as np
from arena.methods import KNOWN, OURS
from arena.replay import trained
from arena.studies import WORKERS, Method
from arena.summary import SHOWN, Floats, compare
from arena.worlds import NAMES, SIDES, Recorded
from threadpoolctl import threadpool_limits

SEARCHES = ("freeze-thaw, default known", "freeze-thaw")
METHODS: dict[str, Method] = OURS | KNOWN
POINTS = 432  # of time, at which the best value is noted


def study(method: Method, world: Recorded, seed: int, *, told: bool) -> tuple[Floats, int]:
    """The best value at POINTS times, and the epochs that were trained in all."""
    end = world.budget * world.median_seconds / WORKERS
    epochs = trained(method(world, seed), world, workers=WORKERS, lasts=world.seconds, told=told)
    best, count = np.full(POINTS, -math.inf), 0
    for now, value in itertools.takewhile(lambda epoch: epoch[0] <= end, epochs):
        place = min(POINTS - 1, int(POINTS * now / end))
        best[place] = max(best[place], value)
        count += 1
    return np.maximum.accumulate(best), count


def shown(traces: Floats, sign: float) -> list[str]:
    """The mean over studies of the best value after the time of SHOWN full runs."""
    places = np.array(SHOWN) * traces.shape[1] // SHOWN[-1] - 1
    return [f"{sign * value:.4f}" for value in traces.mean(axis=0)[places]]


def main() -> None:
    """Prints for each world the best value over time of each search with and without seconds."""
    parser = figures.parser(__doc__)
    parser.add_argument("--half", choices=SIDES, default="report")
    parser.add_argument("--splits", type=int, default=2, help="random halves of the recorded runs")
    parser.add_argument("--seeds", type=int, default=20, help="studies of each search in a half")
    parser.add_argument("--worlds", nargs="+", choices=NAMES, default=list(NAMES))
    options = parser.parse_args()
    threadpool_limits(1)  # two threads take longer for small matrices
    tables: dict[str, figures.Value] = {}
    for name in options.worlds:
        lines = figures.Lines()
        head = f"{NAMES[name]}: best after the time of so many full runs"
        lines.head(head, *map(str, SHOWN), "gain", "epochs")
        halves = [Recorded(name, options.half, split) for split in range(options.splits)]
        sign = halves[0].sign
        for label in SEARCHES:
            traces: dict[bool, list[Floats]] = {}
            for told in (False, True):
                done = [
                    [study(METHODS[label], world, seed, told=told) for seed in range(options.seeds)]
                    for world in halves
                ]
                traces[told] = [np.array([trace for trace, _ in half]) for half in done]
                epochs = np.mean([count for half in done for _, count in half])
                gain = f"{compare(traces[True], traces[False]).gain.times(sign):+.4f}" if told else ""
                row = label + ", seconds known" * told
                lines.row(row, *shown(np.concatenate(traces[told]), sign), gain, f"{epochs:.0f}")
        tables[f"cost.{name}"] = lines
    if options.write:
        figures.record(tables)


if __name__ == "__main__":
    main()
