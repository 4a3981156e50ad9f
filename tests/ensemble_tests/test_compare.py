"""Sizes side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.compare import compare, draw_frontier, frontier
from ensemble.predictions import part_file
from tuner.base.errors import InputError

MakeRuns = Callable[..., list[Path]]


def test_every_size_is_scored_with_uniform_and_learned_weights(make_runs: MakeRuns, results: Path) -> None:
    make_runs(4)
    rows = compare(results, ks=[1, 3, 20]).rows
    assert [row.k for row in rows] == [1, 3, 3, 4, 4]  # 20 asked, 4 there
    assert [row.weights == "uniform" for row in rows] == [True, True, False, True, False]
    assert rows[1].ms == pytest.approx(0.9) and rows[1].parameters == 1003 + 1002 + 1001
    assert rows[1].test["exact"] > rows[0].test["exact"]


def test_a_pool_of_one_is_that_run_alone(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2)
    comparison = compare(results, ks=[1])
    assert comparison.rows[0].test == comparison.singles[0]["test"]


def test_test_predictions_change_no_choice(make_runs: MakeRuns, results: Path) -> None:
    folders = make_runs(3)
    seen = compare(results, ks=[1, 3])
    for folder in folders:
        part_file(folder, "test").unlink()
    blind = compare(results, ks=[1, 3])
    assert [(r.weights, r.members, r.exact) for r in seen.rows] == [
        (r.weights, r.members, r.exact) for r in blind.rows
    ]
    assert blind.rows[0].test == {}


def test_the_frontier_is_drawn_where_costs_and_test_are_known(
    make_runs: MakeRuns, results: Path, tmp_path: Path
) -> None:
    folders = make_runs(3)
    path = tmp_path / "compare.png"
    assert draw_frontier(compare(results, ks=[1, 3]), path) == path
    assert path.read_bytes().startswith(b"\x89PNG")
    for folder in folders:
        part_file(folder, "test").unlink()
    assert draw_frontier(compare(results, ks=[1, 3]), path) is None


def test_the_frontier_keeps_what_nothing_cheaper_matches() -> None:
    points = [(1.0, 50.0), (2.0, 50.0), (3.0, 60.0), (3.0, 55.0), (4.0, 58.0)]
    assert frontier(points) == [(1.0, 50.0), (3.0, 60.0)]


def test_a_size_below_one_is_an_error(results: Path) -> None:
    with pytest.raises(InputError, match="expected numbers from 1, got 0, 5"):
        compare(results, ks=[0, 5])
