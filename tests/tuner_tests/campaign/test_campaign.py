"""Campaigns and `verify`: confirmed winners, what is inherited, resuming, how much of a lead is real."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from rich.console import Console

from tuner.__main__ import main
from tuner.artifacts.run_store import RunStore, StoreLocation
from tuner.base.errors import InputError, WorkFailed
from tuner.campaign import confirm
from tuner.campaign.campaign import Campaign
from tuner.campaign.confirm import known_noise
from tuner.claims import retrain, verify
from tuner.claims.hypotheses import Prepared, Settling
from tuner.claims.race import Noise
from tuner.claims.retrain import Candidate
from tuner.definition.campaign_file import read_campaign
from tuner.definition.study_file import StudyFile
from tuner.run import launch
from tuner.run.request import Request
from tuner.show.live import PlainView
from tuner.storage import study_store
from tuner.storage.access import open_records
from tuner.storage.attributes import CONFIRMED, ORIGIN
from tuner.storage.records import Records
from tuner.storage.study import load_study
from tuner.workloads.registry import workload_of

MakeStudy = Callable[..., StudyFile]
pytestmark = pytest.mark.usefixtures("agents_in_this_process")

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


def test_retraining_is_a_grid_of_candidates_and_seeds(make_study: MakeStudy) -> None:
    file = make_study()
    seeded = workload_of(file).seeded
    points = [{"x": x, **seeded({"x": x}, seed)} for x in (0.5, 0.25) for seed in (1, 2)]
    grid = retrain.study_of(file, points, suffix="confirm")
    assert grid.name == "small.confirm"
    assert grid.space.grid() == [
        {"x": 0.5, "seed": 1},
        {"x": 0.5, "seed": 2},
        {"x": 0.25, "seed": 1},
        {"x": 0.25, "seed": 2},
    ]


def test_the_winners_curse_is_how_much_the_study_overrated_its_best() -> None:
    again = [candidate(3, 0.9, 0.80, 0.70, 0.75), candidate(5, 0.88, 0.70, 0.60, 0.65)]
    assert math.isclose(verify.curse(again, "maximize"), ((0.9 - 0.75) + (0.88 - 0.65)) / 2)
    assert math.isnan(verify.curse([candidate(3, 0.9)], "maximize"))


Run = Callable[..., Campaign]


@pytest.fixture
def campaign_of(make_study: MakeStudy, url: str, tmp_path: Path) -> Run:
    """`campaign_of(steps, **options)`: a campaign with these steps; `options` are of its requests."""
    make_study(FIRST, "first.yaml")
    make_study(SECOND, "second.yaml")
    console = Console(width=200)

    def make(*steps: str, **options: Any) -> Campaign:
        path = tmp_path / "campaign.yaml"
        path.write_text("steps:\n" + "".join(f"- {step}\n" for step in steps))
        results = tmp_path / "results"
        return Campaign(
            read_campaign(path),
            results,
            lambda file: Request(file, url, results, **{"agents": 1, "wandb": "off", **options}),
            lambda: PlainView(console),
            lambda line: console.print(line, markup=False, soft_wrap=True),
        )

    return make


BOTH = ("study: first.yaml", "study: second.yaml")


def test_each_study_starts_from_the_confirmed_winner_before_it(
    campaign_of: Run, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second time there is nothing left to do
        campaign_of(*BOTH).run()

    records = open_records(url)
    assert sorted(optuna.get_all_study_names(records)) == [
        "first",
        "first.confirm",
        "second",
        "second.confirm",
    ]
    first = load_study(records, "first")
    assert first.user_attrs[CONFIRMED]["number"] == 1
    confirmed = first.user_attrs[CONFIRMED]
    assert [len(c["again"]) for c in confirmed["candidates"]] == [2, 2, 2], "no noise: two rounds are enough"
    assert confirmed["chance"] is None and confirmed["lead"]["low"] is None, "no noise was seen"
    assert [len(load_study(records, name).get_trials()) for name in ("first", "second")] == [3, 2]
    for trial in load_study(records, "second").get_trials():
        assert trial.value == 0.75  # x came from the winner, y decides nothing
    assert "inherits from the confirmed winner of first (trial 1, 0.75): x=0.75" in capsys.readouterr().out

    first.set_user_attr(CONFIRMED, {"number": 2, "mean": 0.7})  # another did better on other seeds
    results = ["--storage", url, "--results", str(tmp_path / "results")]
    assert main(["export", "first", *results]) == 0
    assert "# confirmed winner of first (trial 2, 0.7)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_race_knows_the_noise_of_those_before_it(campaign_of: Run, make_study: MakeStudy, url: str) -> None:
    campaign_of(*BOTH).run()
    records = open_records(url)
    second = make_study(SECOND, "second.yaml")
    assert known_noise(second, records).freedom == 0, "races without any noise tell nothing"
    first = load_study(records, "first")
    first.set_user_attr(CONFIRMED, {**first.user_attrs[CONFIRMED], "noise": 0.5})
    assert known_noise(second, records) == Noise(0.5, 2)  # three configurations in two rounds
    other = make_study(SECOND.replace("name: score", "name: other"), "second.yaml")
    assert known_noise(other, records).freedom == 0, "of another metric"


def test_a_race_that_begins_with_one_round_goes_on_and_ends(
    campaign_of: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second round makes a choice of what was fixed, so the trials of the first are written anew."""
    rounds: list[int] = []

    def run(request: Request, view: Any) -> Any:
        rounds.append(request.study_file.run_cap or 0)
        assert len(rounds) < 20, f"the race does not end: {rounds}"
        return launch.run(request, view)

    monkeypatch.setattr(confirm, "known_noise", lambda *_: Noise(0.5, 9))
    monkeypatch.setattr(confirm, "launch", SimpleNamespace(run=run))
    campaign_of("study: first.yaml").run()

    assert rounds == sorted(set(rounds)) and len(rounds) > 1, "each round adds runs"
    assert CONFIRMED.of(load_study(open_records(url), "first").attrs)


