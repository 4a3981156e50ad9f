"""The order that an agent is sent: everything that it needs to run trials of one study, on any machine."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.artifacts import run_store, weights
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.study_file import StudyFile
from tuner.storage import leases
from tuner.storage.study import OpenStudy
from tuner.tracking.tracker import Tracker
from tuner.workloads.workload import Inputs


@dataclass(frozen=True)
class Sender:
    """The machine that an order comes from, and the folder that its command was given in."""

    host: str
    boot: str
    folder: Path

    @classmethod
    def this_process(cls) -> Sender:
        return cls(socket.gethostname(), leases.boot_id(), Path.cwd())

    def elsewhere(self) -> bool:
        """Whether this process runs on another machine."""
        return (self.host, self.boot) != (socket.gethostname(), leases.boot_id())


@dataclass(frozen=True)
class Work:
    """What is to be run, and where: the part of a request that agents need, too.

    Attributes:
        count: trials that each agent runs before it leaves; None: until the study is done.
        min_free: bytes that must be free on the disk of `results` before a trial starts.
        term: seconds that a lease lives without a beat.
    """

    study_file: StudyFile
    url: str = field(repr=False)  # it may hold a password
    results: Path
    seed: int = 0
    count: int | None = None
    min_free: int = 200 * 2**20
    term: float = leases.TERM_SECONDS
    keep_weights: int = weights.KEEP


@dataclass(frozen=True)
class Order:
    """Everything an agent needs; pickled to it.

    Attributes:
        total: finished trials wanted, None without end.
        inputs: what the trials read; a host that lacks it fetches it by its digest.
        known_start: the first trial is a configuration that is known to be good.
        length: epochs of a whole trial.
        sender: where the order comes from, which may be another machine; None: from this process's parent.
        changes: how often the study had been changed; an agent leaves when it is changed once more.
        asked_before: a stop that was asked for before the command began.
        artifacts: where run folders are stored for other machines; None: nowhere.
    """

    work: Work
    total: int | None
    tracker: Tracker
    pruner: PrunerSettings
    base: Mapping[str, Any]
    overrides: Mapping[str, Any]
    inputs: Inputs = field(default_factory=Inputs)
    known_start: bool = False
    length: int | None = None
    log: Path | None = None
    sender: Sender | None = None
    changes: int = 0
    asked_before: Any = None
    artifacts: run_store.StoreLocation | None = None

    def mirror(self, study: OpenStudy, say: Callable[[str], None]) -> run_store.Mirror | None:
        """What stores run folders for other machines; `say` is told why one was not. None: nowhere."""
        if self.artifacts is None:
            return None
        work = self.work
        return run_store.Mirror(
            self.artifacts, study, work.study_file, results=work.results, keep=work.keep_weights, say=say
        )
