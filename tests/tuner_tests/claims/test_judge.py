"""`verdict`: is one configuration better than another, how sure, and how many runs would settle it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.claims import judge
from tuner.claims import material as materials
from tuner.claims.material import Material
from tuner.commands.verdict import NOT_BETTER, OPEN
from tuner.definition.constraints import Constraint
from tuner.definition.study_file import StudyFile
from tuner.run import launch
from tuner.run.request import Request
from tuner.show.lines import SilentView
from tuner.storage.access import open_records
from tuner.storage.attributes import CONFIRMED
from tuner.storage.study import load_study

pytestmark = pytest.mark.usefixtures("agents_in_this_process")

FILE = """
name: small
method: grid
metric: {name: score, goal: maximize}
parameters:
  x: {values: [0.5, 0.9, 0.7]}
tuner: {objective: "objective.py:train", max_epochs: 4, matters: 0.01}
"""


@pytest.fixture
def results(make_study: Callable[..., StudyFile], url: str, tmp_path: Path) -> Path:
    """A study of three trials, x = 0.5, 0.9 and 0.7."""
    folder = tmp_path / "results"
    file = make_study(FILE)
    assert launch.run(Request(file, url, folder, agents=1, wandb="off"), SilentView(Console(quiet=True))).fine
    return folder


def retrained(url: str, *again: Sequence[float]) -> None:
    """As if the trials 0, 1, … had been run again on shared seeds."""
    record: dict[str, Any] = {
        "number": 1, "mean": 0.9,
        "candidates": [{"number": i, "again": list(values)} for i, values in enumerate(again)],
    }  # fmt: skip
    load_study(open_records(url), "small").set_user_attr(CONFIRMED, record)


def material(url: str, results: Path) -> Material:
    return materials.load(open_records(url), (), results, made=datetime(2026, 1, 7))


def test_a_score_that_was_never_repeated_decides_nothing(results: Path, url: str) -> None:
    answer = judge.between(material(url, results), "small", None)
    assert answer.verdict == "too few runs" and answer.better is None
    assert answer.sentence.startswith(
        "There are too few runs to say whether trial 1 is better than trial 2: score"
    )
    assert "∞" not in answer.sentence and "%" not in answer.sentence
    assert answer.decide == "tuner verify small --trial 1 --trial 2 --seeds 3"


def test_paired_runs_decide(results: Path, url: str) -> None:
    retrained(url, [0.50, 0.52, 0.48, 0.51], [0.88, 0.91, 0.87, 0.89])
    answer = judge.between(material(url, results), "small/1", "small/0")
    assert (answer.verdict, answer.better, answer.more_runs) == ("better", True, 0)
    assert answer.found is not None and answer.found.pairs == 4 and answer.found.low > 0.3
    assert answer.sentence.startswith(
        "Trial 1 is better than trial 0: score 0.8875 (mean of 4) against 0.5025 (mean of 4), a difference "
        "of +0.3850 ["
    )
    assert answer.sentence.endswith("] (4 pairs of runs, better with a probability of over 99 %).")
    turned = judge.between(material(url, results), "small/0", "small/1")
    assert (turned.verdict, turned.better) == ("worse", False)


def test_what_is_equal_for_all_that_matters_is_not_better(results: Path, url: str) -> None:
    base = [0.80, 0.90, 0.85, 0.82, 0.88, 0.84]
    retrained(url, base, [b + d for b, d in zip(base, [0.001, -0.001, 0.002, 0, -0.002, 0.001], strict=True)])
    answer = judge.between(material(url, results), "small/1", "small/0")
    assert (answer.verdict, answer.better) == ("no difference", False)
    assert "Differences up to 0.01 do not matter." in answer.sentence


def test_an_open_question_says_how_many_runs_would_settle_it(results: Path, url: str) -> None:
    retrained(url, [0.80, 0.83, 0.79], [0.81, 0.88, 0.79])
    answer = judge.between(material(url, results), "small/1", "small/0")
    assert answer.verdict == "open"
    assert answer.more_runs is not None and 5 < answer.more_runs < 100
    assert "--trial 1 --trial 0" in answer.decide


def test_single_runs_are_compared_by_the_noise_of_others(results: Path, url: str) -> None:
    retrained(url, [0.50, 0.51, 0.49], [0.9, 0.91, 0.89])
    answer = judge.between(material(url, results), "small/2", "small/0")
    assert answer.found is not None and answer.found.interval is not None  # 0.7 against 0.5, noise 0.01
    assert (answer.verdict, answer.found.pairs) == ("too few runs", 0), "a verdict needs pairs"
    assert "(no pairs of runs: trial 2 ran once)" in answer.sentence


def test_the_best_of_many_is_open_until_it_is_run_again(results: Path, url: str) -> None:
    retrained(url, [0.50, 0.51, 0.49], [])
    answer = judge.between(material(url, results), "small", "small/0")
    assert answer.verdict == "too few runs"
    assert "the best of many" in answer.sentence


def test_a_constraint_on_what_nobody_logs_is_named(make_study: Callable[..., StudyFile]) -> None:
    constraints = (Constraint.parse("val/sizee <= 0.5"),)
    file = replace(make_study(FILE), constraints=constraints)
    said = judge.not_logged(file, [{"score": 0.5}, {"score": 0.6, "val/size": 2.0}])
    assert said == "no trial logged 'val/sizee'; did you mean 'val/size'? (logged: score, val/size)"
    assert not judge.not_logged(file, [{"score": 0.5}, {"val/sizee": 0.5}]), "one trial may lack it"
    assert not judge.not_logged(make_study(FILE), [])


@pytest.mark.parametrize(
    ("what", "against", "message"),
    [
        ("smal", None, "no study named 'smal'"),
        ("small/9", None, "there is no such trial"),
        ("small/x", None, "expected STUDY or STUDY/NUMBER"),
        ("small/1", "small/1", "compared with itself"),
    ],
)
def test_wrong_names(results: Path, url: str, what: str, against: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        judge.between(material(url, results), what, against)


def test_a_deterministic_workload_needs_no_second_run(results: Path, url: str) -> None:
    known = material(url, results)
    study = known.studies[0]
    study.workload.deterministic = True
    answer = judge.between(replace(known, studies=(study,)), "small/1", "small/0")
    assert answer.better is True and answer.found is not None and answer.found.exact
    assert "one run of each is the truth" in answer.sentence


def test_the_exit_status_tells_the_answer(
    results: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--storage", url, "--results", str(results)]
    assert main(["verdict", "small", *where]) == OPEN
    retrained(url, [0.50, 0.52, 0.48, 0.51], [0.88, 0.91, 0.87, 0.89])
    assert main(["verdict", "small/0", "against", "small/1", *where]) == NOT_BETTER
    capsys.readouterr()
    assert main(["verdict", "small/1", "against", "small/0", "--json", *where]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["better"] is True
    assert {"verdict", "difference", "low", "high", "sure", "more_runs", "next_run", "sentence"} <= set(
        answer
    )
    assert main(["verdict", "small/1", "small/0", *where]) == 2
    assert "expected 'against STUDY/NUMBER'" in capsys.readouterr().err


def test_verify_retrains_the_trials_that_are_named(
    results: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--storage", url, "--results", str(results), "--agents", "1", "--wandb", "off"]
    assert main(["verify", "small", "--trial", "2", "--trial", "0", "--seeds", "2", "--json", *where]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [candidate["number"] for candidate in found["candidates"]] == [2, 0]
    assert main(["verify", "small", "--trial", "7", *where]) == 2
    assert "trial 7 is not complete" in capsys.readouterr().err
