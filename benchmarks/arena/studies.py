"""Studies of a method in a world: their traces, which may be kept in a folder."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import figures
import numpy as np
from arena.methods import Method
from arena.replay import replay
from arena.summary import Floats
from arena.worlds import LENGTHS, World
from peers import Peer

WORKERS = 2
SHOWN = (1, 2, 4, 8, 16, LENGTHS)  # full runs, after which the best value is shown


def own(method: Method, world: World, seeds: int) -> Floats:
    """The traces of a method that runs in this process, (study, epoch)."""
    spent = {"budget": world.budget, "workers": WORKERS}
    return np.array([replay(method(world, seed), world, **spent) for seed in range(seeds)])


def of_peer(peer: Peer, world: World, seeds: int) -> Floats:
    """The traces of a peer, which runs in its own environment.

    Raises:
        RuntimeError: the last line that it wrote before it failed.
    """
    key = os.urandom(16).hex()
    task = {"budget": world.budget, "workers": WORKERS, "seeds": seeds}
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(figures.ROOT / "benchmarks"), "REPLAY_KEY": key}
    with Listener(family="AF_UNIX", authkey=key.encode()) as listener, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [peer.python(), "-W", "ignore", "-m", "arena.peers", peer.key, listener.address],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, **environment},
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


def kept(folder: Path | None, key: Sequence[Any], make: Callable[[], Floats]) -> Floats:
    """What `make` gives, from the folder if it has been made before."""
    if folder is None:
        return make()
    path = folder / ("-".join(str(part).replace(" ", "_").replace(",", "") for part in key) + ".npy")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.load(path)


def shown(traces: Floats, sign: float) -> list[str]:
    """The mean over studies of the best value after SHOWN full runs; `traces` end after LENGTHS of them."""
    places = np.array(SHOWN) * traces.shape[1] // LENGTHS - 1
    return [f"{sign * value:.4f}" for value in traces.mean(axis=0)[places]]
