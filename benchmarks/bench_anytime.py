"""How many epochs until a good configuration is found: ours against peers, on recorded learning curves.

    python benchmarks/bench_anytime.py                 # installs the peers, each in an environment of its own

Every tuner searches the same space with the same two simulated workers, on what recorded runs
(record_curves.py) say of it. Half of the runs served to choose our defaults (`--half choose`), the other
half is reported. Each peer runs its own search and its own stopping rule: Ray Tune with ASHA and
OptunaSearch, Syne Tune with BOHB, W&B's `sweeps` with bayes and hyperband. A study of ours begins with the
default configuration, which its authors know to be good; it is also shown without that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "anytime")]

import replay  # noqa: E402
from ours import Ours  # noqa: E402
from peers import PEERS, Peer  # noqa: E402
from surrogate import Surrogate  # noqa: E402

from tuner.definition.loading import load_study_file  # noqa: E402

CURVES = HERE / "data" / "curves.json"
CHECKPOINTS = (18, 36, 72, 144, 288, 432)


def world_of(half: str) -> Surrogate:
    """The world made of every second recorded run."""
    study = load_study_file(HERE / "data" / "curves.yaml")
    runs = json.loads(CURVES.read_text())[0 if half == "choose" else 1 :: 2]
    return Surrogate(study.space.distributions(), runs)


def our_traces(world: Surrogate, task: dict[str, Any], *, known: bool) -> list[list[float]]:
    """This project's defaults: the sampler of method bayes, and the stopping rule of the shipped studies."""
    study = load_study_file(HERE / "data" / "curves.yaml")
    return [
        replay.replay(Ours(study, seed, known=known), world, budget=task["budget"], workers=task["workers"])
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


def first(trace: list[float], value: float) -> int:
    """How many epochs until `value` was reached; the whole budget where it never was."""
    return next((epoch for epoch, best in enumerate(trace, start=1) if best >= value), len(trace))


def compare(ours: list[list[float]], theirs: list[list[float]]) -> dict[str, float]:
    """Mean over seeds of: the peer's final best, its epochs to it, ours to it, and how often we got there."""
    finals = [trace[-1] for trace in theirs]
    own = [first(trace, trace[-1]) for trace in theirs]
    we = [first(trace, final) for trace, final in zip(ours, finals, strict=True)]
    reached = [trace[-1] >= final for trace, final in zip(ours, finals, strict=True)]
    return {
        "final": statistics.mean(finals),
        "theirs": statistics.mean(own),
        "ours": statistics.mean(we),
        "ratio": sum(we) / sum(own),
        "reached": statistics.mean(reached),
    }


def show(name: str, traces: list[list[float]]) -> None:
    """The mean of the best value at a few epochs."""
    means = (statistics.mean(trace[epoch - 1] for trace in traces) for epoch in CHECKPOINTS)
    print(f"{name:32}" + "".join(f"{mean:8.4f}" for mean in means), flush=True)


def main() -> None:
    """Prints the curves of all, then epochs to each peer's final best."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    if not CURVES.exists():
        print(f"no curves in {CURVES} yet: record them with benchmarks/record_curves.py")
        return
    world = world_of(options.half)
    task = {"budget": CHECKPOINTS[-1], "workers": 2, "seeds": options.seeds}
    print(f"the '{options.half}' half of the runs, best of them {world.best:.4f}; {options.seeds} seeds")
    print(f"{'best value after epochs':32}" + "".join(f"{epoch:8}" for epoch in CHECKPOINTS))
    ours = {
        "this project": our_traces(world, task, known=True),
        "… without its default first": our_traces(world, task, known=False),
    }
    for name, traces in ours.items():
        show(name, traces)
    rows = []
    for peer in PEERS:
        try:
            theirs = peer_traces(peer, world, task)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{peer.name:32} left out: {error}")
            continue
        show(peer.name, theirs)
        rows.append((peer.name, *(compare(traces, theirs) for traces in ours.values())))
    print(f"\n{'epochs to a peer’s best':32}{'final':>8}{'its':>8}{'ours':>8}{'ratio':>8}{'reached':>9}")
    for name, row, without in rows:
        print(
            f"{name:32}{row['final']:8.4f}{row['theirs']:8.1f}{row['ours']:8.1f}{row['ratio']:8.2f}"
            f"{row['reached']:9.0%}   without its default first: {without['ratio']:.2f}"
        )


if __name__ == "__main__":
    main()
