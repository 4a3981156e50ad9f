"""`gc`: what goes, what stays, and what it leaves alone because it cannot know."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial

from tuner.__main__ import main
from tuner.artifacts import gc
from tuner.artifacts.run_store import RunStore, location_for
from tuner.definition.study_file import StudyFile
from tuner.storage import leases, study_store
from tuner.storage.attributes import LEASE
from tuner.storage.records import Records

MakeStudy = Callable[..., StudyFile]
DEAD = 2**22 + 1  # no process has this id: Linux gives out none above 2**22


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def study(records: Records, make_study: MakeStudy, results: Path) -> optuna.Study:
    """Three complete trials with run folders, x = 0.1, 0.9, 0.5, and one that was given back."""
    study_file = make_study()
    study = study_store.open_study(records, study_file, study_store.Origin({}))
    for number, x in enumerate((0.1, 0.9, 0.5)):
        records.enqueue(study._study_id, {"x": x, "y": "a"}, {})
        trial = Trial(study, records.claim(study._study_id, user_attrs={})._trial_id)
        study_file.space.suggest(trial)
        study.tell(trial, x)
        folder = run(results, number)
        (folder / "trial.json").write_text(json.dumps({"objective": {"value": x}}))
    records.enqueue(study._study_id, {"x": 0.3, "y": "a"}, {})
    run(results, 3)
    return study


def run(results: Path, number: int, study: str = "small") -> Path:
    folder = results / "runs" / study / str(number)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def names(found: gc.Found, kind: str) -> list[str]:
    mine = [item for item in found.items if item.kind == kind]
    return sorted(str(item.path or item.key).rpartition("/runs/")[2] for item in mine)


def test_weights_beyond_the_best_and_runs_that_were_given_back_go(
    study: optuna.Study, records: Records, results: Path
) -> None:
    found = gc.find(records, results, keep=1)
    assert names(found, "weights") == ["small/0/model.safetensors", "small/2/model.safetensors"]
    assert names(found, "unfinished runs") == ["small/3"]
    assert gc.remove(found) == []
    left = sorted(p.relative_to(results / "runs/small").as_posix() for p in results.rglob("*.safetensors"))
    assert left == ["1/model.safetensors"]
    assert (results / "runs/small/0/result.json").is_file()
    assert gc.find(records, results, keep=1).items == []


def test_a_bundles_members_keep_their_weights(study: optuna.Study, records: Records, results: Path) -> None:
    bundle = results / "ensembles" / "top1" / "bundle.json"
    bundle.parent.mkdir(parents=True)
    bundle.write_text(json.dumps({"members": [{"study": "small", "number": 0}]}))
    assert names(gc.find(records, results, keep=1), "weights") == ["small/2/model.safetensors"]


def test_runs_of_no_study_here_are_left_alone(study: optuna.Study, records: Records, results: Path) -> None:
    run(results, 0, study="single")
    other = results / "runs/small/0/trial.json"
    other.write_text(json.dumps({"objective": {"value": 0.7}}))  # of a study of the same name elsewhere
    found = gc.find(records, results, keep=1)
    assert names(found, "weights") == ["small/2/model.safetensors"]
    assert any("single" in line for line in found.skipped)
    assert any("run folders 0 have no trials in this storage" in line for line in found.skipped)


def test_a_study_that_is_being_trained_is_skipped(
    study: optuna.Study, records: Records, results: Path
) -> None:
    owner = leases.Owner.this_process()
    records.claim(study._study_id, user_attrs={LEASE: owner.lease(0)})
    (results / "runs/small" / f"4.partial-{DEAD}").mkdir()
    found = gc.find(records, results, keep=1)
    assert found.items == []
    assert f"is running now (trial 3 by process {os.getpid()}" in found.skipped[0]


def test_partial_files_go_when_their_writer_is_gone(
    study: optuna.Study, records: Records, results: Path
) -> None:
    ensembles = results / "ensembles"
    ensembles.mkdir()
    gone = [
        results / "runs/small" / f"7.partial-{DEAD}",
        results / "runs/small/1" / f".config.json.{DEAD}",
        ensembles / f".top5.partial-{DEAD}",
    ]
    young = [ensembles / f".top6.partial-{DEAD}", results / f".artifacts.json.{DEAD}"]
    alive = [results / "runs/small" / f"8.partial-{os.getppid()}"]
    for path in (*gone, *young, *alive):
        path.touch()
    os.utime(gone[2], (0, 0))
    items = [item for item in gc.find(records, results).items if item.kind == "partial files"]
    assert {item.path for item in items} == set(gone)


def test_the_store_loses_what_is_not_kept_and_archives_without_a_manifest(
    study: optuna.Study, records: Records, results: Path, tmp_path: Path
) -> None:
    location = location_for(study, f"file://{tmp_path}/store")
    assert location is not None
    store = RunStore(location)
    for number in (0, 1):
        store.upload(results / "runs/small" / str(number), number)
    store.store.write(f"{location.folder}/2-0000.tar", b"the upload was interrupted")
    store.store.write("runs/other-1/0.json", b"of another storage")
    found = gc.find(records, results, keep=1)
    assert found.totals()["runs in the store"][0] == 3
    gc.remove(found)
    assert store.numbers() == {1}
    assert set(store.store.sizes("runs/other-1")) == {"runs/other-1/0.json"}


def test_the_command_says_how_much_and_a_dry_run_removes_nothing(
    study: optuna.Study, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(results.rglob("*"))
    assert main(["gc", "--dry-run", "--results", str(results)]) == 0
    output = capsys.readouterr().out
    assert "unfinished runs: 1 (0.0 MiB)" in output and "would be removed: 1 in all" in output
    assert sorted(results.rglob("*")) == before
    assert main(["gc", "--json", "--results", str(results)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["removed"] and answer["kinds"]["unfinished runs"]["count"] == 1
    assert not (results / "runs/small/3").exists()


def test_without_a_storage_only_partial_files_are_looked_for(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(results, 0)
    assert main(["gc", "--results", str(results)]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"
    shutil.rmtree(results)
    assert main(["gc", "--results", str(results)]) == 2
    assert "no such results folder" in capsys.readouterr().err
