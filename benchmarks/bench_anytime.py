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
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: two threads take longer for small matrices
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "anytime"), str(HERE.parent)]

import figures  # noqa: E402
import replay  # noqa: E402
import worlds  # noqa: E402
from comparison import Comparison, Reading, compare  # noqa: E402
from ours import Foresight, FreezeThaw, Ours  # noqa: E402
from peers import PEERS, Peer  # noqa: E402
from worlds import World  # noqa: E402

WORKERS = 2
LENGTHS = (1, 2, 4, 8, 16, worlds.LENGTHS)  # full runs, after which the best value is shown
CONTROL = "random search, same rungs"
BOUND = "random draws, stopped with foresight"
OURS: dict[str, Callable[[World, int], replay.Tuner]] = {
    "freeze-thaw, default known": lambda world, seed: FreezeThaw(
        world.study, seed, default=world.default, budget=world.budget
    ),
    "freeze-thaw": lambda world, seed: FreezeThaw(world.study, seed),
    "TPE, default known": lambda world, seed: Ours(world.study, seed, sampler="tpe", default=world.default),
    "TPE": lambda world, seed: Ours(world.study, seed, sampler="tpe"),
    CONTROL: lambda world, seed: Ours(world.study, seed, sampler="random"),
    BOUND: lambda world, seed: Foresight(world, seed),
}
PRIORS: dict[str, Callable[[World, int], replay.Tuner]] = {
    "freeze-thaw, after an earlier study": lambda world, seed: FreezeThaw(
        world.study, seed, prior=world.earlier(seed)
    ),
    "freeze-thaw, after a misleading one": lambda world, seed: FreezeThaw(
        world.study, seed, prior=world.earlier(seed, misleading=True)
    ),
}
ALL_PEERS = (*PEERS, Peer("optuna", "Optuna (TPE, Hyperband)", ("optuna==5.*",)))

SUMMARY = (
    "| epochs to a peer's final best, over its own (lowest and highest of the peers below) "
    "| default known | without |"
)

Traces = NDArray[np.float64]  # (study, epoch): the best value so far


def our_traces(make: Callable[[World, int], replay.Tuner], world: World, seeds: int) -> Traces:
    """Studies of one of this project's searches."""
    return np.array(
        [
            replay.replay(make(world, seed), world, budget=world.budget, workers=WORKERS)
            for seed in range(seeds)
        ]
    )


def peer_traces(peer: Peer, world: World, seeds: int) -> Traces:
    """Studies of a peer, whose script runs in its own environment."""
    key = os.urandom(16).hex()
    task = {"budget": world.budget, "workers": WORKERS, "seeds": seeds}
    with Listener(family="AF_UNIX", authkey=key.encode()) as listener, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [peer.python(), "-W", "ignore", HERE / "anytime" / f"peer_{peer.key}.py", listener.address],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "REPLAY_KEY": key},
        )
        try:
            with listener.accept() as connection:
                connection.send({**task, "space": world.space, "epochs": world.epochs})
                while not isinstance(asked := connection.recv(), list):
                    connection.send(world.curve(asked))
        except EOFError:
            errors.seek(0)
            raise RuntimeError(errors.read().decode().strip().splitlines()[-1]) from None
        finally:
            process.wait()
    return np.array(asked)


def kept(folder: Path | None, key: dict[str, Any], make: Callable[[], Traces]) -> Traces:
    """What `make` gives, from the folder if it has been made before."""
    if folder is None:
        return make()
    path = folder / ("-".join(str(part).replace(" ", "_").replace(",", "") for part in key.values()) + ".npy")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.load(path)


def traces_of(name: str, options: argparse.Namespace) -> dict[str, list[Traces]]:
    """The studies of every tuner in one world, half by half."""
    halves = [World.of(name, options.half, split) for split in range(options.splits)]
    chosen = {label: OURS[label] for label in ("freeze-thaw", CONTROL)} | PRIORS if options.priors else OURS
    tuners: dict[str, Callable[[World], Traces]] = {
        label: lambda world, make=make: our_traces(make, world, options.seeds)
        for label, make in chosen.items()
    }
    for peer in ALL_PEERS:
        if peer.key in options.peers and not options.priors:
            tuners[peer.name] = lambda world, peer=peer: peer_traces(peer, world, options.seeds)
    found: dict[str, list[Traces]] = {}
    for label, trace in tuners.items():
        try:
            found[label] = [
                kept(
                    options.keep,
                    {
                        "world": name,
                        "half": options.half,
                        "split": split,
                        "seeds": options.seeds,
                        "by": label,
                    },
                    lambda world=world, trace=trace: trace(world),
                )
                for split, world in enumerate(halves)
            ]
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{label} is left out: {error}", file=sys.stderr)
    return found


