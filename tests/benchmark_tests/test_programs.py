"""benchmarks/bench_programs.py stores its tables, and the figure that the README shows."""

from __future__ import annotations

import figures
from bench_programs import stored


def test_the_figure_of_the_readme_is_that_of_the_table() -> None:
    shown = figures.load()
    found = stored("reading", shown["programs.reading"]["lines"])
    assert found["programs.rows"] == shown["programs.rows"]["value"]
    assert found["programs.rows_interval"] == shown["programs.rows_interval"]["value"]
    assert stored("live", ["| a |"]) == {"programs.live": ["| a |"]}
