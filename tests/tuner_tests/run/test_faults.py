"""Every write can fail: a full disk, an input/output error, half of a line. The same command then finishes.

`python benchmarks/bench_reliability.py faults` does this at every write and in every way. Here: once for each
kind of file and of statement that the tuner writes.
"""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from reliability.faults import KINDS, Faults, Kind
from reliability.faulty import Faulty, fail

from tuner.base.files import CannotWrite, write_json
from tuner.base.run_folder import RunFolder, read_metrics
from tuner.storage.access import default_url, open_records
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


@pytest.mark.hostile("checkpoints and disks harmed")
@pytest.mark.usefixtures("agents_in_this_process")
@pytest.mark.parametrize(("place", "earlier", "kind"), WRITES)
def test_a_write_that_fails_costs_one_line_and_no_trial(
    tmp_path: Path, places: list[str], place: str, earlier: int, kind: Kind
) -> None:
    at = [number for number, found in enumerate(places) if place in found][earlier]
    problems, faults = fail(tmp_path, at, kind)
    assert problems == []
    assert place in faults.places[at]


@pytest.mark.hostile("checkpoints and disks harmed")
@pytest.mark.usefixtures("agents_in_this_process")
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_disk_that_stays_full_costs_one_line_and_no_trial(
    tmp_path: Path, places: list[str], share: float
) -> None:
    problems, _ = fail(tmp_path, int(share * len(places)), "full", lasting=True)
    assert problems == []


@pytest.mark.hostile("checkpoints and disks harmed")
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


ROOT = Path(__file__).resolve().parents[3]
FILLS = """
import os
from pathlib import Path

def train(config, report, checkpoint):
    '''Keeps its epochs. The sixth epoch of all fills the disk, from outside of the trial.'''
    state, count, ballast = checkpoint / "epochs", Path("count"), Path("ballast")
    begin = int(state.read_text().split()[0]) if state.exists() else 0
    for epoch in range(begin, 4):
        count.write_text(str(done := int(count.read_text()) + 1 if count.exists() else 1))
        if done == 6:
            try:
                with ballast.open("wb") as file:
                    while True:
                        os.write(file.fileno(), bytes(2**16))
            except OSError:
                pass
        state.with_suffix(".new").write_text(f"{epoch + 1} " + 50_000 * "x")
        state.with_suffix(".new").replace(state)
        report(epoch, {"score": config["x"] * (epoch + 1) / 4, "began": begin})
    return {"score": config["x"], "began": begin}
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 230 MB in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=230m", "tuner", disk], check=False).returncode:
        pytest.skip("may not mount a file system here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.hostile("checkpoints and disks harmed")
def test_a_disk_that_is_full_or_read_only_between_pause_and_resume_costs_one_line(small_disk: Path) -> None:
    (small_disk / "objective.py").write_text(FILLS)
    (small_disk / "study.yaml").write_text(
        "{name: paused, method: random, run_cap: 4, metric: {name: score, goal: maximize}, "
        "parameters: {x: {min: 0.0, max: 1.0}}, "
        "tuner: {objective: 'objective.py:train', max_epochs: 4, sampler: freeze_thaw}}"
    )
    command = [sys.executable, "-m", "tuner", "study", "study.yaml", "--agents", "1", "--results", "results"]
    places = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=small_disk, env=places, capture_output=True, text=True, check=False
        )

    def refused() -> bool:
        done = run()
        return done.returncode == 1 and done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr

    assert refused() and (small_disk / "ballast").exists()
    assert refused()
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert refused()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert run().returncode == 0
    records = open_records(default_url(small_disk / "results"))
    trials = optuna.load_study(study_name="paused", storage=records).trials
    ended = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(ended) == 4 and all(trial.state.is_finished() for trial in trials)
    assert any(trial.user_attrs["metrics"]["began"] for trial in ended), "none went on from its checkpoint"
