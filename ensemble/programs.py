"""Stores the order of lines in the programs of `train` in a bundle, for joint decoding without data.

`programs.json`: for each train recording, the label of the window that starts at each row, as runs
`[line, rows]` of equal labels. inference/joint.py uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ensemble.bundle import Bundle
from model.recordings import MANIFEST, Recordings
from model.windows import dense_labels, split
from tuner.base.errors import InputError
from tuner.base.files import read_json, write_json
from tuner.base.run_folder import CONFIG

FORMAT = 1
PROGRAMS = "programs.json"


def collect(data: Recordings, train: Sequence[int], *, window: int) -> dict[str, Any]:
    """The programs of the recordings `train`, for windows of `window` rows, as plain values."""
    labels = dense_labels(data, window=window)
    programs: list[dict[str, Any]] = []
    used = set[int]()
    for i in train:
        recording = data.recordings[i]
        starts = max(1, recording.rows - window + 1)
        runs = _runs(labels[recording.start : recording.start + starts])
        used |= {line for line, _ in runs}
        programs.append({"name": recording.name, "operation": recording.operation, "runs": runs})
    number = {line: k for k, line in enumerate(sorted(used))}
    for program in programs:
        program["runs"] = [[number[line], rows] for line, rows in program["runs"]]
    lines = [data.lines[line] for line in number]
    return {"format": FORMAT, "window": window, "lines": lines, "programs": programs}


def store(folder: Path, data: Recordings) -> Bundle:
    """Writes the programs of the train part of `data` to the bundle at `folder`; returns the new bundle.

    Raises:
        InputError: the bundle was trained on other data, or on the track "windows", which mixes recordings.
    """
    bundle = Bundle.load(folder)
    check_data(bundle, data)
    if bundle.track != "recordings":
        raise InputError(f"bundle '{bundle.name}': the order of lines is learnt on track 'recordings' only")
    config = read_json(folder / bundle.members[0].path / CONFIG)
    train = split(data, seed=config["split_seed"])["train"]
    write_json(folder / PROGRAMS, collect(data, train, window=config["window"]))
    note = bundle.chosen_by.get("decoding", {})
    bundle = bundle.with_decoding({}, chosen_by=note, line_order=PROGRAMS)
    bundle.save(folder)
    return bundle


def check_data(bundle: Bundle, data: Recordings) -> None:
    """Raises InputError if the bundle was trained on other data than `data`."""
    if bundle.data_hash != data.content_hash:
        raise InputError(
            f"bundle '{bundle.name}' was trained on data {bundle.data_hash[:12]}, {data.name} is "
            f"{data.content_hash[:12]}; give the data set of its runs with --data"
        )


def data_of(bundle: Bundle, root: Path = Path("data")) -> Path | None:
    """The data set in `root` that the bundle was trained on; None if it is not there."""
    for manifest in sorted(root.glob(f"*/{MANIFEST}")):
        if read_json(manifest).get("content_hash") == bundle.data_hash:
            return manifest.parent
    return None


def required_data(bundle: Bundle, given: Path | None) -> Path:
    """The data set `given`, or that of the bundle in `data/`; InputError if there is none."""
    found = given or data_of(bundle)
    if found is None:
        raise InputError("the data set of the bundle's members is not below data/; name it with --data")
    return found


def _runs(labels: np.ndarray) -> list[tuple[int, int]]:
    """Runs of equal values: `[5, 5, 7]` → `[(5, 2), (7, 1)]`."""
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([starts, [len(labels)]]))
    return [(int(labels[s]), int(n)) for s, n in zip(starts, lengths, strict=True)]
