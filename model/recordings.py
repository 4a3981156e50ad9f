"""A data set of recordings: one matrix of signals that every agent maps, and a manifest of what it holds.

`data/<name>/` holds `manifest.json`, `signals.npy` (rows, channels), `present.npy` (recordings, channels),
`position.npy` (rows, 3), `line_ids.npy` (rows,) and `lines.json`. It is built beside its place and renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.errors import InputError, WorkFailed
from model.run_folder import read_json, write_json

if TYPE_CHECKING:
    from model.recording_files import RecordingFile

FORMAT = 1
MANIFEST, LINES = "manifest.json", "lines.json"
SIGNALS, PRESENT, POSITION, LINE_IDS = "signals.npy", "present.npy", "position.npy", "line_ids.npy"
SIMULATOR = "simulator"
NO_LINE = -1  # line id of a row whose line is not known (a recording to be decoded)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Recording:
    """One recording of a data set: rows `start` to `start + rows` of its arrays.

    `frozen_rows` of the last rows repeat one value in every channel: the boards had stopped sending.
    `runs` > 1: the program was run more than once, one after the other.
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


@dataclass(frozen=True, eq=False)
class Recordings:
    """A data set; the arrays of a loaded one are read-only memory maps."""

    name: str
    folder: Path | None
    kind: str
    content_hash: str
    channels: tuple[str, ...]
    boards: tuple[str, ...]
    signals: np.ndarray  # (rows, channels) float32; 0 where the channel is absent
    present: np.ndarray  # (recordings, channels) bool
    position: np.ndarray  # (rows, 3) float32 millimetres; NaN where a file has none
    line_ids: np.ndarray  # (rows,) int32 into `lines`
    lines: tuple[str, ...]
    recordings: tuple[Recording, ...]

    @classmethod
    def load(cls, folder: Path) -> Recordings:
        """Maps the data set in `folder`.

        Raises:
            InputError: there is none, or a part of it is missing or of another size.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise InputError(
                f"{folder}: no data set here; make one with `python -m model import DIR --to {folder}`"
            )
        manifest = read_json(folder / MANIFEST)
        if manifest.get("format") != FORMAT:
            raise InputError(
                f"{folder}: format {manifest.get('format')!r}, expected {FORMAT}; import it again"
            )
        recordings = tuple(Recording(**{**r, "boards": tuple(r["boards"])}) for r in manifest["recordings"])
        channels, rows = tuple(manifest["channels"]), manifest["rows"]
        return cls(
            name=folder.name,
            folder=folder,
            kind=manifest["kind"],
            content_hash=manifest["content_hash"],
            channels=channels,
            boards=tuple(manifest["boards"]),
            signals=_mapped(folder / SIGNALS, (rows, len(channels))),
            present=_mapped(folder / PRESENT, (len(recordings), len(channels))),
            position=_mapped(folder / POSITION, (rows, 3)),
            line_ids=_mapped(folder / LINE_IDS, (rows,)),
            lines=tuple(read_json(folder / LINES)),
            recordings=recordings,
        )

    @classmethod
    def from_files(
        cls, paths: Iterable[Path], *, channels: Sequence[str] | None = None, require_lines: bool = False
    ) -> Recordings:
        """Recordings in memory, for decoding; with `channels`, in just these columns (absent ones masked).

        Raises:
            InputError: as `read_recording`; also when a file has none of `channels`.
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
        """A data set of recordings that are in memory, without writing it."""
        layout = _Layout.of(files, channels)
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
        )

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """The operations that occur, by name."""
        return tuple(sorted({recording.operation for recording in self.recordings}))

    @property
    def rows(self) -> int:
        """Rows of all recordings."""
        return len(self.line_ids)


@dataclass(frozen=True)
class ImportReport:
    """What an import found, filled, and dropped."""

    data: Recordings
    ignored: tuple[Path, ...] = ()

    def lines(self) -> list[str]:
        """The report in words, one finding a line."""
        data, recordings = self.data, self.data.recordings
        out = [
            f"{len(recordings)} recordings of {len(data.operations)} operations, {data.rows:,} rows, "
            f"{len(data.lines):,} different lines, {len(data.channels)} channels of {len(data.boards)} boards"
        ]
        partial = [b for b in data.boards if not all(b in r.boards for r in recordings)]
        if partial:
            counts = ", ".join(f"{b} {sum(b in r.boards for r in recordings)}" for b in partial)
            out.append(f"boards that some recordings lack (masked there), with how many have them: {counts}")
        for r in recordings:
            if r.dropped_rows:
                out.append(f"{r.name}: {r.dropped_rows:,} rows without a line dropped, {r.rows:,} kept")
            if r.filled_cells:
                out.append(f"{r.name}: {r.filled_cells:,} empty sensor cells took the value before them")
            if r.runs > 1:
                out.append(f"{r.name}: holds {r.runs} runs of its program; all rows kept")
            if r.frozen_rows:
                out.append(
                    f"{r.name}: no sensor changes in its last {r.frozen_rows:,} rows; kept, and marked"
                )
        if self.ignored:
            out.append(f"ignored: {len(self.ignored)} files that are no .csv or .csv.gz")
        return out


