"""How many epochs until a good configuration is found: ours against peers, on recorded learning curves.

    python benchmarks/bench_anytime.py                 # installs the peers, each in an environment of its own
    python benchmarks/bench_anytime.py --peers         # without peers: ours against random search
    python benchmarks/bench_anytime.py --priors        # what an earlier study is worth
    python benchmarks/bench_anytime.py --keep traces   # keeps what is done in a folder; the next run goes on

Every tuner searches the same space with the same two simulated workers, on what recorded runs
(record_curves.py) say of it: of our network, and of two small trainings that are not ours. Each peer runs
its own search and its own stopping rule: Ray Tune with ASHA and OptunaSearch, Syne Tune with BOHB, W&B's
`sweeps` with bayes and hyperband, plain Optuna with TPE and Hyperband. Random search with our stopping rule
is the control: a search model that does not beat it is worth nothing. Random draws of which all that will
not end best stop at the first rung are a bound of what stopping can reach. Ours are shown twice: begun with
the default configuration, as studies are of which one is known, and without it. Peers do not know it.

The recorded runs are halved at random, several times over. Our defaults were chosen on one side of each
split (`--half choose`), and the other side is reported. (Halves by even and odd numbers differ in what they
hold of `d_model`, so that a third of the other half would be extrapolated.) `--write` stores the tables for
the docs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import figures
import numpy as np
from arena.methods import CONTROL, METHODS, PRIORS, Optuna
from arena.studies import SHOWN, kept, of_peer, own, shown
from arena.summary import Comparison, Floats, compare
from arena.worlds import NAMES, SIDES, World
from peers import PEERS
from threadpoolctl import threadpool_limits

OPTUNA = "Optuna (TPE, Hyperband)"
Studies = dict[str, list[Floats]]  # by tuner: the traces of each half


def studies_of(name: str, options: argparse.Namespace) -> Studies:
    """The studies of every tuner in one world, half by half."""
    methods = {label: METHODS[label] for label in ("freeze-thaw", CONTROL)} | PRIORS
    makers: dict[str, Callable[[World, int], Floats]] = {
        label: partial(own, method) for label, method in (methods if options.priors else METHODS).items()
    }
    if not options.priors:
        makers |= {peer.name: partial(of_peer, peer) for peer in PEERS if peer.key in options.peers}
        makers |= {OPTUNA: partial(own, Optuna)} if "optuna" in options.peers else {}
    halves = [World(name, options.half, split) for split in range(options.splits)]
    found: Studies = {}
    for label, make in makers.items():
        try:
            found[label] = [
                kept(
                    options.keep,
                    (name, options.half, split, options.seeds, label),
                    partial(make, world, options.seeds),
                )
                for split, world in enumerate(halves)
            ]
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{label} is left out: {error}", file=sys.stderr)
    return found


def values(lines: figures.Lines, found: Studies, sign: float, *, head: bool = True, world: str = "") -> None:
    """For each tuner the mean of the best value so far, and what 19 of 20 studies reach in the end."""
    if head:
        lines.head("best value after so many full runs", *map(str, SHOWN), "worst 5 %")
    for label, halves in found.items():
        traces = np.concatenate(halves)
        worst = sign * np.percentile(traces[:, -1], 5)
        lines.row(f"{world}: {label}" if world else label, *shown(traces, sign), f"{worst:.4f}")


def comparisons(
    lines: figures.Lines, rows: dict[str, list[Comparison]], ours: Sequence[str], sign: float
) -> None:
    """A table for each reading: a row for each other tuner, a column for each of ours and for itself."""
    readings: dict[str, Callable[[Comparison], str]] = {
        "epochs to its final best, over its own": lambda row: f"{row.ratio:.2f}",
        "epochs to its final best, over its budget": lambda row: f"{row.share:.2f}",
        "final value, minus its": lambda row: f"{row.gain.times(sign):+.4f}",
    }
    for title, reading in readings.items():
        lines.say("")
        lines.head(title, *ours, "itself")
        for other, cells in rows.items():
            lines.row(other, *map(reading, cells))


def range_of(ratios: Sequence[float]) -> str:
    """The lowest and the highest."""
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "–"


def main() -> None:
    """Prints for each world the curves of all tuners, then how ours compare with the others."""
    parser = figures.parser(__doc__)
    parser.add_argument("--half", choices=SIDES, default="report")
    parser.add_argument(
        "--splits", type=int, default=4, help="random halves of the recorded runs (default 4)"
    )
    parser.add_argument("--seeds", type=int, default=40, help="studies of each tuner in a half (default 40)")
    parser.add_argument("--worlds", nargs="+", choices=NAMES, default=list(NAMES))
    keys = [*(peer.key for peer in PEERS), "optuna"]
    parser.add_argument("--peers", nargs="*", choices=keys, default=keys, help="default: all of them")
    parser.add_argument(
        "--priors", action="store_true", help="instead: after an earlier study, a right and a misleading one"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where finished studies are kept")
    options = parser.parse_args()
    threadpool_limits(1)  # two threads take longer for small matrices
    tables: dict[str, figures.Value] = {}
    priors, summary, every = figures.Lines(), figures.Lines(), list[float]()
    rows_of_summary = []
    for name, title in NAMES.items():
        if name not in options.worlds:
            continue
        found, world = studies_of(name, options), World(name, options.half, 0, trees=1)
        if options.priors:
            values(priors, found, world.sign, head=not priors, world=title)
            continue
        ours = [label for label in METHODS if label in found]
        others = [CONTROL, *(label for label in found if label not in METHODS)]
        rows = {other: [compare(found[label], found[other]) for label in (*ours, other)] for other in others}
        halves = f"{options.splits} random hal{'f' if options.splits == 1 else 'ves'} (side `{options.half}`)"
        print(f"\n### {title}\n")
        lines = figures.Lines()
        lines.say(f"{halves}, {options.seeds} studies of {world.budget} epochs in each", "")
        values(lines, found, world.sign)
        comparisons(lines, rows, ours, world.sign)
        tables[f"anytime.{name}"] = lines
        ratios = [[cell.ratio.value for cell in cells] for other, cells in rows.items() if other != CONTROL]
        known, without = ([row[column] for row in ratios] for column in (0, 1))
        every += without
        rows_of_summary.append((title, range_of(known), range_of(without)))
    if not options.priors:
        print()
        about = "epochs to a peer's final best, over its own (lowest and highest of the peers below)"
        summary.head(about, "default known", "without", words=range(3))
        for row in rows_of_summary:
            summary.row(*row)
    if options.write:
        own_tables = tables | {"anytime.summary": summary, "anytime.range": range_of(every)}
        figures.record({"anytime.priors": priors} if options.priors else own_tables)


if __name__ == "__main__":
    main()
