"""Outside results: `../shared/data/curves`, whose README names the sources. A task is `source/name`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import figures
import numpy as np
from numpy.typing import NDArray

CURVES = figures.ROOT.parent / "shared" / "data" / "curves"
Arrays = dict[str, NDArray[Any]]


def index(folder: Path, source: str) -> dict[str, Any]:
    """What a source says of its tasks: metric, goal, parameters."""
    found: dict[str, Any] = json.loads((folder / source / "index.json").read_text(encoding="utf-8"))
    return found


def arrays(folder: Path, task: str) -> Arrays:
    """The arrays of a task, by name."""
    with np.load(folder / f"{task}.npz") as stored:
        return {name: stored[name] for name in stored.files}


def runs(content: Arrays) -> Iterator[tuple[int, int, slice]]:
    """Configuration, seed and rows of each run of a task of AlgoPerf, whose runs have different lengths."""
    starts = content["run_start"]
    for config, seed, begin, end in zip(
        content["run_config"], content["run_study"], starts, starts[1:], strict=False
    ):
        yield int(config), int(seed), slice(int(begin), int(end))


def filled_by_run(content: Arrays, fields: int) -> NDArray[np.float64]:
    """`(field, configuration, seed)` without a value."""
    shape = (fields, int(content["run_config"].max()) + 1, int(content["run_study"].max()) + 1)
    return np.full(shape, np.nan)
