"""Chooses and opens the executor of a request. Its libraries are imported only when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tuner.base.errors import InputError
from tuner.definition.study_file import Resources
from tuner.run.executors.gpu_leases import GpuLeases
from tuner.run.executors.gpus import APPLE
from tuner.run.executors.local import LocalExecutor, share
from tuner.run.executors.protocol import Executor

Kind = Literal["local", "dask", "ray"]
KINDS: tuple[Kind, ...] = ("local", "dask", "ray")


@dataclass(frozen=True)
class ExecutorChoice:
    """Where agents run. `address`: of a Dask scheduler or a Ray cluster.

    Raises:
        InputError: the address is missing, or means nothing here.
    """

    kind: Kind = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "local" and self.address is not None:
            raise InputError("--address: only for --executor dask or ray")
        if self.kind == "dask" and self.address is None:
            raise InputError(
                "--executor dask: --address is missing: a scheduler's tcp://HOST:8786 or its scheduler file "
                "(on this machine alone, --executor local does the same)"
            )


def open_executor(
    choice: ExecutorChoice,
    *,
    agents: int,
    total: int | None,
    resources: Resources,
    gpus: Sequence[str] = (),
    study: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Executor:
    """Opens what was chosen.

    Args:
        agents: how many there will be on this machine, where it is a local one.
        total: finished trials wanted.
        resources: what a trial needs; gpus: of this machine, one entry for each agent that they suit.
        study: named to other studies that wait for those GPUs.
        say: told in a line what was found.

    Raises:
        InputError: its library is missing, or nothing answers at the address.
    """
    if choice.kind == "dask":
        from tuner.run.executors import dask_workers

        return dask_workers.open_cluster(choice.address or "", say, total=total)
    if choice.kind == "ray":
        from tuner.run.executors import ray_actors

        return ray_actors.open_cluster(choice.address, say)
    leased = [name for name in gpus if name != APPLE]
    own = share(agents)
    return LocalExecutor(
        threads=min(resources.cpus or own, own),  # more threads than cores wait for each other
        memory=resources.memory or 0,
        gpus=gpus,
        leases=GpuLeases(leased, resources.gpus or 0, agents=agents, study=study) if leased else None,
        cpus=resources.cpus,
    )