def test_the_runs_of_a_single_configuration_are_its_retrainings(
    campaign_of: Run, make_study: MakeStudy, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = FIRST.replace("name: first", "name: seeds").replace(
        "x: {values: [0.25, 0.75, 0.5]}", "seed: {values: [7, 8, 9]}"
    )
    make_study(seeds.replace("max_epochs: 4", "max_epochs: 4, base: {x: 0.5}"), "seeds.yaml")
    campaign_of("study: seeds.yaml").run()

    records = open_records(url)
    assert optuna.get_all_study_names(records) == ["seeds"], "nothing was chosen, so nothing is retrained"
    (only,) = load_study(records, "seeds").user_attrs[CONFIRMED]["candidates"]
    assert only["again"] == [0.5, 0.5, 0.5] and only["mean"] == 0.5
    assert "seeds: Trial 0: score 0.5000 (mean of 3). There is only one conf" in capsys.readouterr().out


@pytest.mark.slow
def test_a_resumed_campaign_gives_later_studies_what_it_was_begun_with(
    campaign_of: Run, url: str, tmp_path: Path
) -> None:
    store = f"file://{tmp_path}/store"
    campaign_of(BOTH[0], artifacts=store, overrides={"pause": 0.01}).run()
    campaign_of(*BOTH).run()
    second = load_study(open_records(url), "second")
    location = StoreLocation.of(second)
    assert location is not None and location.url == store
    assert second.user_attrs[ORIGIN]["overrides"] == {"pause": 0.01}
    assert RunStore(location).numbers() == {0, 1}


def test_a_step_with_inputs_of_its_own_gives_the_others_none_of_its_values(
    campaign_of: Run, make_study: MakeStudy, url: str
) -> None:
    records = open_records(url, create=True)
    begun = {"first": {"pause": 0.01}, "second": {"bundle": "results/ensembles/campaign"}}
    for name, text in (("first", FIRST), ("second", SECOND)):
        file = make_study(text, f"{name}.yaml")
        study_store.open_study(records, file, study_store.Origin(base={}, overrides=begun[name]))
    campaign = campaign_of(BOTH[0], "{study: second.yaml, data: '${results}/ensembles/x'}")
    assert campaign.begun()["overrides"] == {"pause": 0.01}


def test_a_command_runs_once_and_its_macros_are_filled_in(
    campaign_of: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "export.py").write_text(
        "import pathlib, sys\n"
        "pathlib.Path(sys.argv[1], 'made').mkdir(parents=True)\n"
        "print('studies', *sys.argv[2:])\n"
    )
    step = f"{{run: 'python {tmp_path}/export.py ${{results}} ${{studies}}', creates: made, why: exports}}"
    campaign = campaign_of(BOTH[0], step)
    campaign._command(campaign.file.steps[1], "2/2")
    campaign._command(campaign.file.steps[1], "2/2")
    assert capfd.readouterr().out.count("studies first\n") == 1


def test_a_command_that_fails_ends_the_campaign(campaign_of: Run) -> None:
    with pytest.raises(WorkFailed, match="this command failed: python -c raise"):
        campaign_of("run: python -c 'raise SystemExit(3)'").run()


def test_this_program_is_found_from_any_folder(
    campaign_of: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tuner.py").write_text("raise SystemExit('a module of the user')")
    monkeypatch.chdir(tmp_path)
    campaign_of("run: tuner --version").run()
    assert capfd.readouterr().out.count("tuner 0") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []", "expected at least one step"),
        ("steps: [{study: a, run: b}]", "expected either 'study' or 'run'"),
        ("steps: [{run: b, data: c}]", "is only allowed in a step with 'study'"),
        ('steps: [{run: "b \'c"}]', "expected a shell command"),
        ("steps: [{study: a}]\nclaims: [{claim: x}]", "missing; a claim needs"),
        ("steps: [{study: a}]\nstep: 1", "did you mean 'steps'"),
    ],
)
def test_a_bad_campaign_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_campaign(path)
    assert str(caught.value).startswith(f"{path}:") and "\n" not in str(caught.value)


