"""What a study's trials look like to the freeze-thaw model, and how its epochs are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.search.thawing import Thawing, budget_of, earlier_of, rungs_for
from tuner.storage.access import open_records
from tuner.storage.allocate import Choice
from tuner.storage.attributes import DEFAULT, PAUSED, UNTIL, WHY
from tuner.storage.study import studies_to_learn_from

STUDY = """
method: bayes
run_cap: 10
metric: {name: acc, goal: maximize}
parameters:
  x: {min: 0.0, max: 1.0}
tuner:
  workload: "tuner.workloads.workload:Workload"
  sampler: freeze_thaw
  max_epochs: 18
"""
Make = Callable[..., Thawing]


@pytest.fixture
def thawing(tmp_path: Path) -> Make:
    def make(more: str = "", total: int = 10) -> Thawing:
        (tmp_path / "s.yaml").write_text(STUDY + more)
        file = load_study_file(tmp_path / "s.yaml")
        return Thawing(file, given=({}, {}), length=18, total=total, seed=1)

    return make


def trial(number: int, *values: float, state: TrialState = TrialState.WAITING, **attrs: Any) -> FrozenTrial:
    made = create_trial(
        state=state,
        value=values[-1] if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params={"x": number / 10},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values=dict(enumerate(values, 1)),
        user_attrs={**attrs, **({PAUSED: len(values)} if state is TrialState.WAITING else {})},
    )
    made.number = made._trial_id = number
    return made


def test_every_trial_that_is_wanted_can_still_have_its_first_epochs(thawing: Make) -> None:
    begun = [trial(n, 0.5, 0.6 + n / 100) for n in range(9)]
    chooser = thawing("  epoch_budget: 20\n")  # 18 are used; 2 are for the tenth trial
    for _ in range(5):
        found = chooser.choose(begun, unstarted=1)
        assert isinstance(found, Choice) and found.trial_id is None and found.until == 2


def test_the_leader_is_run_to_its_end_before_a_study_ends(thawing: Make) -> None:
    done = trial(0, *[0.1 + n / 100 for n in range(18)], state=TrialState.COMPLETE)
    paused = [trial(n, 0.1, 0.1 + n / 10) for n in range(1, 4)]
    chooser = thawing("  epoch_budget: 20\n")
    found = chooser.choose([done, *paused], unstarted=0)
    assert isinstance(found, Choice)
    assert (found.trial_id, found.until) == (3, None)
    assert "to its end, because it is better than all that have ended" in found.why
    ended = trial(3, *[0.4] * 18, state=TrialState.COMPLETE)
    found = chooser.choose([done, *paused[:2], ended], unstarted=0)
    assert found == "the study ended after 40 epochs; other trials promised more"


def test_the_default_is_paused_as_others_are_and_the_epochs_to_its_end_are_kept(thawing: Make) -> None:
    chooser = thawing("  epoch_budget: 60\n")
    queued = create_trial(state=TrialState.WAITING, user_attrs={WHY: DEFAULT})
    assert chooser.until(queued) == 2
    assert chooser.until(create_trial(state=TrialState.WAITING, user_attrs={WHY: "by hand"})) is None

    poor = trial(0, *[0.1] * 7, **{WHY: DEFAULT})
    done = trial(1, *[0.5 + n / 100 for n in range(18)], state=TrialState.COMPLETE)
    good = [trial(n, 0.4, 0.5 + n / 100) for n in range(2, 6)]
    at_most = [trial(9, *[0.1] * 8, state=TrialState.PRUNED)]  # 41 of 60 epochs are used, 11 are kept
    wanted = [chooser._choose([poor, done, *good, *at_most], 0) for _ in range(8)]
    assert all(isinstance(choice, Choice) and choice.trial_id != 0 for choice in wanted)
    used = [trial(9, *[0.1] * 16, state=TrialState.PRUNED)]  # none of them is left for others
    found = chooser._choose([poor, done, *good, *used], 0)
    assert isinstance(found, Choice) and (found.trial_id, found.until) == (0, None)
    assert "compared with the default" in found.why


def test_a_running_trial_counts_with_the_epochs_it_was_sent_to(thawing: Make) -> None:
    running = trial(0, 0.5, state=TrialState.RUNNING, **{UNTIL: 12})
    paused = trial(1, 0.5, 0.6)
    chooser = thawing("  epoch_budget: 15\n")
    assert isinstance(chooser.choose([running, paused], unstarted=0), Choice)  # as nothing has ended
    done = trial(2, 0.7, state=TrialState.COMPLETE)
    assert str(chooser.choose([running, paused, done], unstarted=0)).startswith("the study ended after 15")


def test_trials_that_miss_the_constraints_stand_lower(thawing: Make) -> None:
    """The leader by the metric alone misses the constraint by far."""
    paused = [
        trial(0, 0.5, 0.8, violation=0.5),
        trial(1, 0.5, 0.7, violation=0.0),
        trial(2, 0.5, 0.6, violation=0.1),
    ]
    found = thawing('  epoch_budget: 1\n  constraints: ["acc >= 0"]\n').choose(paused, unstarted=0)
    assert isinstance(found, Choice) and found.trial_id == 1


def test_nothing_is_asked_again_while_nothing_has_changed(
    thawing: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent without work asks several times a second."""
    chooser = thawing("  epoch_budget: 1\n")
    trials = [trial(0, 0.9, state=TrialState.COMPLETE), trial(1, 0.5)]
    first = chooser.choose(trials, unstarted=0)
    monkeypatch.setattr(chooser, "_choose", lambda *args: pytest.fail("asked again"))
    assert chooser.choose(trials, unstarted=0) == first


