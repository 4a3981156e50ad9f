"""Reads a `.wandb` file far enough to say whether it is whole.

The format is LevelDB's log: blocks of 32 KiB, in them records with a header of 7 bytes (checksum, length,
kind), a long record cut into first, middle and last pieces; each record is one protocol-buffer message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 15
FILE_HEADER = 7  # bytes; all that a killed client leaves
HEADER = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class Content:
    """What a file holds: history rows, and whether the run was ended in it."""

    rows: int
    ended: bool


def content(path: Path) -> Content:
    """Counts what can be read; a file that is cut off anywhere gives what stands before the cut."""
    from wandb.proto import wandb_internal_pb2

    rows, ended = 0, False
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)  # type: ignore[attr-defined]
        rows += record.HasField("history")
        ended |= record.HasField("exit")
    return Content(rows, ended)


def records(data: bytes) -> Iterator[bytes]:
    """The whole records in a file's bytes, in order."""
    position = FILE_HEADER
    pieces: list[bytes] = []
    while position + HEADER.size <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER.size:  # too little room for a header: padding
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
