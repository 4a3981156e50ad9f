"""Windows, their labels, and the parts that recordings go to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.recordings import Recording, Recordings
from model.windows import PARTS, dense_labels, find_windows, split, split_windows


def data_of(*lines: list[int], operations: list[str] | None = None) -> Recordings:
    """A data set of one channel with the given line ids, a list for each recording."""
    recordings, start = [], 0
    for i, ids in enumerate(lines):
        operation = operations[i] if operations else "face"
        recordings.append(Recording(f"{operation}_{i:03d}", operation, start, len(ids), ("board",)))
        start += len(ids)
    flat = np.array([x for ids in lines for x in ids], dtype=np.int32)
    return Recordings(
        name="made",
        folder=None,
        kind="recordings",
        content_hash="",
        channels=("board.Ax",),
        boards=("board",),
        signals=np.zeros((start, 1), np.float32),
        present=np.ones((len(lines), 1), bool),
        position=np.zeros((start, 3), np.float32),
        line_ids=flat,
        lines=tuple(f"G1 X{i}" for i in range(int(flat.max(initial=0)) + 1)),
        recordings=tuple(recordings),
    )


def test_the_label_is_the_most_frequent_line_of_the_window() -> None:
    assert dense_labels(data_of([0, 1, 1, 2]), window=4)[0] == 1


def test_of_lines_equally_frequent_the_first_in_the_window_is_the_label() -> None:
    assert dense_labels(data_of([3, 1, 1, 3, 2]), window=5)[0] == 3
    assert dense_labels(data_of([5, 4, 3, 2]), window=4)[0] == 5


@given(st.lists(st.integers(0, 4), min_size=6, max_size=40), st.integers(1, 6))
def test_labels_equal_counting_by_hand(lines: list[int], window: int) -> None:
    labels = dense_labels(data_of(lines), window=window)
    for start in range(len(lines) - window + 1):
        counts = Counter(lines[start : start + window])  # keeps the order of first appearance
        assert labels[start] == max(counts, key=lambda line: counts[line])


def test_labels_of_a_long_recording_equal_counting_by_hand() -> None:
    """Counted in parts of 1,024 rows; past the end there are no rows."""
    lines = np.repeat(np.random.default_rng(0).integers(0, 300, 900), 3)[:2_100].tolist()
    labels = dense_labels(data_of(lines), window=16)
    for start in range(len(lines)):
        counts = Counter(lines[start : start + 16])
        assert labels[start] == max(counts, key=lambda line: counts[line])


def test_windows_start_at_every_stride_and_stay_inside_their_recording() -> None:
    windows = find_windows(data_of([0] * 10, [0] * 7), window=4, stride=3)
    assert windows.start.tolist() == [0, 3, 6, 10, 13]
    assert windows.recording.tolist() == [0, 0, 0, 1, 1]


def test_a_recording_shorter_than_a_window_has_one() -> None:
    windows = find_windows(data_of([2, 2, 1]), window=64, stride=16)
    assert windows.start.tolist() == [0]
    assert windows.line.tolist() == [2]


def test_only_the_recordings_asked_for_have_windows() -> None:
    windows = find_windows(data_of([0] * 4, [1] * 4), window=4, stride=4, which=[1])
    assert windows.recording.tolist() == [1]


@given(st.lists(st.sampled_from(["face", "pocket", "adaptive"]), min_size=1, max_size=40), st.integers(0, 9))
def test_every_recording_is_in_exactly_one_part(operations: list[str], seed: int) -> None:
    parts = split(data_of(*[[0]] * len(operations), operations=operations), seed=seed)
    assert sorted(i for part in PARTS for i in parts[part]) == list(range(len(operations)))


def test_an_operation_of_four_has_one_recording_in_each_part() -> None:
    data = data_of(*[[0]] * 24, operations=["rare"] * 4 + ["common"] * 20)
    for part, members in split(data, seed=0).items():
        of = [data.recordings[i].operation for i in members]
        assert of.count("rare") == 1, part


def test_adding_an_operation_moves_no_recording_of_another() -> None:
    one = data_of(*[[0]] * 12, operations=["face"] * 12)
    two = data_of(*[[0]] * 18, operations=["face"] * 12 + ["pocket"] * 6)
    before, after = split(one, seed=3), split(two, seed=3)
    assert {p: [i for i in after[p] if i < 12] for p in PARTS} == {p: list(before[p]) for p in PARTS}


def test_another_seed_is_another_split() -> None:
    data = data_of(*[[0]] * 40)
    assert split(data, seed=0) != split(data, seed=1)


def test_the_published_split_has_its_shares_and_loses_no_window(tiny_recordings: Recordings) -> None:
    windows = find_windows(tiny_recordings, window=16, stride=4)
    parts = split_windows(tiny_recordings, windows)
    everything = np.concatenate([parts[part] for part in PARTS])
    assert sorted(everything.tolist()) == list(range(len(windows)))
    assert len(parts["test"]) / len(windows) == pytest.approx(0.15, abs=0.01)
    assert abs(len(parts["select"]) - len(parts["calibrate"])) <= 1


def test_rows_without_a_known_line_have_no_label() -> None:
    data = data_of([0, 0, 0, 0])
    unknown = replace(data, line_ids=np.full(4, -1, np.int32))
    assert (dense_labels(unknown, window=2) == -1).all()


def test_windows_to_learn_from_end_where_the_boards_stopped_sending() -> None:
    data = data_of([0] * 20)
    stopped = replace(data, recordings=(replace(data.recordings[0], frozen_rows=8),))
    assert find_windows(stopped, window=4, stride=4).start.tolist() == [0, 4, 8, 12, 16]
    assert find_windows(stopped, window=4, stride=4, live_only=True).start.tolist() == [0, 4, 8]


def test_another_split_leaves_test_as_it_is() -> None:
    data = data_of(*[[0] * 4] * 20)
    usual, other, third = (split(data, seed=42, reshuffle=number) for number in (0, 7, 8))
    assert usual["test"] == other["test"] == third["test"]
    assert len({parts["select"] for parts in (usual, other, third)}) == 3
    assert {part: len(found) for part, found in other.items()} == {p: len(f) for p, f in usual.items()}
    assert sorted(i for found in other.values() for i in found) == list(range(20))
    few = data_of([0] * 4, [1] * 4)
    assert split(few, seed=42, reshuffle=7) == split(few, seed=42), "one in train, one in test"
