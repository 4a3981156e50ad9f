"""Baselines that read whole recordings."""

from __future__ import annotations

from model.recordings import Recordings
from model.row_baselines import row_baselines
from model.windows import split


def test_the_oracle_bounds_what_copies_one_log(tiny_recordings: Recordings) -> None:
    parts = split(tiny_recordings, seed=0)
    found = {
        one.name: one for one in row_baselines(tiny_recordings, known=parts["train"], which=parts["test"])
    }
    rows = {name: one.figures["row_acc"].mean for name, one in found.items()}
    told = {name for name, one in found.items() if one.leak}
    oracle = next(name for name in found if name.startswith("oracle"))
    assert oracle in told and len(told) == 2
    assert rows[oracle] >= rows["nearest known recording, same rows"]
    assert all(interval.mean >= 0 for one in found.values() for interval in one.figures.values())
    assert found["vote of known recordings"].figures["recording_operation_acc"].mean == 1
