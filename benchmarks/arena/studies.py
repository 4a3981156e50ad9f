"""Studies in a world, each in a file of its own: what has been run is not run again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Listener
from pathlib import Path

import figures
import numpy as np
from arena.replay import Timed, Tuner, replay
from arena.summary import Floats
from arena.worlds import World
from peers import Peer

WORKERS = 2
Method = Callable[[World, int], Tuner]


@dataclass(frozen=True)
class Study:
    """What a study of one seed found.

    Attributes:
        trace: the best value after each epoch.
        seconds: of the tuner's processor time for each trial that it proposed or resumed.
    """

    trace: Floats
    seconds: float


@dataclass(frozen=True)
class Store:
    """A folder of studies: `source/task/method/seed.npy`, the trace and then the seconds."""

    folder: Path

    def path(self, world: World, label: str, seed: int) -> Path:
        name = "".join(letter if letter.isalnum() else "-" for letter in label)
        return self.folder / world.name / name / f"{seed}.npy"

    def get(self, world: World, label: str, seeds: int) -> list[Study]:
        """The studies that are there, of the first so many seeds."""
        paths = (self.path(world, label, seed) for seed in range(seeds))
        found = [np.load(path) for path in paths if path.exists()]
        return [Study(row[:-1], float(row[-1])) for row in found]

    def run(self, world: World, label: str, method: Method | Peer, seeds: Sequence[int]) -> None:
        """Runs the studies of these seeds that are not there.

        Raises:
            RuntimeError: the last line that a peer wrote before it failed.
        """
        missing = [seed for seed in seeds if not self.path(world, label, seed).exists()]
        studies = of_peer(method, world, missing) if isinstance(method, Peer) else own(method, world, missing)
        for seed, study in zip(missing, studies if missing else (), strict=True):
            path = self.path(world, label, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, [*study.trace, study.seconds])


def own(method: Method, world: World, seeds: Sequence[int]) -> Iterator[Study]:
    """Studies of a method that runs in this process."""
    for seed in seeds:
        here = world.fresh()
        tuner = Timed(method(here, seed))
        trace = replay(tuner, here, budget=world.budget, workers=WORKERS)
        yield Study(np.array(trace), tuner.seconds / tuner.asked)


def of_peer(peer: Peer, world: World, seeds: Sequence[int]) -> Iterator[Study]:
    """Studies of a peer, which runs in its own environment."""
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
                for _ in seeds:
                    here = world.fresh()
                    while not isinstance(asked := connection.recv(), list):
                        connection.send(here.curve(asked))
                    trace, seconds, count = asked
                    yield Study(np.array(trace), seconds / count)
        except EOFError:
            errors.seek(0)
            raise RuntimeError(errors.read().decode().strip().splitlines()[-1]) from None
        finally:
            process.wait()
