"""`tuner ensemble`: pages, exit statuses, one-line errors, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.__main__ import main

MakeRuns = Callable[..., list[Path]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, results: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `tuner ensemble …` in this process: (status, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ensemble", *arguments, "--results", str(results)])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("words", [["build"], ["show"], ["compare"], ["distill"], []])
def test_every_page_of_help_has_an_example(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ensemble", *words, "-h"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    page = capsys.readouterr().out
    assert "examples:" in page and "  tuner ensemble" in page


def test_build_then_show(command: Command, make_runs: MakeRuns) -> None:
    make_runs(3)
    status, out, _ = command("build", "--k", "2", "--name", "mine")
    assert status == 0 and "wrote" in out and "loss/2" in out
    status, out, _ = command("show")
    assert status == 0 and "learning_rate" in out and "optimism" in out


@pytest.mark.parametrize(
    ("runs", "k", "why"),
    [(1, "10", "only one run is usable"), (3, "1", "of 3 runs, one was taken (--k 10 takes up to ten)")],
)
def test_one_member_is_not_called_an_ensemble(
    command: Command, make_runs: MakeRuns, runs: int, k: str, why: str
) -> None:
    make_runs(runs)
    status, out, _ = command("build", "--k", k)
    assert status == 0
    assert f"this bundle is a single network, not an ensemble: {why}" in " ".join(out.split())
    assert "weights a head" not in out and "1 member," in out


def test_json_is_one_object(command: Command, make_runs: MakeRuns) -> None:
    make_runs(3)
    status, out, _ = command("build", "--k", "2", "--json")
    answer = json.loads(out)
    assert status == 0 and set(answer) == {"folder", "skipped", "bundle"}
    shown = json.loads(command("show", "--json")[1])
    assert shown["members"] == answer["bundle"]["members"]
    assert "learning_rate" in shown["differences"]


def test_compare_writes_figures_and_a_plot(command: Command, make_runs: MakeRuns, results: Path) -> None:
    make_runs(3)
    status, out, _ = command("compare", "--k", "1,2", "--json")
    assert status == 0 and [row["k"] for row in json.loads(out)["rows"]] == [1, 2, 2]
    assert json.loads((results / "ensembles/compare.json").read_text()) == json.loads(out)
    assert (results / "ensembles/compare.png").is_file()
    assert "exact lines" in command("compare", "--k", "1")[1]


def test_what_was_left_out_is_said(command: Command, make_runs: MakeRuns) -> None:
    folders = make_runs(3)
    (folders[0] / "model.safetensors").unlink()
    status, _, err = command("build", "--k", "5")
    assert status == 0
    assert "left out: loss/0: no model.safetensors" in err
    assert "asked for 5 members, 2 runs are usable" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build"], "no runs yet"),
        (["build", "--k", "0"], "expected at least 1 member"),
        (["build", "--study", "nothing"], "no runs of a study 'nothing'"),
        (["build", "--name", "a/b"], "plain name"),
        (["show"], "no bundle yet"),
        (["show", "absent"], "no bundle 'absent'"),
        (["distill"], "no bundle yet"),
        (["compare", "--k", "1,x"], "expected numbers such as 1,5,10"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(
    command: Command, arguments: list[str], message: str
) -> None:
    status, out, err = command(*arguments)
    assert status == 2 and out == ""
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
