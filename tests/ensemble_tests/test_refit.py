"""A last fit on more recordings: everything that was chosen stays, the networks are new."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from ensemble.__main__ import main
from ensemble.build import Built, Options, build
from ensemble.bundle import Bundle
from ensemble.library import store
from ensemble.predictor import BundlePredictor
from ensemble.refit import refit
from model import train
from model.library_fit import LIBRARY, load
from model.recordings import LOG, Recordings
from model.windows import split
from tuner.base.errors import InputError

CONFIG = {"d_model": 16, "heads": 2, "window": 16, "stride": 16, "batch_size": 32, "epochs": 1}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_recordings: Recordings) -> Built:
    """A bundle of two runs that knows all programs but those of test."""
    results = tmp_path_factory.mktemp("refit")
    assert tiny_recordings.folder is not None
    for i in range(2):
        run = results / "runs" / "tiny" / str(i)
        train({**CONFIG, "seed": i}, lambda *_: None, data=tiny_recordings.folder, run_folder=run)
    built = build(results, Options(k=2, rule="uniform"), created="now")
    store(built.folder, tiny_recordings)
    return built


def refitted(built: Built, data: Path, *, but_test: bool) -> Path:
    bundle = Bundle.load(built.folder).with_temperatures({"type": 1.7}, chosen_by={"part": "calibrate"})
    return refit(
        bundle,
        built.folder,
        results=built.folder.parents[1],
        data=data,
        but_test=but_test,
        jobs=1,
        created="later",
        done=lambda member: None,
    )


def test_members_are_new_and_all_that_was_chosen_stays(built: Built, tiny_recordings: Recordings) -> None:
    assert tiny_recordings.folder is not None
    folder = refitted(built, tiny_recordings.folder, but_test=False)
    old, new = Bundle.load(built.folder), Bundle.load(folder)
    assert new.name == f"{old.name}-refit"
    assert new.weights == old.weights
    assert new.temperatures["type"] == 1.7
    assert new.chosen_by["refit"]["part"] == "all"
    assert new.report == {}  # measured on other networks
    for member in new.members:
        before = load_file(built.folder / member.path / "model.safetensors")
        after = load_file(folder / member.path / "model.safetensors")
        assert any((before[k] != after[k]).any() for k in before if before[k].shape == after[k].shape)
    assert BundlePredictor.load(folder).vocabulary.digits == old.vocabulary_digits


@pytest.mark.parametrize("but_test", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_library_has_the_recordings_it_was_fitted_on(
    built: Built, tiny_recordings: Recordings, but_test: bool
) -> None:
    assert tiny_recordings.folder is not None
    folder = refitted(built, tiny_recordings.folder, but_test=but_test)
    names = {known.name for known in load(folder).known}
    test = {tiny_recordings.recordings[i].name for i in split(tiny_recordings, seed=42)["test"]}
    everything = {recording.name for recording in tiny_recordings.recordings}
    assert names == (everything - test if but_test else everything)


@pytest.mark.slow
def test_a_refitted_bundle_keeps_no_predictions_nobody_could_have_made(
    built: Built, tiny_recordings: Recordings
) -> None:
    assert tiny_recordings.folder is not None
    folder = refitted(built, tiny_recordings.folder, but_test=False)
    assert not list(folder.rglob("predictions"))


def test_another_data_set_is_refused_by_name(built: Built, tmp_path: Path) -> None:
    from model.data_sets import synthesize
    from model.simulator import Simulation

    other = synthesize(
        tmp_path / "other", Simulation(seed=9, operations=("face",), recordings_per_operation=4, scale=0.3)
    )
    assert other.folder is not None
    with pytest.raises(InputError, match="was trained on data"):
        refitted(built, other.folder, but_test=False)
    assert not list(built.folder.parent.glob(".*partial*"))


def test_a_library_is_stored_in_an_older_bundle(
    built: Built, tiny_recordings: Recordings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = shutil.copytree(built.folder, tmp_path / "mine")
    (mine / LIBRARY).unlink(missing_ok=True)
    assert main(["library", str(mine), "--data", str(tiny_recordings.folder)]) == 0
    some = len(load(mine).known)
    assert main(["library", str(mine), "--data", str(tiny_recordings.folder), "--all"]) == 0
    assert some < len(load(mine).known) == len(tiny_recordings.recordings)
    old = shutil.copytree(tiny_recordings.folder, tmp_path / "old")
    (old / LOG).unlink()
    capsys.readouterr()
    assert main(["library", str(mine), "--data", str(old)]) == 0
    assert "no line numbers" in capsys.readouterr().out
