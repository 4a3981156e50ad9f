"""The command line: help pages, errors in one line, and the answers of the commands that run no trial."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import Trial

from tuner import commands
from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.base.files import whole_file
from tuner.commands.options import seconds, settings
from tuner.definition.study_file import StudyFile
from tuner.storage import study_store
from tuner.storage.records import Records

MakeStudy = Callable[..., StudyFile]
ROOT = Path(__file__).resolve().parents[3]
NAMES = [module.__name__.rpartition(".")[2].rstrip("_") for module in commands.ALL]


@pytest.fixture
def small(records: Records, make_study: MakeStudy) -> StudyFile:
    """A study of three finished trials, x = 0.2, 0.8, 0.5."""
    study_file = make_study()
    study = study_store.open_study(records, study_file, study_store.Origin({}))
    for x in (0.2, 0.8, 0.5):
        records.enqueue(study._study_id, {"x": x, "y": "a"}, {})
        trial = Trial(study, records.claim(study._study_id, user_attrs={})._trial_id)
        study_file.space.suggest(trial)
        study.tell(trial, x)
    return study_file


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_help_page_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([name, "-h"])
    assert exit_.value.code == 0
    assert f"tuner {name}" in capsys.readouterr().out.split("example:")[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_help_page_fits_the_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([name, "-h"])
    page = capsys.readouterr().out.split("example:")[0]
    assert [line for line in page.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_can_complete_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "tuner" in script
    assert [name for name in NAMES if name not in script] == []


def test_bash_completes_what_is_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "mine.yaml").write_text("")
    script = (
        capsys.readouterr().out
        + """
    complete_words() {
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
      $(complete -p tuner | sed 's/.*-F \\([^ ]*\\).*/\\1/') tuner "${@: -1}"
      echo "${COMPREPLY[@]}"
    }
    complete_words tuner stu
    complete_words tuner study --tri
    complete_words tuner study mi
    """
    )
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    said = subprocess.check_output([bash, "-c", script], text=True, cwd=tmp_path)
    assert said.split() == ["study", "--trials", "mine.yaml"]


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("tuner ")


def test_status_and_best_answer_programs(
    small: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(tmp_path / "results")]
    assert main(["status", "--json", *results]) == 0
    (state,) = json.loads(capsys.readouterr().out)
    assert (state["name"], state["complete"], state["wanted"]) == ("small", 3, 6)
    assert state["best"] == {"number": 1, "score": 0.8}

    assert main(["best", "--top", "2", "--format", "json", *results]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["number"], first["score"], first["params"]) == (1, 0.8, {"x": 0.8, "y": "a"})
    assert second["number"] == 2

    assert main(["best", "small", *results]) == 0
    assert "0.8000" in capsys.readouterr().out
    assert main(["export", "small", *results]) == 0
    assert "x: 0.8" in capsys.readouterr().out


def test_a_dry_run_shows_space_cost_and_first_trials_and_makes_nothing(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(make_study().path)
    assert main(["study", path, "--dry-run", "--results", str(tmp_path / "other")]) == 0
    output = capsys.readouterr().out
    for part in ("small: bayes (tpe), 6 trials, maximize score", "trial 0: x=", "trial 2: x=", "cost:"):
        assert part in output
    assert not (tmp_path / "other").exists()


def test_list_names_the_shipped_studies_in_the_campaigns_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--json", "--results", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows][:2] == ["vocabulary_bucketing", "augmentation_optimization"]
    assert all(row["purpose"] and row["done"] is None for row in rows)


@pytest.mark.hostile("command lines")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["study", "los_weighting"], "did you mean 'loss_weighting'?"),
        (["study", "loss_weighting", "--set", "epochs"], "--set: expected KEY=VALUE, got 'epochs'"),
        (["status", "small"], "no studies yet"),
        (["list", "--storage", "sqlite:///:memory:"], "expected sqlite:///FILE"),
        (["best", "--storage", "mysql://me:secret@host/db"], "expected sqlite:///FILE"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert "secret" not in error


@pytest.mark.hostile("command lines")
@pytest.mark.parametrize("device", ["/dev/full", "/dev/stdout", "here"])
def test_a_device_is_not_replaced_by_a_file(device: str, tmp_path: Path) -> None:
    path = Path(device) if device != "here" else tmp_path / "here"
    if device == "here":
        path.symlink_to("/dev/full")
    before = path.lstat().st_ino, path.lstat().st_mode
    with pytest.raises(InputError, match="it is a device"), whole_file(path) as beside:
        beside.write_text("harm")
    assert (path.lstat().st_ino, path.lstat().st_mode) == before


@pytest.mark.hostile("command lines")
def test_a_command_in_a_folder_that_was_removed_is_one_line(tmp_path: Path) -> None:
    gone = f"mkdir gone; cd gone; rmdir ../gone; {sys.executable} -m tuner list"
    places = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", gone], cwd=tmp_path, env=places, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.startswith("error: the current folder is not there")
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "studies.db").write_text("not a database, just words that are longer than a header" * 9)
    assert main(["status", "--results", str(tmp_path)]) == 1
    assert "that file is not an SQLite database" in capsys.readouterr().err


def test_settings_and_durations_are_read_as_people_write_them() -> None:
    assert settings(["a=1", "b=1e-3", "c=true", "d=word", "e=[1, 2]", "f=None"]) == {
        "a": 1,
        "b": 1e-3,
        "c": True,
        "d": "word",
        "e": [1, 2],
        "f": None,
    }
    assert [seconds(text) for text in ("90", "90s", "2h", "1h30m", "2m30s")] == [90, 90, 7200, 5400, 150]


def test_doctor_looks_at_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--results", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    for part in ("python", "data", "results", "storage", "torch", "W&B"):
        assert part in output


def test_a_study_of_other_code_is_listed_with_its_counts(
    records: Records, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = optuna.create_study(study_name="theirs", storage=records)
    study.tell(study.ask(), 1.0)
    assert main(["status", "--results", str(tmp_path / "results")]) == 0
    assert "theirs" in capsys.readouterr().out


def test_a_changed_study_says_what_becomes_of_its_trials(
    small: StudyFile, make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(tmp_path / "results")]
    path = str(make_study(**{"max: 1.0": "max: 0.6", "run_cap: 6": "run_cap: 2"}).path)
    line = "x: now 0 to 0.6 (was 0 to 1); 2 of 3 old trials fit and are kept for the search, 1 is shown only"
    assert main(["study", path, "--dry-run", *results]) == 0
    assert f"changed: {line}" in capsys.readouterr().out
    assert main(["study", path, "--wandb", "off", *results]) == 0
    said = capsys.readouterr()
    assert f"{line}\nrun_cap: now 2 (was 6)\nstudy small is done: 2 trials finished" in said.err
    assert main(["status", "small", "--json", *results]) == 0
    (state,) = json.loads(capsys.readouterr().out)
    assert (state["finished"], state["shown_only"], state["wanted"]) == (2, 1, 2)
    assert state["best"] == {"number": 2, "score": 0.5}
    assert main(["best", "small", *results]) == 0
    assert "trial 1 (score 0.8000) is shown only: x was 0.8" in capsys.readouterr().out
    assert main(["report", "small", *results]) == 0
    said = capsys.readouterr()
    assert "2 of 2 trials finished: 2 complete, 0 pruned; 1 only shown, because they do not fit" in said.out
