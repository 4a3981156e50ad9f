"""Windows of rows, their labels, and the split into parts."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from model.recordings import NO_LINE, Recordings

PARTS = ("train", "select", "calibrate", "test")
HELD_OUT_SHARE = 0.1  # of the recordings of an operation, for each of select, calibrate and test
PUBLISHED_SEED = 42  # the seed of the published split (track "windows")


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of a data set, by recording and time.

    start: (windows,) int64, first row; recording: (windows,) int64, index of the recording;
    line: (windows,) int64, id of the label line, -1 if unknown.
    """

    start: np.ndarray
    recording: np.ndarray
    line: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def joined(cls, *several: Windows) -> Windows:
        """The windows of all of these."""
        fields = ([getattr(w, name) for w in several] for name in ("start", "recording", "line"))
        return cls(*map(np.concatenate, fields))

    def take(self, index: np.ndarray) -> Windows:
        """The windows at `index` (integers or a mask)."""
        return Windows(self.start[index], self.recording[index], self.line[index])


def split(data: Recordings, *, seed: int, reshuffle: int = 0) -> dict[str, tuple[int, ...]]:
    """Splits by whole recordings, per operation: a tenth each for select, calibrate and test, else train.

    With four or more recordings, an operation has at least one in each part. With three it has none in
    `calibrate`, with two only `train` and `test`, with one only `train`. The split of an operation depends
    only on its own recordings: adding another operation changes nothing.

    Args:
        reshuffle: another number gives another split of the recordings that are not in `test`.
    """
    members: dict[str, list[int]] = {}
    for i, recording in enumerate(data.recordings):
        members.setdefault(recording.operation, []).append(i)
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    for operation, found in members.items():
        rng = np.random.default_rng([seed, zlib.crc32(operation.encode())])
        order = [found[i] for i in rng.permutation(len(found))]
        held = ("test", "select", "calibrate")[: len(order) - 1]
        count = max(1, round(HELD_OUT_SHARE * len(order)))
        if reshuffle and held:
            rest = order[count:]
            rng = np.random.default_rng([seed, zlib.crc32(operation.encode()), reshuffle])
            order[count:] = [rest[i] for i in rng.permutation(len(rest))]
        for k, part in enumerate(held):
            parts[part] += order[k * count : (k + 1) * count]
        parts["train"] += order[len(held) * count :]
    return {part: tuple(sorted(found)) for part, found in parts.items()}


def find_windows(
    data: Recordings,
    *,
    window: int,
    stride: int,
    which: Iterable[int] | None = None,
    live_only: bool = False,
    labels: np.ndarray | None = None,
) -> Windows:
    """All windows of the recordings `which` (default: all), with their labels (default: `dense_labels`).

    A recording shorter than a window has one window, which repeats its last row. `live_only` drops windows
    that reach into the frozen rows at the end of a recording: nothing can be learnt there.
    """
    labels = dense_labels(data, window=window) if labels is None else labels
    starts, owners = [], []
    for i in range(len(data.recordings)) if which is None else which:
        recording = data.recordings[i]
        rows = recording.rows - (recording.frozen_rows if live_only else 0)
        start = recording.start + window_starts(rows, window=window, stride=stride)
        starts.append(start)
        owners.append(np.full(len(start), i, dtype=np.int64))
    start = np.concatenate(starts) if starts else np.empty(0, np.int64)
    owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
    return Windows(start, owner, labels[start])


def dense_labels(data: Recordings, *, window: int) -> np.ndarray:
    """(rows,) int64: the label of the window that starts at each row.

    The label is the most frequent line of the window; ties go to the first line. Windows end with their
    recording.
    """
    out = np.full(data.rows, NO_LINE, dtype=np.int64)
    for recording in data.recordings:
        rows = slice(recording.start, recording.start + recording.rows)
        lines = np.asarray(data.line_ids[rows], dtype=np.int64)
        if recording.rows == 0 or (lines == NO_LINE).all():
            continue
        out[rows] = labels_of(lines, window=window)
    return out


def labels_of(lines: np.ndarray, *, window: int) -> np.ndarray:
    """(rows,) int64: `dense_labels` of one recording, from the line ids of its rows."""
    # Rows past the end have different ids, so that they are never the most frequent line.
    beyond = -2 - np.arange(window - 1, dtype=np.int64)
    padded = np.concatenate([lines, beyond])
    out = np.empty(len(lines), dtype=np.int64)
    for first in range(0, len(lines), 1024):  # bounds the counts: as many columns as there are lines in it
        part = padded[first : first + 1024 + window - 1]
        found, which = np.unique(part, return_inverse=True)
        before = np.zeros((len(part) + 1, len(found)), dtype=np.int32)
        before[np.arange(1, len(part) + 1), which] = 1
        np.cumsum(before, axis=0, out=before)
        count = before[window:] - before[:-window]  # (rows, lines) of the window that starts at a row
        view = sliding_window_view(which, window)
        most = np.take_along_axis(count, view, axis=1).argmax(1)
        out[first : first + len(view)] = found[view[np.arange(len(view)), most]]
    return out


def window_starts(rows: int, *, window: int, stride: int) -> np.ndarray:
    """First rows of the windows of a recording; one shorter than a window has one."""
    return np.arange(0, max(0, rows - window) + 1, stride, dtype=np.int64)


def split_windows(data: Recordings, windows: Windows) -> dict[str, np.ndarray]:
    """Splits windows as the published evaluation does (track "windows"): index arrays into `windows`.

    Stratified by operation: 15 % test, then 15/85 of the rest validation, whose even windows are `select`
    and odd ones `calibrate`. Windows in different parts overlap, so scores on this split are too good.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    operation = np.array([r.operation for r in data.recordings])[windows.recording]
    everything = np.arange(len(windows))
    first = StratifiedShuffleSplit(1, test_size=0.15, random_state=PUBLISHED_SEED)
    rest, test = next(first.split(everything, operation))
    second = StratifiedShuffleSplit(1, test_size=0.15 / 0.85, random_state=PUBLISHED_SEED)
    train, validation = (rest[i] for i in next(second.split(rest, operation[rest])))
    validation.sort()
    return {
        "train": np.sort(train),
        "select": validation[::2],
        "calibrate": validation[1::2],
        "test": np.sort(test),
    }
