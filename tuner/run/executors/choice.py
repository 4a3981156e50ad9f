"""Chooses and opens the executor of a request. Its libraries are imported only when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.base import plugins
from tuner.base.errors import InputError, nearest
from tuner.definition.values import Resources
from tuner.run.executors.gpus import APPLE, GpuLeases
from tuner.run.executors.local import LocalExecutor, share, suited
from tuner.run.executors.protocol import Executor

LOCAL = "local"


@dataclass(frozen=True)
class ExecutorChoice:
    """Where agents run: `local`, or the name of an installed executor. `address`: of its cluster.

    Raises:
        InputError: there is no such executor, or the address is missing, or means nothing here.
    """

    kind: str = LOCAL
    address: str | None = None

    def __post_init__(self) -> None:
        known = (LOCAL, *plugins.installed(plugins.EXECUTORS))
        if self.kind not in known:
            hint = nearest(self.kind, known)
            raise InputError(f"executor: expected one of {', '.join(known)}, got {self.kind!r}{hint}")
        if self.kind == LOCAL and self.address is not None:
            raise InputError("--address: only for --executor dask or ray")
        if self.kind != LOCAL:
            self.load().check_address(self.address)

    def check(self) -> None:
        """Raises InputError where the executor's packages are not installed."""
        if self.kind != LOCAL:
            self.load().check_packages()

    def load(self) -> Any:
        """The module of an executor that is not local."""
        return plugins.installed(plugins.EXECUTORS)[self.kind].load()


def open_executor(
    choice: ExecutorChoice,
    *,
    agents: int | None,
    total: int | None,
    resources: Resources,
    gpus: Sequence[str] = (),
    study: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Executor:
    """Opens what was chosen.

    Args:
        agents: how many were asked for; None: as many as suit this machine.
        total: finished trials wanted.
        resources: what a trial needs; gpus: of this machine, one entry for each agent that they suit.
        study: named to other studies that wait for those GPUs.
        say: told in a line what was found.

    Raises:
        InputError: its library is missing, or nothing answers at the address.
    """
    if choice.kind != LOCAL:
        cluster: Executor = choice.load().open_cluster(choice.address, say, total=total)
        return cluster
    leased = [name for name in gpus if name != APPLE]
    agents = agents or suited(total, gpus, cpus=resources.cpus)
    own = share(agents)
    return LocalExecutor(
        threads=min(resources.cpus or own, own),  # more threads than cores wait for each other
        memory=resources.memory or 0,
        gpus=gpus,
        leases=GpuLeases(leased, resources.gpus or 0, agents=agents, study=study) if leased else None,
        cpus=resources.cpus,
    )
