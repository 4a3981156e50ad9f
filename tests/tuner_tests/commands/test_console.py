"""What a person reads on the console: the nearest name of a misspelt word, an error once, what to do next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tuner.__main__ import main
from tuner.definition.study_file import StudyFile
from tuner.run.launch import Result
from tuner.show import status

pytestmark = pytest.mark.usefixtures("agents_in_this_process")
MakeStudy = Callable[..., StudyFile]


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command line that argparse refuses."""
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.strip()


@pytest.mark.hostile("command lines")
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["stduy"], "tuner: no command 'stduy'; did you mean 'study'? (help: tuner -h)"),
        (
            ["study", "a.yaml", "--trails", "3"],
            "tuner study: no option --trails; did you mean '--trials'? (help: tuner study -h)",
        ),
        (
            ["study", "a.yaml", "--executor=dsak"],
            "tuner study: --executor: expected local, dask or ray, got 'dsak'; did you mean 'dask'? "
            "(help: tuner study -h)",
        ),
        (
            ["study", "a.yaml", "--agents", "x"],
            "tuner study: --agents: expected a whole number from 1, got 'x' (help: tuner study -h)",
        ),
        (["study"], "tuner study: expected NAME|FILE.yaml|all|hypotheses (help: tuner study -h)"),
        (
            ["serve", "--port", "70000"],
            "tuner serve: --port: expected a port from 1 to 65535, got '70000' (help: tuner serve -h)",
        ),
        (["list", "all"], "tuner list: 'all' is one word too many (help: tuner list -h)"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_nearest_name(
    words: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(words, capsys) == f"error: {error}"


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: tuner") and "examples:" in error


@pytest.mark.hostile("command lines")
def test_a_misspelt_file_gets_the_nearest_one_and_is_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep.yaml").write_text("")
    (tmp_path / "train.py").write_text("")
    assert main(["study", str(tmp_path / "sweeep.yaml")]) == 2
    expected = f"error: {tmp_path}/sweeep.yaml: no such file; did you mean 'sweep.yaml'?\n"
    assert capsys.readouterr().err == expected
    assert main(["study", str(tmp_path / "train.py")]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("train.py") == 1 and "a script that calls wandb.sweep itself is for: tuner run" in error
    )


@pytest.mark.hostile("command lines")
def test_an_error_of_the_system_names_its_path_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "x"))

    monkeypatch.setattr("tuner.show.status.listed", refuse)
    assert main(["list"]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/x: Permission denied\n"


def test_a_study_ends_with_what_to_do_next(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, results = str(make_study().path), str(tmp_path / "results of mine")
    assert main(["study", path, "--wandb", "off", "--trials", "3", "--results", results]) == 0
    found = capsys.readouterr()
    assert found.out.startswith("small: 3 trials finished\n")
    lines = found.out[found.out.index("Next:") :].splitlines()
    commands = [line.split("  ")[1] for line in lines[1:]]
    asked = ("verdict small", "report small", "export small", "dashboard")
    assert commands == [f"tuner {verb} --results '{results}'" for verb in asked]
    assert "3/3 trials" in found.err and " wall " in found.err and ", training " in found.err


@pytest.mark.parametrize("more", [[], ["--fresh"]])
def test_after_ctrl_c_the_same_command_continues(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], more: list[str],
) -> None:  # fmt: skip
    stopped = Result("stopped by you", True, True, 2, 6)
    monkeypatch.setattr("tuner.run.launch.launch", lambda *_: stopped)
    path = str(make_study().path)
    assert main(["study", path, "--wandb", "off", "--results", str(tmp_path / "r"), *more]) == 130
    without = " without --fresh" if more else ""
    assert capsys.readouterr().err.splitlines()[-1] == f"to continue: the same command{without}"


def test_one_failure_is_printed_once(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fail.py").write_text("def train(config):\n    raise ValueError('no such column')\n")
    study = (
        "name: bad\nmethod: random\nrun_cap: 9\nmetric: {name: loss}\nparameters: {x: {min: 0.0, max: 1.0}}\n"
        "tuner: {objective: 'fail.py:train'}\n"
    )
    (tmp_path / "bad.yaml").write_text(study)
    results = str(tmp_path / "results")
    assert main(["study", str(tmp_path / "bad.yaml"), "--wandb", "off", "--results", results]) == 1
    found = capsys.readouterr()
    assert (found.out + found.err).count("no such column") == 1
    assert found.err.splitlines()[-1] == (
        "error: bad: 3 trials in a row failed with the same error; repair the cause, then run the same "
        "command again"
    )
    assert "Ctrl-C" not in found.err


def test_the_list_of_a_narrow_terminal_is_readable(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, results = str(make_study().path), str(tmp_path / "results")
    assert main(["study", path, "--wandb", "off", "--trials", "2", "--results", results]) == 0
    capsys.readouterr()
    rows = status.listed(f"sqlite:///{results}/studies.db")
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(status.list_table(rows, width=80))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[0].split() == ["study", "state", "result,", "or", "question"]
    assert lines[1].startswith("small ") and " done " in lines[1] and "…" not in "".join(lines)
    assert "" in lines, "a blank line before the studies that were not begun"
    assert main(["list", "--results", results]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "not started, of the example that comes with the tuner: vocabulary_bucketing" in told
    assert "Find the vocabulary" not in told, "a stranger's folder"
    assert main(["list", "--json", "--results", results]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "small"
