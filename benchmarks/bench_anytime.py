"""How many epochs until a good configuration is found: ours against peers, on recorded learning curves.

    python benchmarks/bench_anytime.py                 # installs the peers, each in an environment of its own
    python benchmarks/bench_anytime.py --peers         # without peers: ours against random search, 10 minutes

Every tuner searches the same space with the same two simulated workers, on what recorded runs
(record_curves.py) say of it. Each peer runs its own search and its own stopping rule: Ray Tune with ASHA and
OptunaSearch, Syne Tune with BOHB, W&B's `sweeps` with bayes and hyperband. Random search with our stopping
rule is the control: a search model that does not beat it is worth nothing. A study of ours begins with the
default configuration, which its authors know to be good; it is also shown without that.

The recorded runs are halved at random, several times over. Our defaults were chosen on one side of each
split (`--half choose`), and the other side is reported. (Halves by even and odd numbers differ in what they
hold of `d_model`, so that a third of the other half would be extrapolated.)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "anytime"), str(HERE.parent)]

import replay  # noqa: E402
from comparison import compare  # noqa: E402
from ours import Ours  # noqa: E402
from peers import PEERS, Peer  # noqa: E402
from surrogate import Surrogate, half_of  # noqa: E402

from model.config import Config  # noqa: E402
from tuner.definition.loading import load_study_file  # noqa: E402

CURVES = HERE / "data" / "curves.json"
CHECKPOINTS = (18, 36, 72, 144, 288, 432)
OURS = {  # name → how Ours is made
    "this project": {"sampler": "tpe", "known": True},
    "… without its default first": {"sampler": "tpe", "known": False},
    "random search, same rungs": {"sampler": "random", "known": False},
}


def worlds_of(side: str, splits: int) -> list[Surrogate]:
    """The worlds made of one side of each random split of the recorded runs."""
    space = load_study_file(HERE / "data" / "curves.yaml").space.distributions()
    runs = json.loads(CURVES.read_text())
    return [Surrogate(space, half_of(runs, side, split)) for split in range(splits)]


def our_traces(world: Surrogate, task: dict[str, Any], *, sampler: str, known: bool) -> list[list[float]]:
    """This project's stopping rule of the shipped studies with one of its samplers."""
    study = load_study_file(HERE / "data" / "curves.yaml")
    default = study.space.params_for(Config().to_dict(), nearest=True)
    return [
        replay.replay(
            Ours(study, seed, sampler=sampler, default=default if known else None),
            world,
            budget=task["budget"],
            workers=task["workers"],
        )
        for seed in range(task["seeds"])
    ]


def peer_traces(peer: Peer, world: Surrogate, task: dict[str, Any]) -> list[list[float]]:
    """Runs a peer's script in its own environment."""
    key = os.urandom(16).hex()
    with Listener(family="AF_UNIX", authkey=key.encode()) as listener, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [peer.python(), "-W", "ignore", HERE / "anytime" / f"peer_{peer.key}.py", listener.address],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1", "REPLAY_KEY": key},
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
    return asked


def show(name: str, halves: list[NDArray[np.float64]]) -> None:
    """The mean of the best value at a few epochs, and how far the worst study of twenty ends."""
    traces = np.concatenate(halves)
    means = traces[:, np.array(CHECKPOINTS) - 1].mean(0)
    worst = np.percentile(traces[:, -1], 5)
    print(f"{name:32}" + "".join(f"{mean:8.4f}" for mean in means) + f"{worst:10.4f}", flush=True)


def main() -> None:
    """Prints the curves of all, then how each compares with every other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument(
        "--splits", type=int, default=4, help="random halves of the recorded runs (default 4)"
    )
    parser.add_argument("--seeds", type=int, default=40, help="studies of each tuner in a half (default 40)")
    keys = [peer.key for peer in PEERS]
    parser.add_argument("--peers", nargs="*", choices=keys, default=keys, help="default: all of them")
    options = parser.parse_args()
    if not CURVES.exists():
        print(f"no curves in {CURVES} yet: record them with benchmarks/record_curves.py")
        return
    worlds = worlds_of(options.half, options.splits)
    task = {"budget": CHECKPOINTS[-1], "workers": 2, "seeds": options.seeds}
    print(f"{options.splits} random halves (side '{options.half}'), {options.seeds} seeds in each")
    print(f"{'best value after epochs':32}" + "".join(f"{epoch:8}" for epoch in CHECKPOINTS) + "   worst 5%")
    found: dict[str, list[NDArray[np.float64]]] = {}
    for name, how in OURS.items():
        found[name] = [np.array(our_traces(world, task, **how)) for world in worlds]
        show(name, found[name])
    for peer in PEERS:
        if peer.key not in options.peers:
            continue
        try:
            found[peer.name] = [np.array(peer_traces(peer, world, task)) for world in worlds]
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{peer.name:32} left out: {error}")
            continue
        show(peer.name, found[peer.name])
    columns = "".join(f"{title:>22}" for title in ("epochs / its epochs", "epochs / its budget"))
    print(f"\n{'epochs to a peer’s final best':64}{columns}{'reached':>9}{'final, difference':>28}")
    for peer_name in list(found)[1:]:
        for name in dict.fromkeys((*OURS, peer_name)):  # last the peer beside itself: what equal tuners score
            row = compare(found[name], found[peer_name])
            gain = f"{row.gain.value:+.4f} [{row.gain.low:+.4f}, {row.gain.high:+.4f}]"
            readings = f"{row.ratio!s:>22}{row.share!s:>22}"
            print(f"{name:30}vs {peer_name:31}{readings}{row.reached:9.0%}{gain:>28}")


if __name__ == "__main__":
    main()
