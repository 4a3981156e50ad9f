"""Reads a `.wandb` file: whether it is complete, and the run in it.

The format is LevelDB's log: blocks of 32 KiB with records. A record has a header of 7 bytes (checksum,
length, kind). Long records are split into first, middle and last pieces. Each record is one protocol-buffer
message.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 1 << 15
FILE_HEADER = 7  # bytes; a killed client can leave only this header
HEADER = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class OfflineRun:
    """A run as its file has it. `history`: each row that was logged; `exit_code`: None until it ended."""

    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    exit_code: int | None = None

    @property
    def ended(self) -> bool:
        return self.exit_code is not None


def run_of(path: Path) -> OfflineRun:
    """The run in a file; of one that is cut off what stands before the cut."""
    from wandb.proto import wandb_internal_pb2

    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history, exit_code = [], None
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)  # type: ignore[attr-defined]
        if record.HasField("run"):
            _update(config, record.run.config.update)
            _update(summary, record.run.summary.update)
        if record.HasField("config"):
            _update(config, record.config.update)
        if record.HasField("summary"):
            _update(summary, record.summary.update)
        if record.HasField("history"):
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            history.append(row)
        if record.HasField("exit"):
            exit_code = int(record.exit.exit_code)
    return OfflineRun(config, summary, history, exit_code)


def _update(content: dict[str, Any], items: Iterable[Any]) -> None:
    """Puts what a record tells into `content`; a nested key becomes a dotted name."""
    for item in items:
        name = item.key or ".".join(item.nested_key)
        try:
            content[name] = json.loads(item.value_json)
        except ValueError:  # NaN as W&B writes it, or a value of a kind that has no JSON
            continue


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
