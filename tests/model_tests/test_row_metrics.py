"""Scores of programs read row by row, against definitions by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.intervals import LEAST_RECORDINGS, mean_share, share
from model.row_metrics import RowScore, common_length, edit_distance, merged_neighbours, summary

sequences = st.lists(st.integers(0, 3), max_size=8).map(lambda x: np.array(x, dtype=np.int64))


def slow_edit(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return slow_edit(a[1:], b[1:])
    return 1 + min(slow_edit(a[1:], b), slow_edit(a, b[1:]), slow_edit(a[1:], b[1:]))


def slow_common(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + slow_common(a[1:], b[1:])
    return max(slow_common(a[1:], b), slow_common(a, b[1:]))


@given(sequences, sequences)
def test_distances_equal_their_definitions(a: np.ndarray, b: np.ndarray) -> None:
    assert edit_distance(a, b) == slow_edit(a.tolist(), b.tolist())
    assert common_length(a, b) == slow_common(a.tolist(), b.tolist())


def test_a_score_counts_rows_neighbours_and_lines() -> None:
    truth = ["A", "A", "B", "C", "C", "D"]
    said = ["A", "B", "B", "C", "X", "D"]
    score = RowScore.of("r", said, truth, operation_right=True, window=2, stride=2)
    assert (score.rows, score.right, score.near) == (6, 4, 5)
    assert (score.changes, score.decoded, score.edits, score.found) == (4, 5, 1, 4)
    assert (score.windows, score.windows_right) == (3, 2), "labels: ties go to the first line"
    figures = summary([score])
    assert figures["row_acc"].mean == pytest.approx(4 / 6)
    assert figures["program_error_rate"].mean == pytest.approx(1 / 4)
    assert figures["line_invented"].mean == pytest.approx(1 / 5)


def test_neighbours_merge() -> None:
    assert merged_neighbours(np.array([1, 1, 2, 1, 1])).tolist() == [1, 2, 1]
    assert merged_neighbours(np.array([], dtype=int)).tolist() == []


@pytest.mark.parametrize("recordings", [1, LEAST_RECORDINGS - 1])
def test_few_recordings_have_no_interval(recordings: int) -> None:
    found = share(np.ones(recordings), np.full(recordings, 2))
    assert (found.mean, found.low, found.high) == (0.5, None, None)


@given(st.lists(st.integers(0, 10), min_size=5, max_size=30), st.integers(0, 3))
def test_an_interval_holds_its_figure_and_stays_within_0_and_1(right: list[int], seed: int) -> None:
    found = share(np.array(right), np.full(len(right), 10), seed=seed)
    assert 0 <= found.low <= found.high <= 1
    if len(set(right)) == 1:
        assert found.low == found.high == found.mean


def test_windows_count_by_their_recording() -> None:
    owner = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    right = (owner % 2 == 0).astype(float)
    found = mean_share(right, owner)
    assert found.mean == right.mean()
    assert found.low < found.mean < found.high
