"""Which runs enter, which are left out and why, and what a bundle holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ensemble.build import Options, build
from ensemble.bundle import Bundle, find_bundle
from ensemble.candidates import find
from ensemble.predictions import part_file
from tuner.base.errors import InputError

MakeRuns = Callable[..., list[Path]]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def build_here(results: Path, **options: Any) -> Bundle:
    return build(results, Options(**{"k": 3, **options}), created="2026-01-01T00:00:00+00:00").bundle


def names(bundle: Bundle) -> list[str]:
    return [member.name for member in bundle.members]


# -- candidates


def test_the_best_by_objective_are_taken(make_runs: MakeRuns, results: Path) -> None:
    make_runs(5)
    assert names(build_here(results, rule="uniform")) == ["loss/4", "loss/3", "loss/2"]


def test_feasible_runs_come_first_and_infeasible_ones_still_fill_up(
    make_runs: MakeRuns, results: Path
) -> None:
    make_runs(2, violation=0.3, objective=0.9)
    make_runs(2, first=2, objective=0.1)
    bundle = build_here(results, rule="uniform")
    assert names(bundle) == ["loss/2", "loss/3", "loss/0"]
    assert [member.feasible for member in bundle.members] == [True, True, False]


def test_an_objective_to_be_minimised_is(make_runs: MakeRuns, results: Path) -> None:
    for i, folder in enumerate(make_runs(3)):
        edit(folder / "trial.json", objective={"name": "val/loss", "goal": "minimize", "value": i})
    assert [c.name for c in find(results)[0]] == ["loss/0", "loss/1", "loss/2"]


def test_studies_with_different_objectives_meet_on_exact_lines(make_runs: MakeRuns, results: Path) -> None:
    make_runs(1, study="a", objective=0.5)
    (folder,) = make_runs(1, study="b", objective=0.6, seed=5)
    edit(folder / "trial.json", objective={"name": "val/loss", "goal": "minimize", "value": 99})
    ranked, _ = find(results)
    assert [c.name for c in ranked] == ["b/0", "a/0"]
    assert ranked[0].objective["name"] == "val/exact_acc"


def test_a_metric_can_be_named_and_a_misspelt_one_is_an_error(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2)
    assert find(results, metric="val/loss")[0][0].objective["goal"] == "minimize"
    with pytest.raises(InputError, match=r"did you mean 'val/loss'\?"):
        find(results, metric="val/los")


def test_runs_without_a_trial_file_rank_by_exact_lines(make_runs: MakeRuns, results: Path) -> None:
    for folder in make_runs(2):
        (folder / "trial.json").unlink()
    assert [c.name for c in find(results)[0]] == ["loss/1", "loss/0"]


def test_a_study_can_be_named_and_a_misspelt_one_is_an_error(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2, study="warmup")
    make_runs(2, study="loss")
    assert {c.study for c in find(results, studies=["warmup"])[0]} == {"warmup"}
    with pytest.raises(InputError, match="did you mean 'warmup'"):
        find(results, studies=["warmpu"])


def test_retrainings_on_other_splits_are_taken_only_by_name(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2)
    make_runs(1, study="loss.verify")
    make_runs(1, study="loss.verify@20260102-030405")
    assert {c.study for c in find(results)[0]} == {"loss"}
    assert {c.study for c in find(results, studies=["loss.verify"])[0]} == {"loss.verify"}


def test_nothing_there_is_an_error_that_says_what_to_do(results: Path) -> None:
    with pytest.raises(InputError, match="tuner study"):
        find(results)


# -- folders that are left out


def break_missing_result(folder: Path) -> None:
    (folder / "result.json").unlink()


def break_torn_result(folder: Path) -> None:
    (folder / "result.json").write_text('{"state": "comp')


def break_foreign_result(folder: Path) -> None:
    (folder / "result.json").write_text('["nothing of ours"]')


def break_pruned(folder: Path) -> None:
    edit(folder / "result.json", state="pruned")


def break_final_fit(folder: Path) -> None:
    edit(folder / "result.json", fit_on="all")


def break_torn_trial(folder: Path) -> None:
    (folder / "trial.json").write_text("{")


def break_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def break_decoding(folder: Path) -> None:
    for name in ("model.safetensors", "vocabulary.json", "scaler.npz"):
        (folder / name).unlink(missing_ok=True)


def break_torn_predictions(folder: Path) -> None:
    path = part_file(folder, "calibrate")
    path.write_bytes(path.read_bytes()[:300])


def break_vocabulary(folder: Path) -> None:
    (folder / "vocabulary.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_missing_result, "no such file"),
        (break_torn_result, "cut off"),
        (break_foreign_result, "not one of ours"),
        (break_pruned, "pruned"),
        (break_final_fit, "was fitted on the recordings that"),
        (break_torn_trial, "cut off"),
        (break_no_weights, "weights are kept for a study's best runs only"),
        (break_decoding, "trained no network"),
        (break_torn_predictions, "cut off"),
        (break_vocabulary, "not one of ours"),
    ],
)
def test_a_broken_run_is_left_out_by_name(
    make_runs: MakeRuns, results: Path, damage: Callable[[Path], None], reason: str
) -> None:
    folders = make_runs(4)
    damage(folders[3])
    built = build(results, Options(k=3, rule="uniform"), created="now")
    assert names(built.bundle) == ["loss/2", "loss/1", "loss/0"]
    (line,) = built.skipped.lines()
    assert line.startswith("loss/3: ") and reason in line


def test_unfinished_and_foreign_folders_are_left_out_by_name(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2)
    (results / "runs" / "loss" / "7.partial-123").mkdir()
    (results / "runs" / "loss" / "notes").mkdir()
    _, skipped = find(results)
    assert skipped.to_json() == {
        "not a run folder (expected a number)": ["loss/notes"],
        "unfinished": ["loss/7.partial-123"],
    }


def test_when_every_run_is_broken_the_error_says_how(make_runs: MakeRuns, results: Path) -> None:
    for folder in make_runs(2):
        break_no_weights(folder)
    with pytest.raises(InputError, match=r"loss/0, loss/1: no model\.safetensors"):
        find(results)


@pytest.mark.parametrize("key", ["data_hash", "track"])
def test_runs_of_different_data_are_an_error_that_names_both(
    make_runs: MakeRuns, results: Path, key: str
) -> None:
    folders = make_runs(3)
    edit(folders[1] / "result.json", **{key: "x" * 64})
    with pytest.raises(InputError, match=rf"loss/0 has {key} .*loss/1 has xxxxxxxxxxxx;"):
        build_here(results)


def test_runs_of_different_splits_are_an_error_that_names_both(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2)
    make_runs(1, first=2, split_seed=7)
    with pytest.raises(InputError, match=r"loss/2 has split_seed 7, loss/1 has 42"):
        build_here(results)


def test_targets_that_differ_without_a_reason_are_an_error_that_names_both(
    make_runs: MakeRuns, results: Path
) -> None:
    make_runs(2)
    make_runs(1, first=2, data_seed=9)
    with pytest.raises(InputError, match=r"loss/2 and loss/1 .* differ"):
        build_here(results)


def test_a_run_with_another_vocabulary_is_refused_with_the_reason(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2)
    make_runs(1, study="coarse", digits=2, objective=0.99)
    built = build(results, Options(k=3, rule="uniform"), created="now")
    assert names(built.bundle) == ["loss/1", "loss/0"]
    (line,) = built.skipped.lines()
    assert line.startswith("coarse/0: its vocabulary (2 digits") and "finer values" in line


def test_a_run_with_other_windows_is_refused_with_the_reason(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2)
    make_runs(1, first=2, window=32, data_seed=1)
    built = build(results, Options(k=3, rule="uniform"), created="now")
    assert built.skipped.lines() == [
        "loss/2: its windows (32 rows, stride 16) are not those of most (64 rows, stride 16): "
        "their targets are other lines"
    ]


def test_near_duplicates_are_dropped_in_favour_of_the_better(make_runs: MakeRuns, results: Path) -> None:
    make_runs(2)
    shutil.copytree(results / "runs" / "loss" / "1", results / "runs" / "loss" / "9")
    built = build(results, Options(k=3, rule="uniform"), created="now")
    assert names(built.bundle) == ["loss/1", "loss/0"]
    assert built.skipped.lines() == ["loss/9: nearly the predictions of loss/1 (r = 1.0000)"]
    assert len(build_here(results, rule="uniform", max_correlation=1.1).members) == 3


# -- the bundle


def test_one_member_is_the_best_run(make_runs: MakeRuns, results: Path) -> None:
    make_runs(3)
    bundle = build_here(results, k=1)
    assert names(bundle) == ["loss/2"]
    assert set(bundle.weights.values()) == {(1.0,)}
    pooled = np.load(part_file(find_bundle(results), "calibrate"))
    run = np.load(part_file(results / "runs/loss/2", "calibrate"))
    assert (pooled["type"].argmax(axis=1) == run["type"].argmax(axis=1)).all()
    assert (pooled["gold"] == run["gold"]).all()


def test_members_without_weight_are_not_copied(make_runs: MakeRuns, results: Path) -> None:
    make_runs(1, skill=7.0)
    make_runs(2, first=1, skill=0.1)
    bundle = build_here(results, rule="learned")
    assert len(list((find_bundle(results) / "members").iterdir())) == len(bundle.members) < 3


def test_a_bundle_holds_everything_and_names_no_folder_outside(make_runs: MakeRuns, results: Path) -> None:
    make_runs(3)
    build_here(results, name="mine")
    folder = results / "ensembles" / "mine"
    for member in Bundle.load(folder).members:
        for name in ("config.json", "model.safetensors", "vocabulary.json", "scaler.json"):
            assert (folder / member.path / name).is_file()
    assert (folder / "vocabulary.json").is_file() and (folder / "scaler.json").is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_building_again_replaces_the_bundle(make_runs: MakeRuns, results: Path) -> None:
    make_runs(3)
    build_here(results, name="mine")
    assert len(build_here(results, name="mine", k=2, rule="uniform").members) == 2


def test_a_build_that_fails_leaves_the_old_bundle(
    make_runs: MakeRuns, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(3)
    build_here(results, name="mine")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ensemble.build.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space"):
        build_here(results, name="mine", k=1)
    assert len(Bundle.load(results / "ensembles" / "mine").members) == 3
    assert [path.name for path in (results / "ensembles").iterdir()] == ["mine"]


def without_reports(bundle: Bundle) -> dict[str, Any]:
    content = bundle.to_json()
    report = content.pop("report")
    return {**content, "contributions": report["contributions"]}


def test_test_predictions_and_metrics_choose_nothing(make_runs: MakeRuns, results: Path) -> None:
    folders = make_runs(5)
    seen = build_here(results, name="mine")
    for folder in folders:
        part_file(folder, "test").unlink()
        edit(folder / "result.json", test_metrics={"test/exact_acc": 1.0 / (1 + int(folder.name))})
    blind = build_here(results, name="mine")
    assert without_reports(blind) == without_reports(seen)
    assert "test" in seen.report["pooled"] and "test" not in blind.report["pooled"]


def test_optimism_is_select_minus_test(make_runs: MakeRuns, results: Path) -> None:
    make_runs(3)
    report = build_here(results).report
    pooled = report["pooled"]
    assert report["optimism"]["pooled_exact"] == pooled["select"]["exact"] - pooled["test"]["exact"]
    assert report["optimism"]["members"] == pytest.approx([0.02] * len(report["contributions"]))


def test_pooled_scores_agree_with_the_cross_validated_tables(
    make_runs: MakeRuns, results: Path, synthetic: ModuleType
) -> None:
    make_runs(3)
    bundle = build_here(results, rule="uniform")
    uniform = next(s for s in bundle.chosen_by["weights"]["candidates"] if s["method"] == "uniform")
    scores = bundle.report["pooled"]["calibrate"]
    assert scores["exact"] == pytest.approx(uniform["exact"]["mean"])
    assert scores["nll"] == pytest.approx(uniform["nll"]["mean"], rel=1e-2)  # stored in float16
