"""How good is the configuration that a study hands on? On outside results with real seeds.

    python benchmarks/bench_trust.py                    # needs the outside curves in ../shared/data/curves
    python benchmarks/bench_trust.py --tasks hpobench/car algoperf/ogbg --studies 200

A simulated study has 40 configurations of a task (AlgoPerf: 40 of about 55), each with one real value: that
of one seed, the same for all. The first is the default. What a configuration is worth, its truth, is the mean
over its real seeds. Ways of choosing see further runs. A round has one real seed for all configurations. A
run is the configuration's truth and a residual that this seed left in real runs: of the configuration itself
or of the two on either side by truth whose spread is alike. Residuals are scaled by √(n/(n-1)), n seeds,
because a mean lies too close to its own values. No run is better than the best real run of this pool. Two
ways see the same runs.

The default is what a team that knows its problem has: a configuration from the middle of the best tenth of
the task. For AlgoPerf studies are also run with the best configuration of the published baseline.

Tasks are split in two by name (`trust/tasks.py`): settings of the race were chosen on the first half, and the
second half is reported apart. Both are printed. `--write` stores the figures for the docs.
"""

from __future__ import annotations

from pathlib import Path

import figures
from arena.outside import CURVES
from threadpoolctl import threadpool_limits
from trust import simulation, tables, tasks


def main() -> None:
    parser = figures.parser(__doc__)
    parser.add_argument("--studies", type=int, default=100, help="of each task")
    parser.add_argument("--tasks", nargs="+", metavar="SOURCE/TASK", help="some tasks; default: all")
    parser.add_argument("--curves", type=Path, default=CURVES, metavar="DIR", help="the outside curves")
    options = parser.parse_args()
    if not options.curves.is_dir():
        print(f"no outside curves in {options.curves}, so nothing is measured. --curves names their folder")
        return
    threadpool_limits(1)  # two threads take longer for small matrices
    groups = {"named": options.tasks} if options.tasks else {"kept": tasks.KEPT, "choosing": tasks.CHOOSING}
    stored: dict[str, figures.Value] = {"trust.studies": str(options.studies)}
    for group, names in groups.items():
        print(f"\nTasks of the group '{group}', {options.studies} studies each\n")
        results = [
            simulation.simulate(task, default, options.studies)
            for task in tasks.load(options.curves, names)
            for default in simulation.defaults(task)
        ]
        stored |= tables.stored(group, results)
        for way in (simulation.RACE, simulation.PROPOSAL):
            fewer = tables.no_more_lost(results, way)
            print(f"{way}: loses at most as much as cross-validation in {fewer} of {len(results)}")
    if options.write and not options.tasks:
        figures.record(stored, units=tables.units(stored))


if __name__ == "__main__":
    main()
