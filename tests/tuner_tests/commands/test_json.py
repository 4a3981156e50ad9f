"""`--json`: one object or list on standard output and nothing else there; progress goes to standard error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.__main__ import main
from tuner.definition.study_file import StudyFile
from tuner.tracking import sync as syncing

ROOT = Path(__file__).resolve().parents[3]
MakeStudy = Callable[..., StudyFile]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study `small` of three trials, whose own answer is in `study.json`."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "objective.py").write_text("def train(config, report): return {'score': config['x']}\n")
    (folder / "small.yaml").write_text(
        "name: small\nmethod: random\nrun_cap: 3\nmetric: {name: score, goal: maximize}\n"
        "parameters: {x: {min: 0.0, max: 1.0}}\ntuner: {objective: 'objective.py:train', seed: seed}\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "tuner", "study", str(folder / "small.yaml"), "--agents", "1",
         "--wandb", "off", "--results", str(folder / "results"), "--json"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "3/3 trials" in ended.stderr
    (folder / "study.json").write_text(ended.stdout)
    return folder


def test_the_end_of_a_study(done: Path) -> None:
    end = json.loads((done / "study.json").read_text())
    assert (end["name"], end["complete"], end["wanted"], end["fine"]) == ("small", 3, 3, True)
    assert end["reason"] == "3 trials finished"
    scores = [rank["score"] for rank in end["best"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 3


def test_status_for_people_names_the_cost_of_one_study(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "small", "--results", str(done / "results")]) == 0
    said = capsys.readouterr().out
    assert "small" in said and "3/3" in said
    assert "\ncost: " in said


def test_the_plan_of_a_study(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (done / "plan.yaml").write_text((done / "small.yaml").read_text().replace("name: small", "name: plan"))
    places = ["--results", str(done / "results"), "--agents", "1", "--json"]
    main(["study", str(done / "plan.yaml"), "--dry-run", *places])
    plan = json.loads(capsys.readouterr().out)
    assert (plan["study"], plan["method"], plan["trials"], plan["agents"]) == ("plan", "random", 3, 1)
    assert plan["objectives"] == [{"name": "score", "goal": "maximize"}]
    assert [parameter["name"] for parameter in plan["parameters"]] == ["x"]
    assert len(plan["first"]) == 3 and all(0 <= config["x"] <= 1 for config in plan["first"])
    assert plan["cost"] is None, "nothing of the user's was run"

    main(["study", str(done / "plan.yaml"), "--dry-run", "--probe", *places])
    cost = json.loads(capsys.readouterr().out)["cost"]
    assert cost["longest"] == 1 and cost["seconds"] == pytest.approx(3 * cost["seconds_a_trial"])
    assert main(["study", "all", "--dry-run", *places]) == 2
    assert "expected one study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["list"], list),
        (["status"], list),
        (["best", "small"], list),
        (["export", "small"], dict),
        (["export", "{file}", "--wandb"], dict),
        (["report"], list),
        (["fetch"], dict),
        (["gc", "--dry-run"], dict),
        (["doctor"], list),
        (["sweep", "{file}"], dict),
        (["stop", "small"], dict),
        (["pause", "small"], dict),
        (["study", "{file}", "--wandb", "off"], dict),
        (["agent", "small", "--wandb", "off"], dict),
        (["study", "hypotheses"], list),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_standard_output_is_json(
    arguments: list[str], kind: type, done: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(file=done / "small.yaml") for word in arguments]
    status = main([*words, "--json", "--results", str(done / "results")])
    answer: Any = json.loads(capfd.readouterr().out)
    assert isinstance(answer, kind)
    assert status == 0 or words == ["doctor"]


def test_best_and_format_json_are_the_same(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for option in (["--json"], ["--format", "json"]):
        assert main(["best", "small", *option, "--results", str(done / "results")]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""


def test_the_verified_winner(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["verify", "small", "--top", "1", "--seeds", "1", "--agents", "1", "--wandb", "off"]
    words += ["--results", str(done / "results")]
    assert main([*words, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["candidates"]
    assert main(words) == 0
    next_command = capfd.readouterr().out.splitlines()[-1]
    assert next_command.startswith("  tuner verify small") and f"--results {done / 'results'}" in next_command


def test_what_was_uploaded(
    done: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = syncing.Synced(uploaded=2, rebuilt=1, before=0, failed=(), log=Path("sync.log"))
    monkeypatch.setattr(syncing, "sync", lambda *_, **__: found)
    assert main(["sync", "--json", "--results", str(done / "results")]) == 0
    assert json.loads(capfd.readouterr().out) == {
        "uploaded": 2, "rebuilt": 1, "before": 0, "failed": [], "log": "sync.log", "damaged": [],
    }  # fmt: skip


def test_a_campaign_answers_with_its_studies(done: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = done / "campaign.yaml"
    file.write_text(
        "steps:\n  - {study: small.yaml}\n  - {run: 'echo not json', why: a command, creates: never}\n"
    )
    words = ["study", str(file), "--wandb", "off", "--json", "--agents", "1", "--results"]
    main([*words, str(done / "results")])
    said = capfd.readouterr()
    assert [state["name"] for state in json.loads(said.out)] == ["small"]
    assert "not json" in said.err


def test_a_failed_study_answers_too(tmp_path: Path) -> None:
    (tmp_path / "objective.py").write_text("def train(config): raise ValueError('no good')\n")
    (tmp_path / "bad.yaml").write_text(
        "method: random\nrun_cap: 3\nmetric: {name: score}\nparameters: {x: {min: 0.0, max: 1.0}}\n"
        "tuner: {objective: 'objective.py:train'}\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "tuner", "study", str(tmp_path / "bad.yaml"), "--agents", "1",
         "--wandb", "off", "--results", str(tmp_path / "results"), "--json"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    end = json.loads(ended.stdout)
    assert (ended.returncode, end["fine"], end["best"]) == (1, False, [])
    assert "no good" in end["reason"]
