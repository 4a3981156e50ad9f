"""Records which process uses which GPU of this machine, over all studies of this user.

One file names every agent that has GPUs, with its share of each. An agent starts when there is room for its
share, and its entry goes when it ends. An entry whose process has died does not count, so nothing has to be
cleaned up after a kill.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tuner.base.files import whole_file
from tuner.run.executors.gpus import SLACK
from tuner.storage.leases import process_start
from tuner.storage.locks import FileLock


@dataclass(frozen=True)
class Lease:
    """What an agent may use: `gpus` as CUDA_VISIBLE_DEVICES has them, and its share of each."""

    gpus: str
    share: float
    pid: int
    started: str
    study: str


class GpuLeases:
    """Gives agents of one study their GPUs.

    Args:
        slots: what each agent would see (`tuner.run.executors.gpus.slots`).
        share: of each GPU that an agent sees, at most 1.
        agents: where more are asked for than there are slots, they share further.
        study: named to those who wait.
        folder: where the file is; all studies that share GPUs have the same.
    """

    def __init__(
        self, slots: Sequence[str], share: float, *, agents: int, study: str, folder: Path | None = None
    ) -> None:
        self._slots = tuple(dict.fromkeys(slots))
        self._share = min(share, 1.0) / max(1, math.ceil(agents / len(slots)))
        self._study = study
        folder = folder or _own_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = folder / "gpus.json"
        self._lock = FileLock(folder / "gpus.lock")

    def take(self) -> Lease | None:
        """GPUs with room for one more agent, the least used first; None while there are none."""
        pid = os.getpid()
        with self._lock:
            leases = self._read()
            used = _used(leases)
            slot = min(self._slots, key=lambda names: _most(names, used))
            if _most(slot, used) + self._share > 1 + SLACK:
                return None
            lease = Lease(slot, self._share, pid, process_start(pid) or "", self._study)
            self._write([*leases, lease])
        return lease

    def give_back(self, lease: Lease) -> None:
        with self._lock:
            leases = self._read()
            if lease in leases:
                leases.remove(lease)
                self._write(leases)

    def holders(self) -> list[str]:
        """Who has GPUs now: `study (process 4711)`, each once."""
        with self._lock:
            return list(dict.fromkeys(f"{lease.study} (process {lease.pid})" for lease in self._read()))

    def _read(self) -> list[Lease]:
        try:
            found = [Lease(**entry) for entry in json.loads(self._file.read_text())]
        except (OSError, ValueError, TypeError):  # none yet, or of another version
            return []
        return [lease for lease in found if process_start(lease.pid) == lease.started]

    def _write(self, leases: Sequence[Lease]) -> None:
        with whole_file(self._file) as beside:
            beside.write_text(json.dumps([asdict(lease) for lease in leases]))


def _used(leases: Sequence[Lease]) -> Mapping[str, float]:
    used: dict[str, float] = {}
    for lease in leases:
        for name in lease.gpus.split(","):
            used[name] = used.get(name, 0.0) + lease.share
    return used


def _most(slot: str, used: Mapping[str, float]) -> float:
    """How much of the most used GPU of a slot is taken."""
    return max(used.get(name, 0.0) for name in slot.split(","))


def _own_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"gcode-tuner-{os.getuid()}"
