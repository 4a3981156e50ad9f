"""What the engine does for its own network it does for anybody's function and script."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from tuner.__main__ import main
from tuner.artifacts import gc
from tuner.definition.loading import load_study_file
from tuner.run import launch, plan
from tuner.run.request import Request
from tuner.show.live import PlainView
from tuner.storage.access import default_url, open_records
from tuner.storage.attributes import CONFIRMED
from tuner.storage.study import load_study

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("agents_in_this_process")]

FUNCTION = """
from pathlib import Path

Path("imported").touch()

def train(config, report, run_folder):
    Path("ran").touch()
    score = config["x"] + (config["kind"] == "a") / 10 + config.get("seed", 0) % 97 / 10000
    for epoch in range(3):
        report(epoch, {"score": score * (epoch + 1) / 3})
    (run_folder / "net.pt").write_bytes(b"weights")
    (run_folder / "notes.txt").write_text("small")
    return {"score": score}

train.defaults = {"x": 0.5, "kind": "b"}
"""
SCRIPT = """
import argparse, json, os
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, default=0.5)
parser.add_argument("--kind", default="b")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
Path("ran").touch()
score = args.x + (args.kind == "a") / 10 + args.seed % 97 / 10000
for epoch in range(3):
    print(json.dumps({"score": score * (epoch + 1) / 3}))
