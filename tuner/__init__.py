"""Studies of a training run or of anybody's script: read, sampled, pruned, run by agents, reported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.artifacts.run_results import Results

__all__ = ["results"]


def results(study: str, *, results: Path | str | None = None, storage: str | None = None) -> Results:
    """The runs of a study, each with `.name`, `.config`, `.summary` (see `tuner.artifacts.run_results`)."""
    from tuner.artifacts.run_results import load  # late: `import tuner` must not import Optuna

    return load(study, results=results, storage=storage)
