"""The GPUs of this machine, found without importing torch, which takes seconds.

NVIDIA's and AMD's go by `CUDA_VISIBLE_DEVICES`, which ROCm reads, too.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

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