folder = Path(os.environ["TUNER_RUN_FOLDER"])
(folder / "net.pt").write_bytes(b"weights")
(folder / "notes.txt").write_text("small")
"""
SEEDLESS = SCRIPT.replace('parser.add_argument("--seed", type=int, default=0)\n', "").replace(
    " + args.seed % 97 / 10000", ""
)
SPACE: dict[str, Any] = {
    "metric": {"name": "score", "goal": "maximize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}, "kind": {"values": ["a", "b"]}},
}
HYPOTHESES = {
    "method": "grid",
    "metric": SPACE["metric"],
    "parameters": {"x": {"values": [0.2, 0.4]}, "kind": {"values": ["a", "b"]}},
}
CLAIMS = {
    "points": [{"x": 0.2, "kind": "a"}, {"x": 0.4, "kind": "b"}],  # no pair that differs in `kind` alone
    "hypotheses": [{"claim": "a beats b", "where": "kind == 'a'", "against": "kind == 'b'"}],
}
SHORT = ("--agents", "1", "--wandb", "off")
Study = Callable[..., Path]


@pytest.fixture(params=["function", "script"])
def study(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """`study(trials=2, name="mine", top={}, **own)`: a study file; `own` are its keys under `tuner:`."""
    monkeypatch.chdir(tmp_path)
    return _study(tmp_path, request.param)


def _study(folder: Path, kind: str, script: str = SCRIPT) -> Study:
    (folder / "train.py").write_text(FUNCTION)
    (folder / "main.py").write_text(script)

    def make(trials: int = 2, *, name: str = "mine", top: dict[str, Any] | None = None, **own: Any) -> Path:
        what = {"program": "main.py"} if kind == "script" else {}
        objective = {} if kind == "script" else {"objective": "train.py:train"}
        usual = {"method": "random", "run_cap": trials, **SPACE} if top is None else top
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps({**usual, **what, "tuner": {"max_epochs": 3, **objective, **own}}))
        return path

    return make


def trials(name: str = "mine") -> list[optuna.trial.FrozenTrial]:
    return load_study(open_records(default_url(Path("results"))), name).get_trials()


def test_the_first_trial_is_what_a_plain_run_does(study: Study) -> None:
    assert main(["study", str(study()), *SHORT]) == 0
    first, second = trials()
    assert first.params == {"x": 0.5, "kind": "b"}
    assert second.params != first.params
    assert [trial.value is not None for trial in (first, second)] == [True, True]


def test_who_has_no_key_is_told_so_only_where_the_program_uses_wandb(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "nowhere")
    assert main(["study", str(study(1)), "--agents", "1"]) == 0
    assert "W&B" not in capsys.readouterr().err
    for program in ("train.py", "main.py"):
        Path(program).write_text(Path(program).read_text() + "# like wandb\n")
    assert main(["study", str(study(1, name="again")), "--agents", "1"]) == 0
    assert "no key for" in capsys.readouterr().err


def test_where_no_metric_is_named_none_is_shown_and_nothing_is_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.py").write_text("print('done')")
    sweep = {"program": "main.py", "method": "grid", "parameters": {"x": {"values": [1, 2]}}}
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
    for command in (
        ["study", "sweep.yaml", *SHORT],
        ["best", "sweep"],
        ["status"],
        ["list"],
        ["verdict", "sweep"],
    ):
        main(command)
        shown = " ".join("".join(capsys.readouterr()).split())
        assert not re.findall(r"\bloss\b|0\.0000|▁", shown)
        if command[0] in ("study", "best"):
            assert "no trial is better than another" in shown
    assert [trial.state.name for trial in trials("sweep")] == ["COMPLETE", "COMPLETE"]


def test_a_dry_run_runs_nothing_of_the_users_but_the_import(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(study()), "--dry-run", "--wandb", "off"]) == 0
    said = capsys.readouterr().out
    assert "trial 0: kind=b, x=0.5" in said or "trial 0: x=0.5, kind=b" in said, said
    assert "not measured; --probe" in said
    assert not Path("ran").exists() and not Path("results").exists()


def test_a_probe_runs_the_first_epochs_and_keeps_nothing(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(study()), "--dry-run", "--probe", *SHORT]) == 0
    said = capsys.readouterr().out
    assert "cost: " in said and "an epoch (measured now" in said
    assert Path("ran").exists() and not Path("results").exists()


def test_the_best_is_retrained_on_other_seeds(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(study(seed="seed")), *SHORT]) == 0
    capsys.readouterr()
    assert main(["verify", "mine", "--top", "2", "--seeds", "2", "--json", *SHORT]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(candidate["again"]) for candidate in found["candidates"]] == [2, 2]
    for candidate in found["candidates"]:  # the seed reached the function, and the script
        assert len({candidate["score"], *candidate["again"]}) == 3


def test_a_campaign_confirms_the_winner_that_the_next_study_starts_from(study: Study) -> None:
    study(name="first", seed="seed")
    study(1, name="second", seed="seed", base={"winner of": "first"})
    Path("steps.yaml").write_text("steps: [{study: first.yaml}, {study: second.yaml}]")
    assert main(["study", "steps.yaml", *SHORT]) == 0
    confirmed = load_study(open_records(default_url(Path("results"))), "first").user_attrs[CONFIRMED]
    assert len(confirmed["candidates"]) == 2
    assert all(len(candidate["again"]) >= 2 for candidate in confirmed["candidates"])
    (only,) = trials("second")
    winner = trials("first")[confirmed["number"]]
    assert only.params == winner.params


@pytest.mark.parametrize("script", [SCRIPT, SEEDLESS], ids=["seed", "no seed"])
@pytest.mark.parametrize("kind", ["function", "script"])
def test_a_claim_is_decided_by_pairs(
    kind: str,
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind == "function" and script is SEEDLESS:
        pytest.skip("a function is given its seed in the configuration")
    monkeypatch.chdir(tmp_path)
    seed = {"seed": "seed"} if script is SCRIPT else {}
    file = _study(tmp_path, kind, script)(top=HYPOTHESES, **CLAIMS, **seed)
    assert main(["study", str(file), *SHORT]) == 0
    assert main(["study", "hypotheses", *SHORT]) == 0
    capsys.readouterr()
    assert main(["report", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "as claimed", found
    assert "pairs" in found["basis"]


def test_the_report_is_about_the_study_and_nothing_else(study: Study) -> None:
    assert main(["study", str(study(5)), *SHORT]) == 0
    assert main(["report", "--output", "report.html"]) == 0
    page = Path("report.html").read_text(encoding="utf-8")
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert "mine" in body
    ours = re.compile(r"g-?code|cnc|\bmill\b|recording|ensemble|bundle|calibrat|decod|data set|network", re.I)
    assert ours.findall(body) == []
    assert 'id="data"' not in body


def test_only_the_best_keep_their_weights(study: Study) -> None:
    file, results = load_study_file(study(4)), Path("results")
    request = Request(file, default_url(results), results, agents=1, wandb="off", keep_weights=1)
    assert launch.run(request, PlainView(Console(quiet=True))).fine
    best = max(trials(), key=lambda trial: trial.value or 0).number
    folders = {number: results / "runs" / "mine" / str(number) for number in range(4)}
    assert [number for number, folder in folders.items() if (folder / "net.pt").exists()] == [best]
    assert all((folder / "notes.txt").exists() for folder in folders.values())


def test_gc_removes_the_files_that_the_study_calls_weights(study: Study) -> None:
    results = Path("results")
    assert main(["study", str(study(3, weights=["notes.*"])), *SHORT]) == 0
    found = gc.find(open_records(default_url(results)), results, keep=1)
    assert {item.path.name for item in found.items if item.path} == {"notes.txt"}
    assert len(found.items) == 2 and gc.remove(found) == []
    assert len(list(results.rglob("notes.txt"))) == 1 and len(list(results.rglob("net.pt"))) == 3


def test_cores_of_a_trial_decide_how_many_agents_there_are(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    results = Path("results")
    for own, agents in (({}, 8), ({"resources": {"cpus": 2}}, 4), ({"resources": {"cpus": 16}}, 1)):
        request = Request(load_study_file(study(100, **own)), default_url(results), results, wandb="off")
        assert plan.make(request, lambda line: None).agents(100) == agents
