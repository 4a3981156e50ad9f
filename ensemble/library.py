"""Stores the library of known programs in a bundle, so that it reads whole recordings without data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensemble.bundle import Bundle
from model.library import Library
from model.library_fit import LIBRARY, build, save
from model.recordings import MANIFEST, Recordings
from model.windows import split
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.run_folder import CONFIG

NO_NUMBERS = "no line numbers, so that programs are not merged; import the recordings again"


def store(folder: Path, data: Recordings, *, everything: bool = False) -> Library:
    """Writes the library of `data` to the bundle at `folder`: all recordings but those of `test`, or all.

    Raises:
        InputError: the bundle was trained on other data, or on the track "windows", which mixes recordings.
    """
    bundle = Bundle.load(folder)
    check_data(bundle, data)
    if bundle.track != "recordings":
        raise InputError(f"bundle '{bundle.name}': a library needs the track 'recordings'")
    seed = int(read_json(folder / bundle.members[0].path / CONFIG)["split_seed"])
    library = build(data, known_recordings(data, seed=seed, everything=everything))
    save(library, folder)
    return library


def known_recordings(data: Recordings, *, seed: int, everything: bool) -> Sequence[int]:
    """The recordings of `data` that a library has: all but those of `test`, or all."""
    left_out = () if everything else split(data, seed=seed)["test"]
    return [i for i in range(len(data.recordings)) if i not in left_out]


def has_library(folder: Path) -> bool:
    """Whether the bundle at `folder` has a library."""
    return (folder / LIBRARY).is_file()


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
