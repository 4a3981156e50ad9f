"""How recordings are joined into one matrix: union of channels, mask of absent channels, ids of lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from model.recording_files import RecordingFile

NO_LINE = -1  # line id of a row whose line is unknown (a recording to decode)


@dataclass(frozen=True)
class Recording:
    """One recording of a data set: rows `start` to `start + rows` of its arrays.

    `setup`: modal words that hold in it, such as `G20 G90`, if the controller reports them.
    `frozen_rows`: number of last rows in which every channel repeats one value, as the boards had stopped
    sending. `runs` > 1: the program was run several times in a row.
    """

    name: str
    operation: str
    start: int
    rows: int
    boards: tuple[str, ...]
    dropped_rows: int = 0
    filled_cells: int = 0
    runs: int = 1
    frozen_rows: int = 0
    source: str = ""
    setup: str = ""

    @property
    def live(self) -> slice:
        """Its rows without the frozen ones; all of its rows if all are frozen."""
        rows = self.rows - self.frozen_rows
        return slice(self.start, self.start + (rows or self.rows))


def board_of(channel: str) -> str:
    """`frame_r2.Ax` → `frame_r2`; motor currents belong to the board `motors`."""
    return channel.partition(".")[0] if "." in channel else "motors"


@dataclass(frozen=True)
class Layout:
    """A data set without its signals.

    present: (recordings, channels) bool; position: (rows, 3) float32; line_ids: (rows,) int32 into `lines`,
    NO_LINE where the line is unknown; log: (rows,) of `controller_log.ROW`.
    """

    channels: tuple[str, ...]
    boards: tuple[str, ...]
    recordings: tuple[Recording, ...]
    present: np.ndarray
    position: np.ndarray
    line_ids: np.ndarray
    lines: tuple[str, ...]
    log: np.ndarray

    @classmethod
    def of(cls, files: Sequence[RecordingFile], channels: Sequence[str] | None) -> Layout:
        """The layout of `files`, in their order. Channels default to the sorted union of all files."""
        if channels is None:
            channels = sorted({channel for file in files for channel in file.channels})
        lines = {line: i for i, line in enumerate(dict.fromkeys(x for f in files for x in f.lines if x))}
        recordings, start = [], 0
        for file in files:
            boards = {board_of(channel) for channel in file.channels} & {board_of(c) for c in channels}
            recordings.append(
                Recording(
                    name=file.name,
                    operation=file.operation,
                    start=start,
                    rows=len(file.lines),
                    boards=tuple(sorted(boards)),
                    dropped_rows=file.dropped_rows,
                    filled_cells=file.filled_cells,
                    runs=file.runs,
                    frozen_rows=file.frozen_rows,
                    source=file.source,
                    setup=file.setup,
                )
            )
            start += len(file.lines)
        return cls(
            channels=tuple(channels),
            boards=tuple(sorted({board_of(channel) for channel in channels})),
            recordings=tuple(recordings),
            present=np.array([np.isin(channels, file.channels) for file in files], dtype=bool),
            position=np.concatenate([file.position for file in files]).astype(np.float32),
            line_ids=np.array([lines.get(x, NO_LINE) for f in files for x in f.lines], dtype=np.int32),
            lines=tuple(lines),
            log=np.concatenate([file.log for file in files]),
        )

    def signals_of(self, file: RecordingFile) -> np.ndarray:
        """(rows, channels) of one file in the columns of the data set; 0 where the file lacks a channel."""
        index = {channel: i for i, channel in enumerate(file.channels)}
        out = np.zeros((len(file.lines), len(self.channels)), dtype=np.float32)
        here = [i for i, channel in enumerate(self.channels) if channel in index]
        out[:, here] = file.signals[:, [index[self.channels[i]] for i in here]]
        return out

    def content_hash(self, signals: Iterable[np.ndarray]) -> str:
        """SHA-256 of what a network reads (arrays, lines, names): equal data have equal hashes."""
        digest = hashlib.sha256()
        names: list[Any] = [(r.name, r.operation, r.start, r.rows) for r in self.recordings]
        digest.update(json.dumps([self.channels, self.lines, names]).encode())
        for array in (self.present, self.position, self.line_ids):
            digest.update(np.ascontiguousarray(array).data)
        for chunk in signals:
            digest.update(np.ascontiguousarray(chunk).data)
        return digest.hexdigest()
