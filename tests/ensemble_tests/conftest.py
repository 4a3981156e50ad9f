"""Made-up run folders, the smallest that the ensemble can be tested on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

GENERATOR = Path(__file__).parents[2] / "benchmarks" / "synthetic_runs.py"


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """The generator that the benchmark uses at full size."""
    spec = importlib.util.spec_from_file_location("synthetic_runs", GENERATOR)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


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
