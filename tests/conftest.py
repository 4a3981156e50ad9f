"""What the tests of all rooms share: simulated recordings, made once a session; agents without processes."""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reliability.in_this_process import InThisProcess

from model.data_sets import synthesize
from model.recordings import Recordings
from model.simulator import Simulation, synthesize_csv
from tuner.run.executors import processes

# Ray keeps the token that it first reads in a process: one for all tests, whichever imports Ray first
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED="0")
# No W&B beside a study unless a test is about it: importing it takes a second of each study
os.environ["WANDB_MODE"] = "disabled"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        metavar="K/N",
        help="of the files with slow tests only each N-th, from the K-th on: N runs in turn cover all",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files whose tests start processes come first: workers get files in order, short ones fill the end."""
    starts = functools.cache(lambda path: "sys.executable" in path.read_text(encoding="utf-8"))
    items.sort(key=lambda item: not starts(item.path))
    if config.option.part is not None:
        first, number = map(int, config.option.part.split("/"))
        files = sorted({item.path for item in items if item.get_closest_marker("slow")})
        chosen = set(files[(first - 1) % number :: number])
        left_out = [item for item in items if item.path not in chosen]
        items[:] = [item for item in items if item.path in chosen]
        config.hook.pytest_deselected(items=left_out)


processes.preload(now=False)  # a test's agents begin as those of a command do, in a tenth of the time
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


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """Processes that are started here are no part of the coverage: other tests run the same, and it takes
    0.15 s a process.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def agents_in_this_process(monkeypatch: pytest.MonkeyPatch, no_processes: dict[str, Any]) -> None:
    """Agents of studies run here, one after another: for tests that are not about processes."""
    monkeypatch.setattr(**no_processes)


@pytest.fixture(scope="session")
def no_processes() -> dict[str, Any]:
    """`MonkeyPatch.setattr(**no_processes)`: the same for a fixture of a module."""
    return {"target": "tuner.run.launch.open_executor", "name": lambda *_, **__: InThisProcess()}
