"""What an agent is sent: everything that it needs to run trials of one study, on whichever machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.artifacts import run_store, weights
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.study_file import StudyFile
from tuner.storage import leases
from tuner.tracking.tracker import Tracker


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
class Order:
    """Everything an agent needs; pickled to it.

    Attributes:
        total: finished trials wanted, None without end.
        data: the data set of our model's studies.
        min_free: bytes that must be free on the disk of `results` before a trial starts.
        term: seconds that a lease lives without a beat.
        sender: where the order comes from, which may be another machine; None: from this process's parent.
        data_hash: content of the data set, by which a host that lacks it fetches it.
        artifacts: where run folders are stored for other machines; None: nowhere.
    """

    url: str = field(repr=False)  # it may hold a password
    study_file: StudyFile
    study_name: str
    results: Path
    total: int | None
    seed: int
    tracker: Tracker
    pruner: PrunerSettings
    base: Mapping[str, Any]
    overrides: Mapping[str, Any]
    data: Path | None = None
    max_epochs: int | None = None
    min_free: int = 200 * 2**20
    term: float = leases.TERM_SECONDS
    keep_weights: int = weights.KEEP
    log: Path | None = None
    sender: Sender | None = None
    data_hash: str | None = None
    artifacts: run_store.Place | None = None
