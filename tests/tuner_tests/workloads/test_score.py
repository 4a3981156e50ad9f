"""The score of a run: one rule for all kinds of work (`Metric.score`). A run that reports 1, 5, 2 has 2."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

import tuner
from tuner.__main__ import main
from tuner.base.run_folder import Report
from tuner.definition.loading import load_study_file
from tuner.definition.metric import Metric
from tuner.definition.study_file import StudyFile
from tuner.plugins.imports.bring import bring
from tuner.plugins.imports.rows import Row
from tuner.run import plan
from tuner.run.request import Request
from tuner.storage import study_store
from tuner.storage.records import Records
from tuner.storage.study import stored_file
from tuner.storage.study_store import ChangedStudy, Origin
from tuner.workloads.registry import workload_of

STUDY = """
name: scores
method: random
run_cap: 2
metric: {name: acc, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
"""
WANDB = "import wandb\nrun = wandb.init(mode='disabled')\n"
LOGS = "for acc in (1, 5, 2):\n    run.log({'acc': acc})\n"
FUNCTION = (
    "def train(config, report):\n    for epoch, acc in enumerate((1, 5, 2)):\n        report(epoch, acc)\n"
)
SCRIPTS = {
    "JSON lines": ("for acc in (1, 5, 2):\n    print('{\"acc\": %d}' % acc)\n", 2, 5),
    "NaN at the end": ("for acc in (1, 5, 2, 'NaN'):\n    print('{\"acc\": %s}' % acc)\n", 2, 5),
    "wandb.log": (WANDB + LOGS, 2, 5),
    "its summary": (WANDB + LOGS + "run.summary['acc'] = 4\n", 4, 5),
    "its summary, and a value after it": (WANDB + "run.summary['acc'] = 4\n" + LOGS, 2, 5),
    "a summary that it defines": (WANDB + "run.define_metric('acc', summary='last,max')\n" + LOGS, 5, 5),
    "the mean": (WANDB + "run.define_metric('*', summary='min,mean')\n" + LOGS, 8 / 3, 5),
    "the worst value of all": (WANDB + "run.define_metric('acc', summary='min')\n" + LOGS, 2, 5),
}  # fmt: skip
FUNCTIONS = {
    "report": (FUNCTION, 2, 5),
    "what it returns": (f"{FUNCTION}    return {{'acc': 3, 'size': 1}}\n", 3, 5),
    "a last report that is not finite": (f"{FUNCTION}    report(3, float('nan'))\n", 2, 5),
    "an objective of Optuna's": (
        "def train(trial):\n    for step, acc in enumerate((1, 5, 2)):\n        trial.report(acc, step)\n"
        "    return 2\n",
        2,
        5,
    ),
}
Make = Callable[..., StudyFile]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`make(code, objective="train.py:train", score="best")`: the study of a script or a function."""
    monkeypatch.chdir(tmp_path)

    def made(code: str, **own: Any) -> StudyFile:
        (tmp_path / "train.py").write_text(code)
        program = "" if "objective" in own else "program: train.py\n"
        (tmp_path / "scores.yaml").write_text(f"{STUDY}{program}tuner: {json.dumps(own)}\n")
        return load_study_file(tmp_path / "scores.yaml")

    return made


def run(file: StudyFile, *, report: Report = lambda *_: None, goes_on: bool = False) -> float:
    """The score of one run, which goes on from the one before or begins anew."""
    if not goes_on:
        shutil.rmtree("checkpoint", ignore_errors=True)
        Path("checkpoint/files").mkdir(parents=True)
    found = workload_of(file).run(
        {"x": 0.5},
        report,
        run_folder=Path("results/runs/scores/0").absolute(),
        inputs=None,
        checkpoint=Path("checkpoint/files").absolute(),
    )
    written = json.loads(Path("results/runs/scores/0/result.json").read_text())["metrics"]
    assert written == pytest.approx(found, nan_ok=True)
    return found["acc"]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "last", "best"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_script(make: Make, code: str, last: float, best: float) -> None:
    if code.startswith(WANDB):
        pytest.importorskip("wandb")
    assert run(make(code)) == run(make(code, score="last")) == last
    assert run(make(code, score="best")) == best


@pytest.mark.parametrize(("code", "last", "best"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function(make: Make, code: str, last: float, best: float) -> None:
    assert run(make(code, objective="train.py:train")) == last
    assert run(make(code, objective="train.py:train", score="best")) == best


@pytest.mark.parametrize(("score", "expected"), [("last", 2), ("best", 5)])
def test_a_function_that_goes_on_after_an_interruption(make: Make, score: str, expected: float) -> None:
    file = make(FUNCTION, objective="train.py:train", score=score)

    def interrupt(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(file, report=interrupt)
    file = make("def train(config, report):\n    report(2, 2)\n", objective="train.py:train", score=score)
    assert run(file, goes_on=True) == expected


@pytest.mark.parametrize(("score", "expected"), [("last", 2), ("best", 5)])
def test_each_run_of_several_seeds_trials_that_are_asked_for_and_imported_runs(
    make: Make, records: Records, origin: Origin, tmp_path: Path, score: str, expected: float
) -> None:
    found = tuner.study(
        lambda config, report: [report(epoch, acc) for epoch, acc in enumerate((1, 5, 2))] and None,
        {"x": (0.0, 1.0)},
        name="seeds",
        metric="acc",
        goal="maximize",
        trials=1,
        agents=1,
        quiet=True,
        options={"score": score, "seeds": 2},
        results=tmp_path / "results",
    )
    assert found.best.value == expected

    asked = {"metric": "acc", "goal": "maximize", "trials": 1, "options": {"score": score}}
    trial = tuner.ask("asked", {"x": (0.0, 1.0)}, results=tmp_path / "results", **asked)
    assert trial is not None
    for epoch, acc in enumerate((1, 5, 2)):
        trial.report(epoch, {"acc": acc})
    trial.tell()
    assert tuner.results("asked", results=tmp_path / "results")[0].summary["acc"] == expected

    study = study_store.open_study(records, make("", score=score), origin)
    history = [{"acc": 1}, {"acc": 5}, {"acc": 2}]
    rows = [
        Row("logged", {"x": 0.5}, {"acc": 2}, history),
        Row("table", {"x": 0.6}, {"acc": 2, "acc.max": 5}),
    ]
    bring(records, study, rows, mapped={})
    assert [trial.value for trial in study.get_trials()] == [expected, 5], "the script defined a summary"


def test_a_function_that_returns_no_number_has_none(make: Make) -> None:
    code = f"{FUNCTION}    return float('nan')\n"
    assert math.isnan(run(make(code, objective="train.py:train")))


@pytest.mark.parametrize(
    ("options", "told"), [({}, "acc at its end"), ({"score": "best"}, "the best acc of all")]
)
def test_a_dry_run_says_the_rule(
    make: Make, capsys: pytest.CaptureFixture[str], options: dict[str, str], told: str
) -> None:
    make("", **options)
    assert main(["study", "scores.yaml", "--dry-run"]) == 0
    assert f"score: {told}" in capsys.readouterr().out
    assert main(["export", "scores.yaml", "--wandb"]) == 0
    assert "score" not in capsys.readouterr().out.replace("scores", "")


def test_a_class_says_itself_what_it_reached(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "import tuner\n\n\nclass Work(tuner.Workload):\n    def run(self, config, report, **_):\n"
        "        return {'acc': 1}\n"
    )
    path = tmp_path / "scores.yaml"
    path.write_text(f"{STUDY}tuner: {{workload: 'work.py:Work', score: best}}\n")
    with pytest.raises(tuner.InputError, match=r"tuner\.score.*class says itself"):
        plan.make(Request(load_study_file(path), "sqlite://", tmp_path), lambda line: None)


def test_a_study_that_an_older_version_began_keeps_the_best_of_its_scripts(
    make: Make, records: Records, url: str, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make("")
    with monkeypatch.context() as older:
        older.setattr(study_store, "SCORE", "not written")
        study = study_store.open_study(records, file, origin)
    assert stored_file(study).metric.scored == "best"

    lines: list[str] = []
    planned = plan.make(Request(file, url, Path("results")), lines.append)
    assert planned.file.metric == planned.workload.file.metric == Metric("acc", "maximize", scored="best")
    assert any(line.startswith("score as when the study was begun: the best acc") for line in lines)
    study_store.open_study(records, planned.file, origin)
    assert optuna.load_study(study_name="scores", storage=records).user_attrs["score"] == "best"
    with pytest.raises(ChangedStudy, match="score"):
        study_store.open_study(records, make("", score="last"), origin)


def test_the_key_can_be_written_out_later_and_cannot_change(
    make: Make, records: Records, origin: Origin
) -> None:
    study_store.open_study(records, make(""), origin)
    study_store.open_study(records, make("", score="last"), origin)
    with pytest.raises(ChangedStudy, match="score"):
        study_store.open_study(records, make("", score="best"), origin)
