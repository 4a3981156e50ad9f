"""The campaign and `verify`: confirmed winners, what is inherited, resuming, what of a lead survives."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from tuner.__main__ import main
from tuner.artifacts.run_store import Place, RunStore
from tuner.campaign.campaign import Campaign
from tuner.claims import retrain, verify
from tuner.claims.retrain import Candidate
from tuner.definition.study_file import StudyFile
from tuner.run.launch import Request
from tuner.show.live import PlainView
from tuner.storage import study_store
from tuner.storage.access import open_records
from tuner.storage.stored import CONFIRMED, load_study

MakeStudy = Callable[..., StudyFile]

FIRST = """
name: first
method: grid
metric: {name: score, goal: maximize}
parameters:
  x: {values: [0.25, 0.75, 0.5]}
tuner: {objective: "objective.py:train", max_epochs: 4}
"""
SECOND = """
name: second
method: random
run_cap: 2
metric: {name: score, goal: maximize}
parameters:
  y: {values: [a, b]}
tuner: {objective: "objective.py:train", max_epochs: 4, base: {winner of: first}}
"""


def candidate(number: int, score: float, *again: float) -> Candidate:
    return Candidate(
        number, {"x": score}, (score,), 0.0, dict(enumerate(again)), dict.fromkeys(range(len(again)), 0.0)
    )


def test_a_winner_is_the_best_on_average_not_the_luckiest(make_study: MakeStudy) -> None:
    found = [candidate(3, 0.9, 0.6), candidate(5, 0.85, 0.8), candidate(7, 0.8, 0.81)]
    assert retrain.winner(found, make_study()).number == 5


def test_retraining_is_a_grid_of_candidates_and_seeds(make_study: MakeStudy) -> None:
    best = [candidate(0, 0.5), candidate(1, 0.25)]
    grid = retrain.study_of(make_study(), best, [{"seed": 1}, {"seed": 2}], suffix="confirm")
    assert grid.name == "small.confirm"
    assert grid.space.grid() == [
        {"x": 0.5, "seed": 1},
        {"x": 0.5, "seed": 2},
        {"x": 0.25, "seed": 1},
        {"x": 0.25, "seed": 2},
    ]


def test_leads_are_paired_by_seed(make_study: MakeStudy) -> None:
    first = candidate(3, 0.9, 0.80, 0.70, 0.75)
    close, worse, better = (
        candidate(4, 0.89, 0.79, 0.72, 0.74),
        candidate(5, 0.88, 0.70, 0.60, 0.65),
        candidate(6, 0.87, 0.90, 0.80, 0.85),
    )
    found = verify.leads([first, close, worse, better], make_study())
    assert [lead.verdict for lead in found] == ["not decided", "holds", "reversed"]
    assert math.isclose(found[1].mean, 0.1)
    flattered = verify.Verified("score", "maximize", (first, worse), ())
    assert math.isclose(flattered.curse, ((0.9 - 0.75) + (0.88 - 0.65)) / 2)


def test_one_seed_decides_nothing(make_study: MakeStudy) -> None:
    (lead,) = verify.leads([candidate(3, 0.9, 0.8), candidate(4, 0.8, 0.1)], make_study())
    assert (lead.verdict, lead.low) == ("not decided", -math.inf)


def test_each_study_starts_from_the_confirmed_winner_before_it(
    make_study: MakeStudy, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [make_study(FIRST, "first.yaml"), make_study(SECOND, "second.yaml")]
    console = Console(width=200)
    request = Request(files[0], url, tmp_path / "results", agents=1, wandb="off")
    for _ in range(2):  # the second time there is nothing left to do
        Campaign(request, lambda: PlainView(console), console, files).run()

    records = open_records(url)
    assert sorted(optuna.get_all_study_names(records)) == [
        "first",
        "first.confirm",
        "second",
        "second.confirm",
    ]
    first = load_study(records, "first")
    assert first.user_attrs[CONFIRMED]["number"] == 1
    assert len(first.user_attrs[CONFIRMED]["candidates"]) == 3
    assert [len(load_study(records, name).get_trials()) for name in ("first", "second")] == [3, 2]
    for trial in load_study(records, "second").get_trials():
        assert trial.value == 0.75  # x came from the winner, y decides nothing
    assert "inherits from the confirmed winner of first (trial 1, 0.75): x=0.75" in capsys.readouterr().out

    first.set_user_attr(CONFIRMED, {"number": 2, "mean": 0.7})  # another did better on other seeds
    results = ["--storage", url, "--results", str(tmp_path / "results")]
    assert main(["export", "first", *results]) == 0
    assert "# confirmed winner of first (trial 2, 0.7)" in capsys.readouterr().out


def test_a_resumed_campaign_gives_later_studies_what_it_was_begun_with(
    make_study: MakeStudy, url: str, tmp_path: Path
) -> None:
    files = [make_study(FIRST, "first.yaml"), make_study(SECOND, "second.yaml")]
    console = Console(width=200)
    plain = Request(files[0], url, tmp_path / "results", agents=1, wandb="off")
    store = f"file://{tmp_path}/store"
    told = replace(plain, artifacts=store, overrides={"pause": 0.01})
    Campaign(told, lambda: PlainView(console), console, files[:1]).run()
    Campaign(plain, lambda: PlainView(console), console, files).run()
    second = load_study(open_records(url), "second")
    place = Place.of(second)
    assert place is not None and place.url == store
    assert second.user_attrs[study_store.ORIGIN]["overrides"] == {"pause": 0.01}
    assert RunStore(place).numbers() == {0, 1}


def test_what_a_study_of_a_bundle_was_begun_with_is_its_own(
    make_study: MakeStudy, url: str, tmp_path: Path
) -> None:
    first, second = make_study(FIRST, "first.yaml"), make_study(SECOND, "second.yaml")
    plain = Request(first, url, tmp_path / "results")
    records = open_records(url, create=True)
    for file, overrides in ((first, {"pause": 0.01}), (second, {"bundle": "results/ensembles/campaign"})):
        study_store.open_study(records, file, study_store.Origin(base={}, overrides=overrides))
    console = Console(width=200)
    files = [first, replace(second, on="bundle")]
    campaign = Campaign(plain, lambda: PlainView(console), console, files)
    assert campaign._as_begun().overrides == {"pause": 0.01}
