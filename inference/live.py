"""Live decoding of rows from standard input: a line as soon as its window is full, in bounded memory.

Only the rows for the next window and running sums for the normalisation are kept. Two things of a whole
recording are unknown in a stream: the final mean of each channel (the mean so far is used, so the first lines
are the least certain) and the delay of the sensors (0 is used).
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from inference.layout import check_channels
from inference.output import json_line
from inference.pipeline import ALTERNATIVES, DecodedWindow, Decoder
from model.data_layout import board_of
from model.recordings import NO_LINE, Recording, Recordings
from model.windows import Windows
from tuner.base.errors import InputError

NAME = "live"
LONGEST_ROW = 2**20  # characters
LARGEST = float(np.finfo(np.float32).max) / 2  # of a value; mean and deviation together are still a float32
logger = logging.getLogger(__name__)


def decode_stream(decoder: Decoder, rows: IO[str], out: IO[str], *, format: str) -> None:
    """Reads CSV with a header from `rows`; writes the line of each window (`gcode`: only new lines).

    Raises:
        InputError: no header, none of the channels of the decoder, or a cell is not a number.
    """
    before = None
    for window in decode_rows(decoder, read_rows(rows, "standard input")):
        if format == "jsonl":
            out.write(json_line(window))
        elif format == "gcode":
            out.write("" if window.line == before else f"{window.line}\n")
        else:
            out.write(f"{window.start:>8}  {window.probability:6.1%}  {window.line}\n")
        before = window.line
        out.flush()


def read_rows(file: IO[str], source: str) -> Iterator[list[str]]:
    """The cells of the rows of CSV, as they come.

    Raises:
        InputError: it is not CSV, or a row has no end.
    """

    def lines() -> Iterator[str]:
        while line := file.readline(LONGEST_ROW):
            if len(line) == LONGEST_ROW:
                raise InputError(f"{source}: a row is longer than {LONGEST_ROW // 2**20} MiB")
            yield line

    try:
        yield from csv.reader(lines())
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{source}: not rows of CSV, not compressed ({error})") from None


def decode_rows(decoder: Decoder, rows: Iterable[Sequence[str]]) -> Iterator[DecodedWindow]:
    """The decoded windows of a stream of CSV rows (first the header), each as soon as possible."""
    lines = iter(rows)
    header = next(lines, None)
    if not header:
        raise InputError("standard input: empty; expected CSV with a header of channel names")
    config = decoder.predictor.config
    channels = decoder.predictor.channels
    stream = RowStream(header, channels, prefixes=_prefixes(decoder.predictor))
    for note in check_channels(stream.recording(), channels):
        logger.warning(note)
    start = 0
    for line in lines:
        stream.add(line)
        if stream.count >= start + config.window + config.context_after:
            yield _decode(decoder, stream, start)
            start += config.stride
            stream.forget(start - config.context_before)
    while stream.count and (start == 0 or start + config.window <= stream.count):
        yield _decode(decoder, stream, start)  # no rows after it: the last row is repeated
        start += config.stride


def _decode(decoder: Decoder, stream: RowStream, start: int) -> DecodedWindow:
    loaded = loaded_window(decoder.predictor, stream, start - stream.first)
    searched = decoder.search(loaded, least=ALTERNATIVES + 1)
    found = searched.hypotheses[0]
    lines = decoder.answer(found, ALTERNATIVES)
    return DecodedWindow(
        recording=NAME,
        start=start,
        rows=decoder.predictor.config.window,
        line=lines[0][0],
        probability=lines[0][1],
        tokens=decoder.tokens(found[0]),
        alternatives=tuple(lines[1:]),
    )


def loaded_window(predictor: Any, stream: RowStream, start: int) -> Any:
    """Like `predictor.windows`, for the window at row `start` of the kept rows."""
    import torch

    from ensemble.predictor import BundlePredictor, BundleWindows
    from model.predictor import LoadedWindows
    from model.row_source import RowSource

    if isinstance(predictor, BundlePredictor):
        return BundleWindows(tuple(loaded_window(member, stream, start) for member in predictor.members))
    windows = Windows(np.array([start]), np.zeros(1, dtype=np.int64), np.array([NO_LINE]))
    source = RowSource(stream.recording(), predictor.scaler, predictor.config)
    prefix = predictor.scaler.prefix_rows if predictor.scaler.normalization == "prefix" else None
    offset, factor = predictor.scaler.offsets(stream.moments(prefix))
    source.offset, source.factor = torch.from_numpy(offset), torch.from_numpy(factor)
    return LoadedWindows(windows, source)


@dataclass
class _Sums:
    """Running mean and squared deviations of each channel (Welford)."""

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def empty(cls, channels: int) -> _Sums:
        return cls(0, np.zeros(channels), np.zeros(channels))

    def add(self, row: NDArray[np.float64]) -> None:
        self.count += 1
        delta = row - self.mean
        self.mean += delta / self.count
        self.squares += delta * (row - self.mean)


class RowStream:
    """The last rows of a stream, in the channels of a decoder, and the moments of all rows so far.

    Attributes:
        first: index in the stream of the first kept row; count: rows so far.
    """

    def __init__(self, header: Sequence[str], channels: tuple[str, ...], *, prefixes: Iterable[int]) -> None:
        """`prefixes`: numbers of first rows to keep moments of. InputError: no known channel."""
        column = {name.strip(): i for i, name in enumerate(header)}
        if not set(channels) & set(column):
            raise InputError(
                f"standard input: its header has none of the {len(channels)} expected channels "
                f"({channels[0]} …)"
            )
        self.channels = channels
        self.first, self.count = 0, 0
        self._column = np.array([column.get(channel, -1) for channel in channels])
        self._last = np.zeros(len(channels))
        self._rows: list[NDArray[np.float32]] = []
        self._all = _Sums.empty(len(channels))
        self._prefix = {length: _Sums.empty(len(channels)) for length in prefixes}

    def add(self, cells: Sequence[str]) -> None:
        """Adds a row; a cell that is empty, no finite number or above `LARGEST` takes the last value of its
        channel. InputError names a bad cell.
        """
        for k in np.flatnonzero(self._column >= 0):
            cell = cells[self._column[k]].strip() if self._column[k] < len(cells) else ""
            if not cell:
                continue
            try:
                value = float(cell)
            except ValueError:
                raise InputError(
                    f"standard input, row {self.count + 1}, column '{self.channels[k]}': expected a number, "
                    f"got {cell!r}"
                ) from None
            if abs(value) <= LARGEST:
                self._last[k] = value
        self._rows.append(self._last.astype(np.float32))
        self.count += 1
        self._all.add(self._last)
        for length, sums in self._prefix.items():
            if sums.count < length:
                sums.add(self._last)

    def forget(self, before: int) -> None:
        """Drops the rows before row `before`."""
        drop = max(0, min(before - self.first, len(self._rows)))
        del self._rows[:drop]
        self.first += drop

    def recording(self) -> Recordings:
        """The kept rows as one recording."""
        rows = np.stack(self._rows) if self._rows else np.zeros((0, len(self.channels)), dtype=np.float32)
        return self._as_recordings(rows)

    def moments(self, prefix: int | None) -> Recordings:
        """Two rows with the mean and deviation of the stream so far, or of its first `prefix` rows."""
        sums = self._all if prefix is None else self._prefix[prefix]
        deviation = np.sqrt(sums.squares / max(1, sums.count))
        return self._as_recordings(np.stack([sums.mean - deviation, sums.mean + deviation]))

    def _as_recordings(self, signals: NDArray) -> Recordings:
        boards = tuple(dict.fromkeys(board_of(channel) for channel in self.channels))
        return Recordings(
            name=NAME,
            folder=None,
            kind="recordings",
            content_hash="",
            channels=self.channels,
            boards=boards,
            signals=signals.astype(np.float32),
            present=(self._column >= 0)[None],
            position=np.full((len(signals), 3), np.nan, dtype=np.float32),
            line_ids=np.full(len(signals), NO_LINE, dtype=np.int32),
            lines=(),
            recordings=(Recording(name=NAME, operation="", start=0, rows=len(signals), boards=boards),),
        )


def _prefixes(predictor: Any) -> set[int]:
    """The prefix lengths of the scalers of a predictor, or of the members of a bundle."""
    members = getattr(predictor, "members", (predictor,))
    return {m.scaler.prefix_rows for m in members if m.scaler.normalization == "prefix"}
