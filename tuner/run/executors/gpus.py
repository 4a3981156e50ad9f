"""The GPUs of this machine, found without importing torch, which takes seconds."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"  # the variable by which CUDA hides GPUs from a process
APPLE = "mps"


def slots(names: Sequence[str], share: float | None) -> tuple[str, ...]:
    """What each agent sees, where a trial takes `share` of these GPUs: "0", "0" for a half, "0,1" for two."""
    if not names or not share:
        return ()
    if share < 1:
        return tuple(name for name in names for _ in range(round(1 / share)))
    each = int(share)
    return tuple(",".join(names[start : start + each]) for start in range(0, len(names) - each + 1, each))


def here() -> tuple[str, ...]:
    """Names by which a process may be given one GPU each: what CUDA_VISIBLE_DEVICES has, else what
    nvidia-smi lists, else Apple's one; empty without any."""
    if VISIBLE in os.environ:
        return tuple(name for name in os.environ[VISIBLE].split(",") if name not in {"", "-1"})
    if platform.system() == "Darwin":
        return (APPLE,) if platform.machine() == "arm64" else ()
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=uuid", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # a driver that is broken: torch will not find it either
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.startswith("GPU-"))
