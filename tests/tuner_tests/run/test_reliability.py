"""The reliability harness in small: real processes that are killed, stopped and started together.

The full one, with more kills and full disks, is `python benchmarks/bench_reliability.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_reliability import SCENARIOS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unmeasured")]


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("kills", {"kills": 4, "agents": 2, "trials": 24}),
        ("fresh_database", {"starters": 3}),
        ("stopped_agent", {}),
    ],
)
def test_nothing_is_lost_or_done_twice(tmp_path: Path, scenario: str, options: dict[str, Any]) -> None:
    run: Callable[..., Any] = SCENARIOS[scenario]
    outcome = run(tmp_path / scenario, **options)
    assert outcome.problems == [], outcome.figures
