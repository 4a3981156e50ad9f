"""A run that was made before is reported again and shared, not trained again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from model.recordings import Recordings
from model.run_files import PREDICTIONS, WEIGHTS
from model.workload import Training, training
from model.workload.reuse import Runs
from tuner.base.endings import Paused, Pruned
from tuner.base.files import read_json
from tuner.base.run_folder import CONFIG, METRICS, RESULT
from tuner.definition.loading import load_study_file
from tuner.workloads.registry import workload_of

CONFIGURATION = {"d_model": 8, "heads": 2, "window": 16, "epochs": 3, "device": "cpu"}
Epochs = dict[int, dict[str, float]]
RunIt = Callable[..., tuple[Path, Epochs, Mapping[str, float]]]


@pytest.fixture
def training_of(tmp_path: Path) -> Callable[[str], Training]:
    """The workload of a study of this name."""

    def made(name: str) -> Training:
        path = tmp_path / f"{name}.yaml"
        path.write_text("method: random\nmetric: {name: loss}\nparameters: {seed: {values: [0]}}\n")
        workload = workload_of(load_study_file(path))
        assert isinstance(workload, Training) and workload.file.name == name
        return workload

    return made


@pytest.fixture
def run(
    tmp_path: Path,
    tiny_recordings: Recordings,
    monkeypatch: pytest.MonkeyPatch,
    training_of: Callable[[str], Training],
) -> RunIt:
    """Runs a configuration as trial `place` ("study/number"); `ends` is raised after epoch `end_at`."""
    of_study = training_of("sweep")
    monkeypatch.setattr(training, "RUNS", Runs())

    def one(
        place: str,
        *,
        end_at: int | None = None,
        ends: Exception | None = None,
        due: Collection[int] = (),
        workload: Training = of_study,
        **changes: Any,
    ) -> tuple[Path, Epochs, Mapping[str, float]]:
        epochs: Epochs = {}

        def report(epoch: int, metrics: Mapping[str, float]) -> None:
            epochs[epoch] = dict(metrics)
            if epoch == end_at:
                raise ends or Pruned("too weak")

        report.due = lambda epoch: epoch in due  # type: ignore[attr-defined]
        folder = tmp_path / "results" / "runs" / place
        data = tiny_recordings.folder
        configuration = {**CONFIGURATION, **changes}
        metrics: Mapping[str, float] = {}
        checkpoint = tmp_path / "checkpoints" / place / "files"
        checkpoint.mkdir(parents=True, exist_ok=True)
        try:
            metrics = workload.run(
                configuration, report, run_folder=folder, inputs=data, checkpoint=checkpoint
            )
        except (Pruned, Paused):
            assert end_at is not None
        return folder, epochs, metrics

    return one


def result_of(folder: Path) -> dict[str, Any]:
    return read_json(folder / RESULT)


def test_an_equal_run_of_another_study_is_reported_again_and_says_so(run: RunIt) -> None:
    first, epochs, metrics = run("architecture/15")
    second, again, found = run("loss/0")
    assert (again, found) == (epochs, metrics) and len(epochs) == 3
    assert result_of(second)["notes"] == ["reused: runs/architecture/15"]
    for name in (CONFIG, METRICS, WEIGHTS, f"{PREDICTIONS}/test.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    same = {"seconds", "notes", "reused"}
    one, two = result_of(first), result_of(second)
    assert {k: v for k, v in one.items() if k not in same} == {k: v for k, v in two.items() if k not in same}


def test_a_reused_run_can_be_pruned_and_is_then_as_a_pruned_one(run: RunIt) -> None:
    run("architecture/15")
    pruned, epochs, _ = run("loss/0", end_at=1)
    assert sorted(epochs) == [0, 1]
    best = max(epochs.values(), key=lambda metrics: metrics["val/overall_acc"])
    result = result_of(pruned)
    assert result["state"] == "pruned" and result["reused"] == "runs/architecture/15"
    assert result["metrics"] == {name: value for name, value in best.items() if name.startswith("val/")}
    assert {path.name for path in pruned.iterdir()} == {CONFIG, METRICS, RESULT}


def test_a_reused_run_that_is_paused_goes_on_with_its_next_epoch(run: RunIt) -> None:
    first, _, metrics = run("architecture/15")
    second, before, _ = run("loss/0", end_at=0, ends=Paused(1))
    assert (sorted(before), result_of(second)["state"]) == ([0], "paused")
    second, after, found = run("loss/0")
    assert (sorted(after), found) == ([1, 2], metrics)
    assert (first / METRICS).read_bytes() == (second / METRICS).read_bytes()


@pytest.mark.parametrize("difference", ["seed", "no weights", "pruned", "code"])
def test_anything_else_is_trained(run: RunIt, difference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, _ = run("architecture/15", end_at=1 if difference == "pruned" else None)
    changes = {"seed": 1} if difference == "seed" else {}
    if difference == "no weights":
        (first / WEIGHTS).unlink()
    if difference == "code":
        monkeypatch.setattr("model.identity._code", lambda: "changed")
    second, epochs, _ = run("loss/0", **changes)
    assert "reused" not in result_of(second) and len(epochs) == 3


def test_a_retraining_needs_no_weights_of_the_run_that_it_repeats(
    run: RunIt, training_of: Callable[[str], Training]
) -> None:
    first, epochs, metrics = run("architecture/15")
    (first / WEIGHTS).unlink()
    again, told, found = run("loss.confirm/0", workload=training_of("loss.confirm"))
    assert (told, found) == (epochs, metrics) and result_of(again)["reused"] == "runs/architecture/15"
    assert not (again / WEIGHTS).exists() and (again / PREDICTIONS / "select.npz").exists()
    chain, told, _ = run("members.confirm/0", workload=training_of("members.confirm"))
    assert told == epochs and result_of(chain)["reused"] == "runs/architecture/15"
    pruned, _, _ = run("warmup.confirm/0", workload=training_of("warmup.confirm"), end_at=1)
    assert {path.name for path in pruned.iterdir()} == {CONFIG, METRICS, RESULT}
    study, trained, _ = run("loss/0")  # its own trials may win, so they need theirs
    assert "reused" not in result_of(study) and (study / WEIGHTS).exists() and trained.keys() == epochs.keys()


@pytest.mark.slow
def test_a_run_is_reused_if_it_was_evaluated_whenever_that_is_due_now(run: RunIt) -> None:
    sparse = {"evaluate": "due"}
    _, epochs, metrics = run("architecture/15", due=[1], **sparse)
    assert ["val/overall_acc" in epochs[epoch] for epoch in range(3)] == [False, True, True]
    second, again, found = run("loss/0", **sparse)  # by a study that compares only at the end
    assert (again, found) == (epochs, metrics) and "reused" in result_of(second)
    pruned, _, _ = run("loss/1", due=[1], end_at=1, **sparse)
    assert result_of(pruned)["metrics"]["val/overall_acc"] == epochs[1]["val/overall_acc"]
    third, again, found = run("loss/2", due=[0], **sparse)
    assert "reused" not in result_of(third) and "val/overall_acc" in again[0] and found == metrics


def test_a_run_whose_weights_vanish_in_between_is_trained(
    run: RunIt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, _ = run("architecture/15")
    (first / WEIGHTS).unlink()
    monkeypatch.setattr("model.workload.reuse._whole", lambda folder, identity, weights: True)
    second, epochs, _ = run("loss/0")
    assert "reused" not in result_of(second) and (second / WEIGHTS).exists() and len(epochs) == 3


def test_damaged_results_of_other_runs_do_no_harm(run: RunIt, tmp_path: Path) -> None:
    for number, text in enumerate(("{", "[1]", json.dumps({"identity": 3}))):
        folder = tmp_path / "results" / "runs" / "other" / str(number)
        folder.mkdir(parents=True)
        (folder / RESULT).write_text(text)
    run("architecture/15")
    second, _, _ = run("loss/0")
    assert result_of(second)["reused"] == "runs/architecture/15"