def import_recordings(
    sources: Iterable[Path], to: Path, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> ImportReport:
    """Reads recordings (folders, files) into the data set `to`, which is whole or absent afterwards.

    Raises:
        InputError: something is wrong with a file or with `to`; an older data set there is untouched then.
        WorkFailed: the disk is full.
    """
    from model.recording_files import find_recordings, read_recording

    _check_target(to)
    paths, others = find_recordings(sources)
    files = []
    for done, path in enumerate(paths):
        progress(done, len(paths))
        files.append(read_recording(path))
    progress(len(paths), len(paths))
    return ImportReport(write_data_set(files, to), tuple(others))


def write_data_set(files: Sequence[RecordingFile], to: Path, *, kind: str = "recordings") -> Recordings:
    """Writes a data set beside its place and renames it, replacing an older data set there.

    Raises:
        InputError: `to` is something else than a data set.
        WorkFailed: the disk is full; nothing is left behind.
    """
    _check_target(to)
    layout = _Layout.of(files, None)
    with _built_beside(to) as folder:
        # Ordinary writes, not a memory map: on a full disk a map kills the process (SIGBUS), a write says so.
        digest = layout.content_hash(_written(folder / SIGNALS, layout, files))
        np.save(folder / PRESENT, layout.present)
        np.save(folder / POSITION, layout.position)
        np.save(folder / LINE_IDS, layout.line_ids)
        write_json(folder / LINES, list(layout.lines))
        manifest = {
            "format": FORMAT,
            "kind": kind,
            "content_hash": digest,
            "channels": list(layout.channels),
            "boards": list(layout.boards),
            "rows": len(layout.line_ids),
            "recordings": [asdict(recording) for recording in layout.recordings],
        }
        write_json(folder / MANIFEST, manifest)
    return Recordings.load(to)


def default_data(root: Path = Path("data")) -> Path:
    """The data set to use when none is named: the only imported one, else the simulator's (made when absent).

    Raises:
        InputError: several are imported, so one must be named.
    """
    imported = [
        manifest.parent
        for manifest in sorted(root.glob(f"*/{MANIFEST}"))
        if read_json(manifest).get("kind") != SIMULATOR
    ]
    if len(imported) > 1:
        raise InputError(f"several data sets: {', '.join(map(str, imported))}; name one with --data")
    if imported:
        return imported[0]
    simulated = root / SIMULATOR
    if not (simulated / MANIFEST).is_file():
        from model.simulator import synthesize

        synthesize(simulated)
    return simulated


@dataclass(frozen=True)
class _Layout:
    """Everything of a data set but its signals."""

    channels: tuple[str, ...]
    boards: tuple[str, ...]
    recordings: tuple[Recording, ...]
    present: np.ndarray
    position: np.ndarray
    line_ids: np.ndarray
    lines: tuple[str, ...]

    @classmethod
    def of(cls, files: Sequence[RecordingFile], channels: Sequence[str] | None) -> _Layout:
        from model.recording_files import board_of

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
        )

    def signals_of(self, file: RecordingFile) -> np.ndarray:
        """(rows, channels) of one file in the data set's columns, 0 where the file lacks a channel."""
        index = {channel: i for i, channel in enumerate(file.channels)}
        out = np.zeros((len(file.lines), len(self.channels)), dtype=np.float32)
        here = [i for i, channel in enumerate(self.channels) if channel in index]
        out[:, here] = file.signals[:, [index[self.channels[i]] for i in here]]
        return out

    def content_hash(self, signals: Iterable[np.ndarray]) -> str:
        """SHA-256 of all arrays, lines, and names: equal for equal data wherever they came from."""
        digest = hashlib.sha256()
        names: list[Any] = [(r.name, r.operation, r.start, r.rows) for r in self.recordings]
        digest.update(json.dumps([self.channels, self.lines, names]).encode())
        for array in (self.present, self.position, self.line_ids):
            digest.update(np.ascontiguousarray(array).data)
        for chunk in signals:
            digest.update(np.ascontiguousarray(chunk).data)
        return digest.hexdigest()


def _written(path: Path, layout: _Layout, files: Sequence[RecordingFile]) -> Iterator[np.ndarray]:
    """Writes the signals file by file and yields what it wrote."""
    shape = (len(layout.line_ids), len(layout.channels))
    with path.open("wb") as out:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        for file in files:
            signals = layout.signals_of(file)
            out.write(signals.data)
            yield signals


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be mapped ({error}); import the data set again") from None
    if array.shape != shape:
        raise InputError(f"{path}: shape {array.shape}, expected {shape}; import the data set again")
    return array


def _check_target(to: Path) -> None:
    if to.exists() and not (to / MANIFEST).is_file() and not (to.is_dir() and not any(to.iterdir())):
        raise InputError(f"{to}: exists and is no data set; choose another folder with --to")


@contextmanager
def _built_beside(to: Path) -> Iterator[Path]:
    """A folder beside `to` that takes its place if the block succeeds and vanishes if it does not."""
    beside = to.with_name(f".{to.name}.partial-{os.getpid()}")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        yield beside
        if to.exists():
            old = to.with_name(f".{to.name}.old-{os.getpid()}")
            to.replace(old)
            beside.replace(to)
            shutil.rmtree(old)
        else:
            beside.replace(to)
    except OSError as error:
        if error.errno in _FULL:
            raise WorkFailed(f"{to}: no space left to write the data set; nothing was kept") from None
        raise WorkFailed(f"{to}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
