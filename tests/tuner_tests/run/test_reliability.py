"""The reliability harness in small: real processes that are killed, stopped and started together.

The full one, with 200 kills and full disks, is `python benchmarks/bench_reliability.py`.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).resolve().parents[3] / "benchmarks" / "bench_reliability.py"


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_reliability", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("kills", {"kills": 4, "agents": 2, "trials": 24}),
        ("fresh_database", {"starters": 3}),
        ("stopped_agent", {}),
    ],
)
def test_nothing_is_lost_or_done_twice(
    harness: ModuleType, tmp_path: Path, scenario: str, options: dict[str, Any]
) -> None:
    run: Callable[..., Any] = harness.SCENARIOS[scenario]
    outcome = run(tmp_path / scenario, **options)
    assert outcome.problems == [], outcome.figures
