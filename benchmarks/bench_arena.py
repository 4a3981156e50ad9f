"""How many epochs until a good configuration is found: ours against peers, on recorded learning curves.

    python benchmarks/bench_arena.py                          # all tasks of one side, all tuners: hours
    python benchmarks/bench_arena.py --sources taskset --methods freeze-thaw "ASHA, random draws" --seeds 3
    python benchmarks/bench_arena.py --show                   # what has been run so far; runs nothing
    python benchmarks/bench_arena.py --write                  # stores the tables for the docs

Every tuner searches the same space with the same two simulated workers, on curves that others recorded
(`taskset`, `lcbench`: arena/worlds.py) or we (`ours`: record_curves.py). A study may use the epochs of 24
full runs. In `numbers` and `choices` nothing can be ended early: 100 trials run to their end, in spaces of
the kind that the names say, and the samplers of a study file are compared.

Each peer runs its own search and its own stopping rule with its own defaults, in an environment of its own:
Ray Tune with ASHA and OptunaSearch, Syne Tune with BOHB and ASHA, W&B's `sweeps` with bayes and hyperband,
Optuna with Hyperband. Random search with our stopping rule is the control. Random draws of which all that
will not end best stop at the first rung are a bound of what stopping can reach.

Settings are chosen on one half of the tasks (`--half choose`), and the other half is reported: outside, every
other task of the index; of ours, random halves of the recorded runs. Each study is a file in `--traces`, so
a run that was interrupted goes on, and several can run side by side.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import figures
import numpy as np
from arena.methods import (
    ALL,
    ASHA,
    BOUND,
    CONTROL,
    ENDED,
    FREEZE_THAW,
    HISTORY,
    KNOWN,
    METHODS,
    OPTUNA,
    OURS,
    RANDOM,
)
from arena.studies import Store
from arena.summary import Comparison, Floats, compare, regret, worse
from arena.worlds import PRUNED, SIDES, SOURCES, World, tasks
from threadpoolctl import threadpool_limits

from tuner.base.errors import InputError

Traces = Mapping[str, Sequence[Floats]]  # by method: of each task (study, epoch)


def run(store: Store, worlds: Sequence[World], labels: Sequence[str], seeds: int) -> None:
    """Runs what is missing, one tuner after the other."""
    for label in labels:
        for world in worlds:
            if label in KNOWN and world.default is None:
                continue
            try:
                store.run(world, label, ALL[label], range(seeds))
            except (InputError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
                print(f"{world.name}, {label}: {error}", file=sys.stderr)


def found(store: Store, worlds: Sequence[World], labels: Sequence[str], seeds: int) -> Traces:
    """The traces of each method that has two studies of each task or more."""
    traces = {
        label: [np.array([study.trace for study in store.get(world, label, seeds)]) for world in worlds]
        for label in labels
    }
    return {label: each for label, each in traces.items() if all(len(task) > 1 for task in each)}


def regrets(lines: figures.Lines, worlds: Sequence[World], traces: Traces) -> None:
    """For each tuner the regret that is left, mean over tasks, and the tasks in which it is below random."""
    shown = map(str, worlds[0].shown)
    lines.head("regret left after so many full runs, %", *shown, "worse than random")
    control = CONTROL if CONTROL in traces else RANDOM
    left = {label: [at(task, world) for task, world in zip(each, worlds, strict=True)]
            for label, each in traces.items()}  # fmt: skip
    for label, each in left.items():
        means = np.mean([task.mean(0) for task in each], axis=0)
        below = [worse(task, control) for task, control in zip(each, left.get(control, each), strict=True)]
        lines.row(label, *(f"{100 * mean:.1f}" for mean in means), f"{sum(below)} of {len(below)}")


def at(traces: Floats, world: World) -> Floats:
    """(study, checkpoint): the regret after the full runs that are shown."""
    return regret(traces, world.ends())[:, np.array(world.shown) * world.epochs - 1]


def ratios(lines: figures.Lines, traces: Traces) -> dict[str, dict[str, Comparison]]:
    """A row for each other tuner, a column for each of ours, and for the other itself."""
    ours = [label for label in (*OURS, *KNOWN) if label in traces and label != CONTROL]
    others = [label for label in traces if label not in ours and label != BOUND]
    cells = {
        other: {label: compare(traces[label], traces[other]) for label in (*ours, other)} for other in others
    }
    lines.head("epochs to its final best, over its own", *ours, "itself")
    for other, row in cells.items():
        lines.row(other, *(f"{cell.ratio:.2f}" for cell in row.values()))
    return cells


def claims(source: str, cells: Mapping[str, Mapping[str, Comparison]]) -> dict[str, figures.Value]:
    """What freeze-thaw needs of the epochs of Optuna and of ASHA, by itself and with earlier studies."""
    found = {}
    for key, label in {"optuna": OPTUNA, "asha": ASHA}.items():
        for part, ours in {"": FREEZE_THAW, "history_": HISTORY}.items():
            if (cell := cells.get(label, {}).get(ours)) is not None:
                found[f"arena.{source}_{part}{key}"] = f"{cell.ratio:.2f}"
    return found


def main() -> None:
    """Runs what is missing, and prints for each source regret, ratios and processor time."""
    parser = figures.parser(__doc__)
    parser.add_argument("--half", choices=SIDES, default="report")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--tasks", type=int, help="the first so many of each source (default: all)")
    parser.add_argument("--methods", nargs="+", choices=list(ALL), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10, help="studies of each tuner in a task (default 10)")
    parser.add_argument("--traces", type=Path, default=figures.ROOT / "results" / "arena", metavar="FOLDER")
    parser.add_argument("--show", action="store_true", help="run nothing")
    options = parser.parse_args()
    threadpool_limits(1)  # two threads take longer for small matrices
    store = Store(options.traces)
    tables: dict[str, figures.Value] = {}
    for source in options.sources:
        worlds = tasks(source, options.half)[: options.tasks]
        labels = options.methods or list(METHODS if source in PRUNED else ENDED)
        if not options.show:
            run(store, worlds, labels, options.seeds)
        lines = figures.Lines()
        traces = found(store, worlds, labels, options.seeds)
        fewest = min((len(task) for each in traces.values() for task in each), default=0)
        lines.say(
            f"{source}: {len(worlds)} tasks (side `{options.half}`), {fewest} studies or more in each", ""
        )
        regrets(lines, worlds, traces)
        lines.say("")
        if source in PRUNED:
            tables |= claims(source, ratios(lines, traces))
            lines.say("")
        lines.head("processor time of a proposal, ms", "median", "longest of a study's means")
        for label in traces:
            spent = [
                1000 * study.seconds for world in worlds for study in store.get(world, label, options.seeds)
            ]
            lines.row(label, f"{statistics.median(spent):.1f}", f"{max(spent):.1f}")
        lines.say("")
        tables[f"arena.{source}"] = lines
    if options.write:
        figures.record(tables)


if __name__ == "__main__":
    main()
