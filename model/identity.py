"""What decides a run digit for digit: two runs of one identity have the same epochs and the same network."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from model.config import Config
from model.devices import place


def identity(config: Config, data_hash: str) -> str:
    """A hash of configuration (seed included), data, code, libraries, device and threads."""
    file = config.vocabulary_file
    of = {
        "config": config.to_dict(),
        "vocabulary_file": _digest(Path(file).read_bytes()) if file and Path(file).is_file() else "",
        "data": data_hash,
        "code": _code(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": place(config).reason,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    return _digest(json.dumps(of, sort_keys=True).encode())


@cache
def _code() -> str:
    """A digest of this package's files, without its folders: they hold the simulator and the workload."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return _digest(b"".join(file.name.encode() + file.read_bytes() for file in files))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
