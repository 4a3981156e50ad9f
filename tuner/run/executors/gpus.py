"""The GPUs of this machine, found without importing torch, which takes seconds, and who uses which.

NVIDIA's and AMD's go by `CUDA_VISIBLE_DEVICES`, which ROCm reads, too.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tuner.base.files import whole_file
from tuner.storage.leases import process_start
from tuner.storage.locks import FileLock

VISIBLE = "CUDA_VISIBLE_DEVICES"  # the variable by which CUDA hides GPUs from a process
HIP_VISIBLE = "HIP_VISIBLE_DEVICES"  # AMD's own name of it; the two must not differ
APPLE = "mps"
SLACK = 1e-9  # three thirds are a whole
KFD = Path("/sys/class/kfd/kfd/topology/nodes")  # where AMD's driver lists processors; a GPU has SIMD units


def slots(names: Sequence[str], share: float | None) -> tuple[str, ...]:
    """What each agent sees, where a trial takes `share` of these GPUs: "0", "0" for a half, "0,1" for two."""
    if not names or not share:
        return ()
    if share < 1:
        return tuple(name for name in names for _ in range(int(1 / share + SLACK)))
    each = int(share)
    return tuple(",".join(names[start : start + each]) for start in range(0, len(names) - each + 1, each))


def here() -> tuple[str, ...]:
    """Names by which a process may be given one GPU each: what CUDA_VISIBLE_DEVICES has, else what
    nvidia-smi or AMD's driver lists, else Apple's one; empty without any."""
    for variable in (VISIBLE, HIP_VISIBLE):
        if variable in os.environ:
            return tuple(name for name in os.environ[variable].split(",") if name not in {"", "-1"})
    if platform.system() == "Darwin":
        return (APPLE,) if platform.machine() == "arm64" else ()
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return _amd()
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=uuid", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # a driver that is broken: torch will not find it either
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.startswith("GPU-"))


def variables(names: str) -> dict[str, str]:
    """The variables that show a process these GPUs alone."""
    return {name: names for name in (VISIBLE, HIP_VISIBLE) if name == VISIBLE or name in os.environ}


def _amd() -> tuple[str, ...]:
    """AMD's GPUs by their numbers, in the driver's order."""
    try:
        told = [path.read_text().split() for path in sorted(KFD.glob("*/properties"))]
    except OSError:
        return ()
    units = [dict(zip(words[::2], words[1::2], strict=False)).get("simd_count", "0") for words in told]
    return tuple(str(index) for index in range(sum(unit != "0" for unit in units)))


@dataclass(frozen=True)
class Lease:
    """What an agent may use: `gpus` as CUDA_VISIBLE_DEVICES has them, and its share of each."""

    gpus: str
    share: float
    pid: int
    started: str
    study: str


class GpuLeases:
    """Gives agents of one study their GPUs, over all studies of this user on this machine.

    One file names every agent that has GPUs, with its share of each. An agent starts when there is room for
    its share. An entry whose process has died does not count, so nothing has to be cleaned up after a kill.

    Args:
        slots: what each agent would see (`slots`).
        share: of each GPU that an agent sees, at most 1.
        agents: where more are asked for than there are slots, they share further.
        study: named to those who wait.
    """

    def __init__(self, slots: Sequence[str], share: float, *, agents: int, study: str) -> None:
        self._slots = tuple(dict.fromkeys(slots))
        self._share = min(share, 1.0) / max(1, math.ceil(agents / len(slots)))
        self._study = study
        folder = _own_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = folder / "gpus.json"
        self._lock = FileLock(folder / "gpus.lock")

    def take(self) -> Lease | None:
        """GPUs with room for one more agent, the least used first; None while there are none."""
        pid = os.getpid()
        with self._lock:
            leases = self._read()
            used = defaultdict[str, float](float)
            for held in leases:
                for name in held.gpus.split(","):
                    used[name] += held.share
            most = {slot: max(used[name] for name in slot.split(",")) for slot in self._slots}
            slot = min(most, key=lambda slot: most[slot])
            if most[slot] + self._share > 1 + SLACK:
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


def _own_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"gcode-tuner-{os.getuid()}"
