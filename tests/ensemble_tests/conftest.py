"""Made-up run folders, the smallest that the ensemble can be tested on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import synthetic_runs


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The generator of run folders."""
    return synthetic_runs


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty results folder."""
    return tmp_path / "results"


@pytest.fixture
def make_runs(results: Path, synthetic: ModuleType) -> Callable[..., list[Path]]:
    """`make_runs(count, study="loss", **options of make_run)`: runs of rising skill, 0 the weakest."""

    def make(count: int, *, study: str = "loss", first: int = 0, **options: object) -> list[Path]:
        folders = []
        for i in range(first, first + count):
            values = {"skill": 3.0 + 0.2 * i, "seed": i, **options}
            folders.append(synthetic.make_run(results / "runs" / study / str(i), **values))
        return folders

    return make
