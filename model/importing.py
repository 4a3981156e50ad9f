"""Imports recordings as a data set on disk, written whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model.data_layout import Layout
from model.recording_files import RecordingFile, find_recordings, read_recording
from model.recordings import FORMAT, LINE_IDS, LINES, LOG, MANIFEST, POSITION, PRESENT, SIGNALS, Recordings
from tuner.base.errors import InputError, WorkFailed
from tuner.base.files import remove_left_overs, whole_folder, write_json

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class ImportReport:
    """What an import found, filled and dropped."""

    data: Recordings
    ignored: tuple[Path, ...] = ()

    def lines(self) -> list[str]:
        """The report in words, one finding per line."""
        data, recordings = self.data, self.data.recordings
        out = [
            f"{len(recordings)} recordings of {len(data.operations)} operations, {data.rows:,} rows, "
            f"{len(data.lines):,} different lines, {len(data.channels)} channels of {len(data.boards)} boards"
        ]
        partial = [b for b in data.boards if not all(b in r.boards for r in recordings)]
        if partial:
            counts = ", ".join(f"{b} {sum(b in r.boards for r in recordings)}" for b in partial)
            out.append(
                "boards that some recordings do not have (masked there), and how many recordings have them: "
                f"{counts}"
            )
        for r in recordings:
            if r.dropped_rows:
                out.append(f"{r.name}: {r.dropped_rows:,} rows without a line dropped, {r.rows:,} kept")
            if r.filled_cells:
                out.append(f"{r.name}: {r.filled_cells:,} empty sensor cells took the value before them")
            if r.runs > 1:
                out.append(f"{r.name}: has {r.runs} runs of its program; all rows are kept")
            if r.frozen_rows:
                out.append(
                    f"{r.name}: no sensor changes in its last {r.frozen_rows:,} rows; kept, and marked"
                )
        if self.ignored:
            out.append(f"ignored: {len(self.ignored)} files that are not .csv or .csv.gz")
        return out


def import_recordings(
    sources: Iterable[Path], to: Path, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> ImportReport:
    """Imports recordings (folders, files) as the data set `to`, whole or not at all.

    Raises:
        InputError: something is wrong with a file or with `to`. An older data set at `to` is kept.
        WorkFailed: the disk is full.
    """
    check_target(to)
    paths, others = find_recordings(sources)
    files = []
    for done, path in enumerate(paths):
        progress(done, len(paths))
        files.append(read_recording(path))
    progress(len(paths), len(paths))
    return ImportReport(write_data_set(files, to), tuple(others))


def write_data_set(files: Sequence[RecordingFile], to: Path, *, kind: str = "recordings") -> Recordings:
    """Writes the data set `to`, whole or not at all; replaces an older data set there.

    Raises:
        InputError: `to` exists and is not a data set.
        WorkFailed: the disk is full; nothing is left behind.
    """
    check_target(to)
    layout = Layout.of(files, None)
    with _failures_in_words(to), whole_folder(to) as folder:
        remove_left_overs(to)
        # Ordinary writes: on a full disk a memory map kills the process (SIGBUS), a write raises an error.
        digest = layout.content_hash(_written(folder / SIGNALS, layout, files))
        np.save(folder / PRESENT, layout.present)
        np.save(folder / POSITION, layout.position)
        np.save(folder / LINE_IDS, layout.line_ids)
        np.save(folder / LOG, layout.log)
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


def _written(path: Path, layout: Layout, files: Sequence[RecordingFile]) -> Iterator[np.ndarray]:
    """Writes the signals of one file after another and yields them."""
    shape = (len(layout.line_ids), len(layout.channels))
    with path.open("wb") as out:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        for file in files:
            signals = layout.signals_of(file)
            out.write(signals.data)
            yield signals


def check_target(to: Path) -> None:
    """InputError if `to` exists and is not a data set: nothing else is ever replaced."""
    if to.exists() and not (to / MANIFEST).is_file() and not (to.is_dir() and not any(to.iterdir())):
        raise InputError(f"{to}: exists and is not a data set; choose another folder with --to")


@contextmanager
def _failures_in_words(to: Path) -> Iterator[None]:
    """Turns an error of the disk into WorkFailed."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise WorkFailed(f"{to}: no space left to write the data set; nothing was kept") from None
        raise WorkFailed(f"{to}: cannot be written ({error.strerror or error})") from None
