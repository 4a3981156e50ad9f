"""Stopping rules decide as Optuna's do (W&B's: test_sweeps_oracle), and say why in words."""

import dataclasses
import math
import random
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from tuner.base.errors import InputError
from tuner.definition.pruner_settings import KINDS, PrunerSettings, bracket_budgets, brackets, rung_steps
from tuner.search import pruners

optuna.logging.set_verbosity(optuna.logging.ERROR)


def optunas(settings):
    match settings.kind:
        case "hyperband":
            # one more epoch cures Optuna's lost bracket at exact powers and changes nothing else
            exact = settings.min_resource * int(settings.eta) ** (brackets(settings) - 1)
            return optuna.pruners.HyperbandPruner(
                min_resource=settings.min_resource,
                max_resource=settings.max_resource + (settings.max_resource == exact),
                reduction_factor=int(settings.eta),
            )
        case "successive_halving":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=settings.min_resource, reduction_factor=int(settings.eta)
            )
    return optuna.pruners.MedianPruner(
        n_startup_trials=settings.startup_trials, n_warmup_steps=settings.warmup
    )


def interleaved(study, draw, *, trials=40, epochs=30, running=4):
    """Trials that report in a random order, as agents do; yields each (trial, last) after its report."""
    started, active = 0, []
    while started < trials or active:
        while started < trials and len(active) < running:
            active.append((study.ask(), draw.gauss(0, 1)))
            started += 1
        trial, level = draw.choice(active)
        steps = study._storage.get_trial(trial._trial_id).intermediate_values
        step = len(steps) + 1
        noise = draw.choice([0.0, draw.gauss(0, 0.5)])
        trial.report(math.nan if draw.random() < 0.01 else round(level + noise, 2), step)
        if (yield trial, step == epochs):
            active.remove((trial, level))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "settings",
    [
        PrunerSettings("hyperband", min_resource=1, max_resource=9, eta=3),
        PrunerSettings("hyperband", min_resource=1, max_resource=27, eta=3),
        PrunerSettings("hyperband", min_resource=2, max_resource=30, eta=2),
        PrunerSettings("hyperband", min_resource=3, max_resource=30, eta=4),
        PrunerSettings("successive_halving", min_resource=2, max_resource=30, eta=3),
        PrunerSettings("median", startup_trials=4, warmup=2),
    ],
    ids=lambda s: f"{s.kind}-{s.min_resource}-{s.max_resource}-{s.eta}",
)
def test_decisions_are_optunas(settings, seed):
    draw = random.Random(seed)
    study = optuna.create_study(
        study_name=f"study-{seed}", direction=draw.choice(["minimize", "maximize"]), pruner=optunas(settings)
    )
    rule = pruners.make(settings, study.study_name)
    reports, stopped, run = 0, 0, interleaved(study, draw)
    trial, last = next(run)
    while True:
        ours, theirs = rule.should_prune(study, trial), trial.should_prune()
        assert ours == theirs, (trial.number, rule.explain(study, trial))
        reports, stopped = reports + 1, stopped + ours
        state = "PRUNED" if ours else "COMPLETE"
        if ours or last:
            value = study._storage.get_trial(trial._trial_id).intermediate_values
            finite = [v for v in value.values() if not math.isnan(v)]
            if ours or not finite:
                state = "PRUNED"
            study.tell(trial, None if state == "PRUNED" else finite[-1], state=optuna.trial.TrialState[state])
        try:
            trial, last = run.send(ours or last)
        except StopIteration:
            break
    assert reports > 100 and stopped > 5


@pytest.mark.parametrize("kind", KINDS)
def test_reports_that_a_rule_does_not_judge_change_no_decision(kind):
    settings = PrunerSettings(kind, min_resource=2, max_resource=30, min_iter=2, startup_trials=4, warmup=3)
    whole, sparse = (optuna.create_study(study_name="study") for _ in range(2))
    rule, sparse_rule = (pruners.make(settings, "study") for _ in range(2))
    mirrored, left_out, stopped = [], 0, 0
    run = interleaved(whole, random.Random(1))
    trial, last = next(run)
    while True:
        while len(mirrored) <= trial.number:
            mirrored.append(sparse.ask())
        step, value = max(whole._storage.get_trial(trial._trial_id).intermediate_values.items())
        stops = rule.should_prune(whole, trial)
        if rule.judges(trial.number, step):
            mirrored[trial.number].report(value, step)
            assert sparse_rule.should_prune(sparse, mirrored[trial.number]) == stops
        else:
            left_out += 1
            assert not stops
        stopped += stops
        if stops or last:
            for study, one in ((whole, trial), (sparse, mirrored[trial.number])):
                ended = study._storage.get_trial(one._trial_id).intermediate_values
                value = next((v for v in reversed(ended.values()) if not math.isnan(v)), None)
                complete = last and not stops and value is not None
                state = optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED
                study.tell(one, value if complete else None, state=state)
        try:
            trial, last = run.send(stops or last)
        except StopIteration:
            break
    assert (stopped > 5) == (kind != "none")
    assert (left_out > 100) == (kind in ("hyperband", "successive_halving", "none"))


def test_brackets_are_counted_in_whole_numbers():
    """Optuna takes log(243, 3) = 4.99… and loses a bracket."""
    assert brackets(PrunerSettings("hyperband", min_resource=1, max_resource=243, eta=3)) == 6
    assert brackets(PrunerSettings("hyperband", min_resource=1, max_resource=242, eta=3)) == 5
    assert bracket_budgets(PrunerSettings("hyperband", min_resource=1, max_resource=9, eta=3)) == [9, 5, 3]
    assert rung_steps(PrunerSettings("hyperband", min_resource=1, max_resource=9, eta=3), 0) == [1, 3]