def test_an_earlier_study_says_where_to_begin(tmp_path: Path) -> None:
    """Its best trials had a large x; a trial may have other parameters."""
    earlier = [trial(n, n / 20, n / 10, state=TrialState.COMPLETE) for n in range(10)]
    other = create_trial(value=0.9, params={"y": 0.1}, distributions={"y": FloatDistribution(0, 1)})
    (tmp_path / "s.yaml").write_text(STUDY)
    file = load_study_file(tmp_path / "s.yaml")
    chooser = Thawing(file, given=({}, {}), length=18, total=20, seed=1,
        earlier=[earlier_of([*earlier, other], maximize=True)])  # fmt: skip
    own = [trial(n, n / 20, n / 10) for n in (1, 4, 6)]
    found = [chooser._choose(own, 17) for _ in range(10)]
    chosen = [choice.params["x"] for choice in found if isinstance(choice, Choice) and choice.params]
    assert len(chosen) > 5 and sum(x > 0.6 for x in chosen) >= 0.7 * len(chosen)


@pytest.mark.parametrize(
    ("more", "total", "length", "budget"),
    [
        ("", 100, 18, 450),  # a quarter of whole trials
        ("", 10, 18, 74),  # 2 epochs of each and 3 whole trials
        ("  epoch_budget: 20\n", 10, 18, 20),  # the file's word for its own number
        ("  epoch_budget: 90\n", 40, 18, 360),
        ("  epoch_budget: 90\n", 40, 36, 720),
        ("  epoch_budget: 20\n", 5, 18, 64),
        ("", None, 18, None),
    ],
)
def test_the_budget_grows_with_trials_and_their_length(
    tmp_path: Path, more: str, total: int | None, length: int, budget: int | None
) -> None:
    (tmp_path / "s.yaml").write_text(STUDY + more)
    assert budget_of(load_study_file(tmp_path / "s.yaml"), length, total) == budget


def test_the_budget_of_a_study_that_names_no_number_of_trials_is_for_any(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(STUDY + "  epoch_budget: 20\n")
    file = replace(load_study_file(tmp_path / "s.yaml"), run_cap=None)  # as from Python: `trials=10`
    assert budget_of(file, 18, 10) == budget_of(file, 18, None) == 20


@pytest.mark.parametrize(
    ("more", "first"),
    [
        ("", 2),
        ("  pruner: {type: hyperband, min_resource: 3}\n", 3),
        ("  pruner: median\n", 2),
        ("early_terminate: {type: hyperband, min_iter: 3}\n", 2),
    ],
)
def test_the_first_pause_is_where_the_pruner_says_if_its_kind_says_so(
    tmp_path: Path, more: str, first: int
) -> None:
    (tmp_path / "s.yaml").write_text(STUDY + more)
    assert rungs_for(load_study_file(tmp_path / "s.yaml"), 18)[0] == first


def test_a_trial_is_resumed_by_its_number_where_others_are_left_out(thawing: Make) -> None:
    """Trials 0 and 1 do not fit since the study was changed, so they are not among its trials."""
    done = trial(2, *[0.1] * 18, state=TrialState.COMPLETE)
    paused = [trial(n, 0.1, n / 10) for n in range(3, 9)]
    found = thawing().choose([done, *paused], unstarted=0)
    assert isinstance(found, Choice) and found.trial_id in range(3, 9)
    assert found.why.startswith("the most promising (")


def test_auto_learns_from_the_finished_studies_that_share_a_parameter(tmp_path: Path) -> None:
    records = open_records(f"sqlite:///{tmp_path}/studies.db", create=True)
    for name, parameter, directions in [
        ("s", "x", ["maximize"]),
        ("alike", "x", ["minimize"]),
        ("of another parameter", "y", ["minimize"]),
        ("of two objectives", "x", ["minimize", "minimize"]),
        ("without an end", "x", ["minimize"]),
    ]:
        study = optuna.create_study(storage=records, study_name=name, directions=directions)
        values = [0.5] * len(directions)
        one = {parameter: 0.5}, {parameter: FloatDistribution(0, 1)}
        done = create_trial(values=values, params=one[0], distributions=one[1])
        study.add_trial(create_trial(state=TrialState.FAIL) if name == "without an end" else done)
    (tmp_path / "s.yaml").write_text(STUDY + "  learn_from: auto\n")
    found = studies_to_learn_from(records, load_study_file(tmp_path / "s.yaml"))
    assert [each.study_name for each in found] == ["alike"]
    (tmp_path / "s.yaml").write_text(STUDY + "  learn_from: all\n")
    with pytest.raises(InputError, match="expected a list of names or auto, got 'all'"):
        load_study_file(tmp_path / "s.yaml")
