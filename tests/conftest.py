"""Data that the tests of every room share, made by the simulator once a session."""

from pathlib import Path

import pytest

from model.data_sets import synthesize
from model.recordings import Recordings
from model.simulator import Simulation, synthesize_csv

TINY = Simulation(
    seed=1,
    operations=("adaptive", "face", "pocket"),
    recordings_per_operation=4,
    boards=("frame_r2", "y_bed__3", "spindle2"),
    scale=0.5,
)


@pytest.fixture(scope="session")
def tiny_recordings(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    """12 recordings of 3 operations, about 170 rows each, in a data set (`.folder` says where)."""
    return synthesize(tmp_path_factory.mktemp("data") / "tiny", TINY)


@pytest.fixture(scope="session")
def tiny_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same recordings as `.csv.gz` files."""
    folder = tmp_path_factory.mktemp("csv")
    synthesize_csv(folder, TINY)
    return folder


@pytest.fixture(scope="session")
def real_recordings() -> Path:
    """The folder of the real recordings beside the repository; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "recordings"
    if not folder.is_dir():
        pytest.skip("needs the real recordings in ../shared/data/recordings")
    return folder
