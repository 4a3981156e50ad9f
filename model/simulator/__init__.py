"""A simulator of the mill: recordings in the format of the real ones, for the first run and for every test.

`simulate` draws a machine and one program per operation from one seed. It runs each program several times
with small differences: feed, a pass more or less, missing boards, offsets, drifts. `synthesize_csv` writes
the recordings as CSV files, `model.data_sets.synthesize` as a data set.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuner.base.errors import InputError, nearest

if TYPE_CHECKING:
    import polars as pl

OPERATIONS = ("adaptive", "adaptivefine", "face", "facefine", "pocket", "pocketfine")


@dataclass(frozen=True)
class Simulation:
    """What to simulate; equal options give equal recordings."""

    seed: int = 0
    operations: tuple[str, ...] = OPERATIONS
    recordings_per_operation: int = 6
    boards: tuple[str, ...] = ()  # (): the default eight
    scale: float = 1.0  # factor on the length of the programs: 1 is 250–500 rows per recording

    def __post_init__(self) -> None:
        from model.simulator.programs import CUTS
        from model.simulator.sensors import RIDES

        for what, names, valid in (
            ("operation", self.operations, tuple(CUTS)),
            ("board", self.boards, tuple(RIDES)),
        ):
            for name in names:
                if name not in valid:
                    hint = nearest(name, valid)
                    raise InputError(f"simulator: unknown {what} '{name}'{hint} (valid: {', '.join(valid)})")
        if not self.operations or self.recordings_per_operation < 1 or self.scale <= 0:
            raise InputError(
                "simulator: expected at least one operation, one recording of each, a scale above 0"
            )


def synthesize_csv(to: Path, simulation: Simulation | None = None, *, compress: bool = True) -> list[Path]:
    """Writes simulated recordings as CSV files to the folder `to`; importing them gives equal arrays."""
    to.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in simulate(simulation or Simulation()):
        path = to / f"{name}_aligned.csv{'.gz' if compress else ''}"
        text = table.write_csv().encode()
        path.write_bytes(gzip.compress(text, compresslevel=1, mtime=0) if compress else text)
        written.append(path)
    return written


def simulate(simulation: Simulation) -> Iterator[tuple[str, pl.DataFrame]]:
    """Name and table of each recording, operation by operation."""
    from model.simulator.programs import CUTS, program
    from model.simulator.recorder import draw_day, record
    from model.simulator.sensors import BOARDS, machine

    names: Sequence[str] = simulation.boards or BOARDS
    boards = machine(names, np.random.default_rng([simulation.seed, 0]))
    clock = datetime(2026, 1, 5, 9, 0)
    for which, operation in enumerate(simulation.operations, start=1):
        for number in range(1, simulation.recordings_per_operation + 1):
            rng = np.random.default_rng([simulation.seed, which, number])
            skipped = int(rng.random() < 0.25)  # sometimes the last pass is left out
            lines = program(CUTS[operation], scale=simulation.scale, skipped=skipped)
            clock += timedelta(minutes=4)
            yield f"{operation}_{number:03d}", record(lines, boards, draw_day(names, clock, rng), rng)
