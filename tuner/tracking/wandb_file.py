"""Checks whether a `.wandb` file is complete.

The format is LevelDB's log: blocks of 32 KiB with records. A record has a header of 7 bytes (checksum,
length, kind). Long records are split into first, middle and last pieces. Each record is one protocol-buffer
message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 15
FILE_HEADER = 7  # bytes; a killed client can leave only this header
HEADER = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class Content:
    """The content of a file: the number of history rows, and whether the run was ended."""

    rows: int
    ended: bool


def content(path: Path) -> Content:
    """Counts the readable rows. For a file that is cut off, counts the rows before the cut."""
    from wandb.proto import wandb_internal_pb2

    rows, ended = 0, False
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)  # type: ignore[attr-defined]
        rows += record.HasField("history")
        ended |= record.HasField("exit")
    return Content(rows, ended)


def records(data: bytes) -> Iterator[bytes]:
    """The complete records in a file's bytes, in order."""
    position = FILE_HEADER
    pieces: list[bytes] = []
    while position + HEADER.size <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER.size:  # no room for a header: padding
            position += left
            continue
        _, length, kind = HEADER.unpack_from(data, position)
        start = position + HEADER.size
        position = start + length
        if position > len(data) or kind not in (WHOLE, FIRST, MIDDLE, LAST):
            return
        if kind in (WHOLE, FIRST):
            pieces.clear()
        pieces.append(data[start:position])
        if kind in (WHOLE, LAST):
            yield b"".join(pieces)
