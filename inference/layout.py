"""Reads recordings from any source in the channels of a decoder, and reports missing channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.recordings import MANIFEST, Recordings
from tuner.base.errors import InputError

LEAST_SHARE = 0.25  # least share of channels; of the public recordings, the one with the fewest has 39 %
NAMED = 5  # boards or channels listed in a message


def recordings_of(source: Any, *, channels: Sequence[str], require_lines: bool = False) -> Recordings:
    """Recordings from a path, several paths, a data frame, or `Recordings`, laid out in `channels`.

    A folder with a manifest is a data set; any other folder is searched for CSV files.

    Raises:
        InputError: not found, not a recording, or none of the channels.
    """
    if isinstance(source, Recordings):
        return laid_out(source, channels)
    if hasattr(source, "columns"):
        return _of_frame(source, channels, require_lines=require_lines)
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    if _is_data_set(paths):
        return laid_out(Recordings.load(paths[0]), channels)
    return Recordings.from_files(paths, channels=channels, require_lines=require_lines)


def each_of(paths: Sequence[Path]) -> list[Path]:
    """What can be read by itself: a data set, or each recording in files and folders.

    Raises:
        InputError: see `find_recordings`.
    """
    from model.recording_files import find_recordings

    return list(paths) if _is_data_set(paths) else find_recordings(paths)[0]


def _is_data_set(paths: Sequence[Path]) -> bool:
    return len(paths) == 1 and (paths[0] / MANIFEST).is_file()


def laid_out(data: Recordings, channels: Sequence[str]) -> Recordings:
    """`data` with its columns in the order of `channels`; absent ones are 0 and masked."""
    if data.channels == tuple(channels):
        return data
    column = {channel: i for i, channel in enumerate(data.channels)}
    signals = np.zeros((data.rows, len(channels)), dtype=np.float32)
    present = np.zeros((len(data.recordings), len(channels)), dtype=bool)
    for i, channel in enumerate(channels):
        if channel in column:
            signals[:, i] = data.signals[:, column[channel]]
            present[:, i] = data.present[:, column[channel]]
    return replace(data, channels=tuple(channels), signals=signals, present=present)


def check_channels(
    data: Recordings, channels: Sequence[str], *, allow_missing: bool = True
) -> tuple[str, ...]:
    """A note for each recording with missing channels, which are masked.

    Raises:
        InputError: a recording has too few of `channels`, or not all and `allow_missing` is False.
    """
    notes = []
    for recording, present in zip(data.recordings, data.present, strict=True):
        share = float(present.mean())
        if share == 1:
            continue
        missing = [channel for channel, here in zip(channels, present, strict=True) if not here]
        lost = _in_words(missing, channels)
        what = f"{recording.name}: {len(missing)} of {len(channels)} channels are missing: {lost}"
        if share < LEAST_SHARE:
            raise InputError(f"{what}; expected at least {LEAST_SHARE:.0%} of them: is it another machine's?")
        if not allow_missing:
            raise InputError(f"{what}; recordings with missing boards are refused (--missing refuse)")
        notes.append(f"{what}; masked")
    return tuple(notes)


def _in_words(missing: Sequence[str], channels: Sequence[str]) -> str:
    """Missing boards, then missing single channels."""
    from model.data_layout import board_of

    gone = set(missing)
    members: dict[str, list[str]] = {}
    for channel in channels:
        members.setdefault(board_of(channel), []).append(channel)
    boards = [board for board, own in members.items() if gone.issuperset(own)]
    single = [channel for channel in missing if board_of(channel) not in boards]
    parts = []
    if boards:
        parts.append(f"boards {_listed(boards)}")
    if single:
        parts.append(f"channels {_listed(single)}")
    return " and ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _of_frame(frame: Any, channels: Sequence[str], *, require_lines: bool) -> Recordings:
    """One recording from a polars or pandas data frame, read like a CSV."""
    import tempfile

    import polars as pl

    table = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.csv"
        table.write_csv(path)
        try:
            return Recordings.from_files([path], channels=channels, require_lines=require_lines)
        except InputError as error:
            raise InputError(str(error).replace(str(path), "data frame")) from None


def has_seen(config: Any, part: str | None) -> bool:
    """Whether networks of `config` were trained on a part of their data set; None: no part was asked for."""
    refitted = config.fit_on == "all_but_test" and part in ("select", "calibrate")
    return part == "train" or config.fit_on == "all" or refitted


def part_of(data: Recordings, part: str, *, config: Any, folder: Path) -> tuple[int, ...]:
    """The recordings of `data` in a part of the split that runs of `config` were trained on.

    Raises:
        InputError: `data` is not a data set, but files.
    """
    from model.windows import split

    if data.folder is None:
        raise InputError(f"{folder}: --part needs an imported data set; these are files, leave --part out")
    if config.track != "recordings":
        raise InputError(f"--part: the network's track is '{config.track}', whose parts mix all recordings")
    return split(data, seed=config.split_seed, reshuffle=config.reshuffle)[part]
