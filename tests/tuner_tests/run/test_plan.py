"""A request becomes a plan: names are checked before anything is stored, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run import plan
from tuner.run.request import Request

MakeStudy = Callable[..., StudyFile]


def planned(file: StudyFile, tmp_path: Path, **options: object) -> plan.Plan:
    results = tmp_path / "results"
    request = Request(file, f"sqlite:///{results}/studies.db", results, **options)  # type: ignore[arg-type]
    return plan.make(request, lambda line: None)


def test_a_value_that_the_model_lacks_is_named_with_the_usual_name(tmp_path: Path, tiny_recordings) -> None:  # type: ignore[no-untyped-def]
    file = load_study_file("vocabulary_bucketing")
    data = tiny_recordings.folder
    with pytest.raises(InputError, match="--set lr: no option of the model; did you mean 'learning_rate'"):
        planned(file, tmp_path, data=data, overrides={"lr": 1})
    with pytest.raises(InputError, match="--set dropout=7: expected 0 to"):
        planned(file, tmp_path, data=data, overrides={"dropout": 7})
    assert not (tmp_path / "results").exists()


def test_a_requirement_of_a_name_that_nothing_has_is_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    file = make_study(**{"max_epochs: 4": 'max_epochs: 4\n  requires: ["xx > 1"]'})
    with pytest.raises(InputError, match=r"'tuner\.requires': no configuration has 'xx'; did you mean 'x'"):
        planned(file, tmp_path)
    assert not (tmp_path / "results").exists()
    assert planned(file, tmp_path, overrides={"xx": 2}).overrides == {"xx": 2}


def test_a_plan_changes_nothing(make_study: MakeStudy, tmp_path: Path) -> None:
    made = planned(make_study(), tmp_path)
    assert (made.length, made.begun, made.default) == (4, False, None)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("again", [False, True])
def test_a_study_whose_every_trial_failed_is_no_success(
    make_study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    again: bool,
) -> None:
    make_study(
        "name: small\nmethod: grid\nmetric: {name: score, goal: maximize}\nparameters:\n"
        "  x: {values: [1, 2]}\n  mode: {value: error}\ntuner: {objective: 'objective.py:train'}\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["study", "small.yaml", "--agents", "1", "--wandb", "off"]
    for _ in range(1 + again):
        assert main(command) == 1
    told = capsys.readouterr().err.strip()
    assert told.count("failed: ValueError: no good: 1 ") == 1  # the other one differs in its number alone
    why = ": ValueError: no good: 2" if again else "; repair the cause, then run the same command again"
    assert told.count("ValueError: no good: 2") == again  # the second command has said nothing of it before
    assert told.endswith(f"error: small: all 2 trials failed{why}")


def test_a_function_whose_file_does_not_import_starts_no_agent(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study()
    (tmp_path / "objective.py").write_text("import os\nimport a_package_that_is_missing\n")
    monkeypatch.chdir(tmp_path)
    assert main(["study", "small.yaml", "--wandb", "off"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{tmp_path / 'objective.py'}:2: ModuleNotFoundError" in line
    assert line.endswith("install it: pip install a_package_that_is_missing")
    assert not (tmp_path / "results").exists()
