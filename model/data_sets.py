"""The default data set, and a simulated data set for when none was imported."""

from __future__ import annotations

from pathlib import Path

from model.importing import check_target, write_data_set
from model.recording_files import from_table
from model.recordings import MANIFEST, SIMULATOR, Recordings
from model.simulator import Simulation, simulate
from tuner.base.errors import InputError
from tuner.base.files import read_json


def default_data(root: Path = Path("data")) -> Path:
    """The data set to use when none is named: the only imported one, else the simulated one.

    The simulated data set is made if it does not exist.

    Raises:
        InputError: several data sets were imported; one must be named.
    """
    imported = [
        manifest.parent
        for manifest in sorted(root.glob(f"[!.]*/{MANIFEST}"))  # without left-overs of a killed import
        if read_json(manifest).get("kind") != SIMULATOR
    ]
    if len(imported) > 1:
        raise InputError(f"several data sets: {', '.join(map(str, imported))}; name one with --data")
    if imported:
        return imported[0]
    simulated = root / SIMULATOR
    if not (simulated / MANIFEST).is_file():
        synthesize(simulated)
    return simulated


def synthesize(to: Path, simulation: Simulation | None = None) -> Recordings:
    """Writes simulated recordings as the data set `to`, whole or not at all."""
    check_target(to)
    files = [
        from_table(table, name=name, source=f"{name}_aligned.csv", where=name)
        for name, table in simulate(simulation or Simulation())
    ]
    return write_data_set(sorted(files, key=lambda file: file.name), to, kind=SIMULATOR)