def value_rows(found: dict[str, list[Traces]], sign: float, world: str = "") -> list[str]:
    """For each tuner the mean of the best value so far, and what 19 of 20 studies reach in the end."""
    rows = []
    for label, halves in found.items():
        traces = np.concatenate(halves)
        places = np.array(LENGTHS) * traces.shape[1] // worlds.LENGTHS - 1
        values = [*traces.mean(0)[places], np.percentile(traces[:, -1], 5)]
        name = f"{world}: {label}" if world else label
        rows.append(f"| {name} | " + " | ".join(f"{sign * value:.4f}" for value in values) + " |")
    return rows


def values_table(rows: Sequence[str]) -> list[str]:
    """The rows with their head."""
    lengths = " | ".join(map(str, LENGTHS))
    head = f"| best value after so many full runs | {lengths} | worst 5 % |"
    return [head, "| --- |" + " --: |" * (len(LENGTHS) + 1), *rows]


def comparison_tables(rows: dict[str, list[Comparison]], ours: Sequence[str], sign: float) -> list[str]:
    """A table for each reading: a row for each other tuner, a column for each of ours and for itself."""
    head = " | ".join((*ours, "itself"))
    readings: dict[str, Callable[[Comparison], str]] = {
        "epochs to its final best, over its own": lambda row: str(row.ratio),
        "epochs to its final best, over its budget": lambda row: str(row.share),
        "final value, minus its": lambda row: signed(row.gain, sign),
    }
    lines = []
    for title, reading in readings.items():
        lines += ["", f"| {title} | {head} |", "| --- |" + " --: |" * (len(ours) + 1)]
        lines += [f"| {other} | " + " | ".join(map(reading, cells)) + " |" for other, cells in rows.items()]
    return lines


def ratios_of(rows: dict[str, list[Comparison]], column: int) -> list[float]:
    """The ratios in a column of the peers; the control is no peer."""
    return [cells[column].ratio.value for other, cells in rows.items() if other != CONTROL]


def range_of(ratios: Sequence[float]) -> str:
    """The lowest and the highest."""
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "–"


def signed(reading: Reading, sign: float) -> str:
    """A difference in the metric's own direction."""
    low, high = sorted((sign * reading.low, sign * reading.high))
    return f"{sign * reading.value:+.4f} [{low:+.4f}, {high:+.4f}]"


def main() -> None:
    """Prints for each world the curves of all tuners, then how ours compare with the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument(
        "--splits", type=int, default=4, help="random halves of the recorded runs (default 4)"
    )
    parser.add_argument("--seeds", type=int, default=40, help="studies of each tuner in a half (default 40)")
    parser.add_argument("--worlds", nargs="+", choices=worlds.NAMES, default=list(worlds.NAMES))
    keys = [peer.key for peer in ALL_PEERS]
    parser.add_argument("--peers", nargs="*", choices=keys, default=keys, help="default: all of them")
    parser.add_argument(
        "--priors", action="store_true", help="instead: after an earlier study, a right and a misleading one"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where finished studies are kept")
    parser.add_argument("--write", action="store_true", help="store the tables for the docs")
    options = parser.parse_args()
    stored: dict[str, figures.Value] = {}
    summary = [SUMMARY, "| --- | --- | --- |"]
    priors: list[str] = []
    every: list[float] = []
    for name in options.worlds:
        study = worlds.World.of(name, options.half, 0, trees=1).study
        sign = 1.0 if study.metric.goal == "maximize" else -1.0
        found = traces_of(name, options)
        epochs = worlds.LENGTHS * (study.max_epochs or 1)
        ours = [label for label in (*OURS, *PRIORS) if label in found]
        others = [CONTROL, *(label for label in found if label not in OURS | PRIORS)]
        rows = {other: [compare(found[label], found[other]) for label in (*ours, other)] for other in others}
        halves = f"{options.splits} random hal{'f' if options.splits == 1 else 'ves'} (side `{options.half}`)"
        lines = [
            f"{halves}, {options.seeds} studies of {epochs} epochs in each", "",
            *values_table(value_rows(found, sign)), *comparison_tables(rows, ours, sign),
        ]  # fmt: skip
        print(f"\n### {worlds.NAMES[name]}\n")
        print("\n".join(lines), flush=True)
        priors += value_rows(found, sign, worlds.NAMES[name])
        if not options.priors:
            known, without = ratios_of(rows, 0), ratios_of(rows, 1)
            every += without
            summary.append(f"| {worlds.NAMES[name]} | {range_of(known)} | {range_of(without)} |")
            stored[f"anytime.{name}"] = lines
    if options.write:
        shown = (
            {"anytime.priors": values_table(priors)}
            if options.priors
            else stored | {"anytime.summary": summary, "anytime.range": range_of(every)}
        )
        figures.record(shown, command=figures.own_command())


if __name__ == "__main__":
    main()