CLAIMED = """
name: claimed
method: random
run_cap: 4
metric: {name: score, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
  y: {values: [a, b]}
tuner:
  objective: "objective.py:train"
  max_epochs: 4
  matters: 0.05
  hypotheses:
  - {claim: a large x is better, where: x > 0.6, against: x < 0.4}
  - {claim: y does not matter, where: y == 'a', against: y == 'b', gain: [0, 0]}
"""


@pytest.mark.slow
def test_a_campaign_decides_the_claims_of_its_studies(
    campaign_of: Run, make_study: MakeStudy, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(CLAIMED, "claimed.yaml")
    steps = ("study: claimed.yaml", "{study: hypotheses, budget: 5m}")
    assert campaign_of(*steps).run()
    said = capsys.readouterr().out
    assert "claimed: a large x is better: As claimed: " in said
    assert "2 of 2 claims are decided, 0 are open" in said
    rounds = [name for name in optuna.get_all_study_names(open_records(url)) if name.startswith("hypotheses")]
    assert rounds[0] == "hypotheses"
    assert campaign_of(*steps).run(), "a second start has nothing left to do"
    assert "hypotheses:" not in capsys.readouterr().out


def test_a_budget_is_of_the_step_hypotheses(campaign_of: Run) -> None:
    with pytest.raises(InputError, match=r"budget.*only allowed in the step 'study: hypotheses'"):
        campaign_of("{study: first.yaml, budget: 5m}")


def test_nothing_follows_from_the_best_run_of_a_round(
    make_study: MakeStudy, records: Records, url: str, tmp_path: Path
) -> None:
    """A decoder would store it with its bundle."""
    file = make_study(CLAIMED, "claimed.yaml")
    results = tmp_path / "results"
    settling = Settling(
        url, results, lambda paired: Request(paired, url, results), lambda: PlainView(Console()), print
    )
    assert settling.request(Prepared(file, None, None)).conclude is False
