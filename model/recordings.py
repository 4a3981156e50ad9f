"""A data set of recordings: a manifest, and one matrix of signals that all agents memory-map.

`data/<name>/` holds `manifest.json`, `signals.npy` (rows, channels), `present.npy` (recordings, channels),
`position.npy` (rows, 3), `line_ids.npy` (rows,), `log.npy` (rows,) and `lines.json`, written by
`model.importing`. A data set that was imported before there was a log is read without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.controller_log import ROW, unknown_log
from model.data_layout import NO_LINE, Layout, Recording
from model.tokens import ENDLESS, LONGEST_LINE
from tuner.base.errors import InputError
from tuner.base.files import read_json, read_object

if TYPE_CHECKING:
    from model.recording_files import RecordingFile

FORMAT = 1
MANIFEST, LINES = "manifest.json", "lines.json"
SIGNALS, PRESENT, POSITION, LINE_IDS = "signals.npy", "present.npy", "position.npy", "line_ids.npy"
LOG = "log.npy"
SIMULATOR = "simulator"


@dataclass(frozen=True, eq=False)
class Recordings:
    """A data set. If loaded from disk, its arrays are read-only memory maps."""

    name: str
    folder: Path | None
    kind: str
    content_hash: str
    channels: tuple[str, ...]
    boards: tuple[str, ...]
    signals: np.ndarray  # (rows, channels) float32; 0 where the channel is absent
    present: np.ndarray  # (recordings, channels) bool
    position: np.ndarray  # (rows, 3) float32 millimetres; NaN if the file has none
    line_ids: np.ndarray  # (rows,) int32 into `lines`
    lines: tuple[str, ...]
    recordings: tuple[Recording, ...]
    log: np.ndarray = field(default_factory=lambda: unknown_log(0))  # (rows,) of `controller_log.ROW`

    def __post_init__(self) -> None:
        if len(self.log) != len(self.line_ids):
            object.__setattr__(self, "log", unknown_log(len(self.line_ids)))

    @classmethod
    def load(cls, folder: Path) -> Recordings:
        """Maps the data set in `folder`.

        Raises:
            InputError: there is none, or a file of it is missing, has another size, or is damaged.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise InputError(
                f"{folder}: no data set here; make one with `tuner model import DIR --to {folder}`"
            )
        manifest = read_object(folder / MANIFEST)
        if manifest.get("format") != FORMAT:
            raise InputError(
                f"{folder}: format {manifest.get('format')!r}, expected {FORMAT}; import it again"
            )
        try:
            recordings = tuple(
                Recording(**{**r, "boards": tuple(r["boards"])}) for r in manifest["recordings"]
            )
            channels, rows = tuple(manifest["channels"]), int(manifest["rows"])
            described = {key: str(manifest[key]) for key in ("kind", "content_hash")}
            boards = tuple(manifest["boards"])
            inside = all(0 <= r.start <= r.start + r.rows <= rows for r in recordings)
            if not inside or not all(isinstance(name, str) for name in channels):
                raise ValueError("its recordings do not lie within its rows")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / MANIFEST}: not a data set's manifest ({error}); import it again"
            ) from None
        data = cls(
            name=folder.name,
            folder=folder,
            **described,
            channels=channels,
            boards=boards,
            signals=_mapped(folder / SIGNALS, (rows, len(channels))),
            present=_mapped(folder / PRESENT, (len(recordings), len(channels))),
            position=_mapped(folder / POSITION, (rows, 3)),
            line_ids=_mapped(folder / LINE_IDS, (rows,)),
            lines=_lines(folder / LINES),
            recordings=recordings,
            log=_log(folder / LOG, rows),
        )
        ids = data.line_ids
        if ids.dtype.kind != "i" or (len(ids) and not NO_LINE <= ids.min() <= ids.max() < len(data.lines)):
            raise InputError(f"{folder / LINE_IDS}: does not fit {LINES}; import the data set again")
        return data

    @classmethod
    def from_files(
        cls, paths: Iterable[Path], *, channels: Sequence[str] | None = None, require_lines: bool = False
    ) -> Recordings:
        """Recordings in memory, for decoding. With `channels`: only these columns, absent ones masked.

        Raises:
            InputError: see `read_recording`; also if a file has none of `channels`.
        """
        from model.recording_files import find_recordings, read_recording

        found, _ = find_recordings(paths)
        files = [read_recording(path, require_lines=require_lines) for path in found]
        for path, file in zip(found, files, strict=True):
            if channels is not None and not set(channels) & set(file.channels):
                raise InputError(
                    f"{path}: has none of the {len(channels)} expected channels ({channels[0]} …)"
                )
        return cls.from_memory(files, channels=channels)

    @classmethod
    def from_memory(
        cls, files: Sequence[RecordingFile], *, channels: Sequence[str] | None = None, name: str = "memory"
    ) -> Recordings:
        """A data set of recordings in memory; nothing is written."""
        layout = Layout.of(files, channels)
        signals = np.concatenate([layout.signals_of(file) for file in files])
        return cls(
            name=name,
            folder=None,
            kind="recordings",
            content_hash=layout.content_hash([signals]),
            channels=layout.channels,
            boards=layout.boards,
            signals=signals,
            present=layout.present,
            position=layout.position,
            line_ids=layout.line_ids,
            lines=layout.lines,
            recordings=layout.recordings,
            log=layout.log,
        )

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """The operations in the data set, sorted."""
        return tuple(sorted({recording.operation for recording in self.recordings}))

    @property
    def rows(self) -> int:
        """The number of rows of all recordings."""
        return len(self.line_ids)

    def recomputed_hash(self) -> str:
        """The content hash of the arrays; differs from `content_hash` if they were changed."""
        layout = Layout(
            channels=self.channels,
            boards=self.boards,
            recordings=self.recordings,
            present=self.present,
            position=self.position,
            line_ids=self.line_ids,
            lines=self.lines,
            log=self.log,
        )
        return layout.content_hash([self.signals])


def _lines(path: Path) -> tuple[str, ...]:
    lines = read_json(path)
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InputError(f"{path}: expected a list of lines; import the data set again")
    if any(len(line) > LONGEST_LINE or ENDLESS.search(line) for line in lines):
        raise InputError(f"{path}: a line or number that no controller takes; import the data set again")
    return tuple(lines)


def _log(path: Path, rows: int) -> np.ndarray:
    if not path.is_file():  # imported before the log was kept
        return unknown_log(rows)
    log = _mapped(path, (rows,))
    if log.dtype != ROW:
        raise InputError(f"{path}: not the log of a data set; import the data set again")
    return log


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be mapped ({error}); import the data set again") from None
    if array.shape != shape:
        raise InputError(f"{path}: shape {array.shape}, expected {shape}; import the data set again")
    return array