def test_a_stopped_trial_is_explained_in_words():
    study = optuna.create_study(direction="maximize")
    rule = pruners.make(PrunerSettings("successive_halving", min_resource=3, max_resource=9, eta=3), "s")
    for final in (0.5, 0.6, 0.52, 0.3, 0.2):
        trial = study.ask()
        for epoch in (1, 2, 3):
            trial.report(final, epoch)
    trial = study.ask()
    for epoch in (1, 2, 3):
        trial.report(0.41, epoch)
    assert rule.should_prune(study, trial)
    assert rule.explain(study, trial) == ("epoch 3: 0.41; best third of 6 trials: 0.52 or better")


def passes(values: list[float], direction: str, **settings: int) -> list[bool]:
    """Which of trials that report `values` at the only rung go on."""
    study = optuna.create_study(direction=direction)
    rule = pruners.make(PrunerSettings("successive_halving", max_resource=3, eta=3, **settings), "s")
    found = []
    for value in values:
        trial = study.ask()
        trial.report(value, 1)
        found.append(not rule.should_prune(study, trial))
    return found


@pytest.mark.parametrize("sign", [1, -1])
def test_beside_the_latest_one_in_eta_goes_on_however_the_trials_improve(sign):
    noise = np.random.default_rng(0).normal(size=240)
    improving = list(sign * (np.arange(240) / 40 + noise))
    direction = "maximize" if sign == 1 else "minimize"
    all_alone = passes(improving, direction)
    lately = passes(improving, direction, recent=18)
    assert sum(all_alone[60:]) / 180 > 0.6  # twice what eta promises
    assert 0.25 < sum(lately[60:]) / 180 < 0.45
    assert all(everywhere for everywhere, late in zip(all_alone, lately, strict=True) if late)


def test_worsening_trials_are_not_let_pass_by_the_latest():
    worsening = [1 - place / 100 for place in range(60)]
    assert passes(worsening, "maximize", recent=9) == passes(worsening, "maximize")


def test_the_latest_are_named_and_counted():
    study = optuna.create_study(direction="maximize")
    rule = pruners.make(PrunerSettings("successive_halving", max_resource=3, eta=3, recent=6), "s")
    for value in (0.1, 0.1, 0.1, 0.5, 0.6, 0.7, 0.4, 0.5):
        study.ask().report(value, 1)
    trial = study.ask()
    trial.report(0.55, 1)
    assert rule.explain(study, trial) == ("epoch 1: 0.55; best third of the latest 6 trials: 0.6 or better")
    assert "of all and of the latest 6" in rule.settings.describe()
    with pytest.raises(InputError, match=r"expected recent to be eta \(3\) or more, got 2"):
        PrunerSettings("successive_halving", max_resource=3, eta=3, recent=2)


def test_several_objectives_are_pruned_by_the_first():
    """Optuna refuses `report` there, so the values come in a frozen trial."""
    rule = pruners.make(PrunerSettings("successive_halving", min_resource=1, max_resource=9, eta=2), "s")
    create = optuna.trial.create_trial
    running = optuna.trial.TrialState.RUNNING
    trials = [create(state=running, intermediate_values={1: value}) for value in (0.9, 0.8, 0.1)]
    for number, trial in enumerate(trials):
        trial.number = number
    both = [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
    study = SimpleNamespace(directions=both, get_trials=lambda **_: trials)
    assert [rule.should_prune(study, trial) for trial in trials] == [False, True, True]


def test_a_retried_trial_does_not_skip_rungs():
    """Optuna's rule reads `completed_rung_*`, which its retry callback copies; ours reads reports only."""
    study = optuna.create_study(direction="minimize")
    for value in (0.1, 0.2, 0.3):
        study.ask().report(value, 1)
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING, system_attrs={"completed_rung_0": 9.0}
        )
    )
    retried = study.ask()
    retried.report(9.0, 1)
    rule = pruners.make(PrunerSettings("successive_halving", min_resource=1, max_resource=9, eta=3), "s")
    assert rule.should_prune(study, retried)


def test_settings_survive_storage():
    settings = PrunerSettings("wandb_hyperband", max_iter=27, s=2, eta=2.5, strict=False)
    assert PrunerSettings(**dataclasses.asdict(settings)) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "hyperbrand"}, "did you mean 'hyperband'"),
        ({"kind": "hyperband", "min_resource": 5, "max_resource": 3}, "min_resource <= max_resource"),
        ({"kind": "hyperband", "max_resource": 9, "eta": 1}, "whole number from 2"),
        ({"kind": "wandb_hyperband", "max_iter": 2, "s": 3}, "no epoch to stop at"),
    ],
)
def test_settings_that_make_no_rule_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        PrunerSettings(**values)


def test_every_kind_says_what_it_does():
    said = {kind: PrunerSettings(kind, max_resource=9, min_iter=2).describe() for kind in KINDS}
    assert len(set(said.values())) == len(KINDS)
    assert said["wandb_hyperband"] == "W&B hyperband: best 1 in 3 continues after epochs 2, 6, 18, 54, 162, …"


def test_one_bracket_of_hyperband_is_successive_halving():
    one = PrunerSettings("hyperband", min_resource=2, max_resource=18, eta=3, brackets=1)
    rule = pruners.make(one, "a study")
    assert brackets(one) == 1 and bracket_budgets(one) == [1]
    assert {rule.bracket(number) for number in range(50)} == {0}
    assert "1 bracket," in one.describe() and "later brackets" not in one.describe()


def test_no_more_brackets_than_there_are():
    settings = PrunerSettings("hyperband", min_resource=2, max_resource=18, eta=3, brackets=9)
    assert brackets(settings) == 3
