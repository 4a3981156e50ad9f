"""Every write can fail: a full disk, an input/output error, half of a line. The same command then finishes.

`python benchmarks/bench_reliability.py faults` does this at every write and in every way. Here: once for each
kind of file and of statement that the tuner writes.
"""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reliability.faults import KINDS, Faults, Kind
from reliability.faulty import Faulty, fail

from tuner.base.files import CannotWrite, write_json
from tuner.base.run_folder import RunFolder, read_metrics
from tuner.workloads.keeper import Output
from tuner.workloads.masking import Mask

pytestmark = pytest.mark.slow

# the write, how often it was done before, and how it fails
WRITES = [
    ("mkdir results", 0, "full"),
    ("CREATE trials", 0, "full"),
    ("INSERT alembic_version", 0, "broken"),
    ("replace results/studies.db", 0, "full"),
    ("INSERT studies", 0, "full"),
    ("COMMIT", 3, "torn"),
    ("INSERT study_user_attributes", 6, "broken"),
    ("write results/runs/faulty/.study.json", 0, "torn"),
    ("INSERT trials", 0, "full"),
    ("INSERT trial_params", 1, "full"),
    ("mkdir results/checkpoints/faulty", 0, "full"),
    ("mkdir results/runs/faulty/1.partial", 0, "broken"),
    ("open results/checkpoints/faulty/1-", 0, "full"),
    ("write results/runs/faulty/1.partial", 0, "torn"),  # config.json
    ("metrics.jsonl", 1, "torn"),
    ("reports.jsonl", 1, "torn"),
    (".result.json", 1, "torn"),
    ("replace results/runs/faulty/1", 2, "full"),
    ("INSERT trial_values", 1, "torn"),
    ("COMMIT", 12, "torn"),
    (".trial.json", 1, "torn"),
    ("replace results/runs/faulty/2/trial.json", 0, "broken"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, no_processes: dict[str, Any]) -> list[str]:
    """What the study writes, in order, when nothing fails."""
    folder = tmp_path_factory.mktemp("whole")
    faults, study = Faults(folder), Faulty(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(**no_processes)
        assert study.run(faults) == 0, study.said
    assert study.problems({}) == []
    return faults.places


@pytest.mark.usefixtures("agents_in_this_process")
@pytest.mark.parametrize(("place", "earlier", "kind"), WRITES)
def test_a_write_that_fails_costs_one_line_and_no_trial(
    tmp_path: Path, places: list[str], place: str, earlier: int, kind: Kind
) -> None:
    at = [number for number, found in enumerate(places) if place in found][earlier]
    problems, faults = fail(tmp_path, at, kind)
    assert problems == []
    assert place in faults.places[at]


@pytest.mark.usefixtures("agents_in_this_process")
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_disk_that_stays_full_costs_one_line_and_no_trial(
    tmp_path: Path, places: list[str], share: float
) -> None:
    problems, _ = fail(tmp_path, int(share * len(places)), "full", lasting=True)
    assert problems == []


@pytest.mark.parametrize(
    "words",
    [
        ["export", "faulty", "--output", "OUT/winner.yaml"],
        ["report", "faulty", "--output", "OUT/report.html"],
        ["doctor", "--repair"],
    ],
)
def test_a_command_that_cannot_write_says_so_in_one_line(
    tmp_path: Path, agents_in_this_process: None, words: list[str]
) -> None:
    study = Faulty(tmp_path)
    assert study.run() == 0
    counted = Faults(tmp_path)
    words = [word.replace("OUT", str(tmp_path)) for word in words]
    assert study.command(words) == 0, study.said
    assert study.command(words, counted) == 0, study.said
    for at, kind in zip((0, len(counted.places) - 1), KINDS, strict=False):
        assert study.command(words, Faults(tmp_path, at, kind)) == 1, counted.places
        assert "Traceback" not in study.said
        assert study.said.count("error: ") == 1
    assert study.problems({}) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_file_stays_as_it_was(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"old": True})
    for at in range(3):  # it is opened, written, renamed
        with Faults(tmp_path, at, kind).active(), pytest.raises(CannotWrite, match=r"result\.json cannot"):
            write_json(path, {"new": True})
        assert json.loads(path.read_text()) == {"old": True}
        assert [found.name for found in tmp_path.iterdir()] == ["result.json"]


def test_a_line_that_was_cut_off_does_not_cost_the_next_one(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint" / "files"
    checkpoint.mkdir(parents=True)
    (checkpoint.parent / "metrics.jsonl").write_text('{"epoch": 0, "sco')
    with RunFolder(tmp_path / "0", checkpoint=checkpoint) as folder:
        folder.log(0, {"score": 1.0})
        final = folder.finish({"state": "complete"})
    assert read_metrics(final / "metrics.jsonl") == [{"epoch": 0, "score": 1.0}]


@pytest.fixture
def full_for_a_while(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the calls of `os.write` that fail; the one before writes a part."""
    failing, real, count = [2, 3], os.write, iter(range(100))

    def write(file: int, data: bytes) -> int:
        number = next(count)
        if number in failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:3] if number + 1 in failing else data)

    monkeypatch.setattr("tuner.workloads.keeper.os.write", write)
    yield failing


def test_a_script_loses_no_line_on_a_disk_that_was_full_for_a_while(
    tmp_path: Path, full_for_a_while: list[int]
) -> None:
    output = Output(tmp_path / "output.log", Mask({}, []))
    lines = [f'{{"epoch": {epoch}}}\n'.encode() for epoch in range(5)]
    for line in lines:
        output.take(line)
    output.close()
    assert (tmp_path / "output.log").read_bytes() == b"".join(lines)
