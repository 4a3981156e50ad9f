"""A trial that has stopped improving is pruned; a study that has stopped improving ends. Both say so."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tuner.__main__ import main
from tuner.base.errors import InputError
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.study_file import StudyFile
from tuner.search import pruners, stopping

MakeStudy = Callable[..., StudyFile]
optuna.logging.set_verbosity(optuna.logging.ERROR)


def stops_after(values: Sequence[float], settings: PrunerSettings, direction: str) -> tuple[int, str] | None:
    """The epoch after which a trial with these values is pruned, and why; None: it runs to its end."""
    study = optuna.create_study(direction=direction)
    trial, rule = study.ask(), pruners.make(settings, "a study")
    for epoch, value in enumerate(values, 1):
        trial.report(value, epoch)
        if rule.should_prune(study, trial):
            return epoch, rule.explain(study, trial)
    return None


@pytest.mark.parametrize(
    ("values", "direction", "expected"),
    [
        ([3, 2, 1, 1, 1], "minimize", (5, "epoch 5: no better value for 2 epochs (best: 1 at epoch 3)")),
        ([1, 2, 3, 2.5, 3], "maximize", (5, "epoch 5: no better value for 2 epochs (best: 3 at epoch 3)")),
        ([3, 3.5, 2, 2.5, 1, 2, 0], "minimize", None),
        ([math.nan, math.nan], "minimize", (2, "epoch 2: no better value for 2 epochs")),
    ],
)
def test_patience_counts_epochs_since_the_best(
    values: list[float], direction: str, expected: tuple[int, str] | None
) -> None:
    assert stops_after(values, PrunerSettings(patience=2), direction) == expected


def test_patience_comes_besides_another_rule() -> None:
    settings = PrunerSettings("median", startup_trials=1, warmup=1, patience=3)
    assert settings.describe().endswith("also after 3 epochs without a better value")
    study = optuna.create_study()
    study.add_trial(create_trial(value=1.0, intermediate_values={1: 1.0}))
    rule, trial = pruners.make(settings, "a study"), study.ask()
    trial.report(2.0, 1)
    assert rule.should_prune(study, trial)
    assert rule.explain(study, trial).startswith("epoch 1: 2; better half")


def test_the_keys_are_checked(make_study: MakeStudy) -> None:
    file = make_study(**{"max_epochs: 4": "max_epochs: 4\n  patience: 2\n  stop: {no_gain: 3}"})
    assert (file.pruner.patience, file.stop.no_gain) == (2, 3)
    with pytest.raises(InputError, match="did you mean 'no_gain'"):
        make_study(**{"max_epochs: 4": "stop: {nogain: 3}"})
    with pytest.raises(InputError, match="patience"):
        make_study(**{"max_epochs: 4": "patience: 0"})


def ended(*values: float | None) -> list[optuna.trial.FrozenTrial]:
    """Trials that ended in this order; None: pruned."""
    study = optuna.create_study(direction="maximize")
    for value in values:
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        study.add_trial(create_trial(value=value, state=state))
    return study.get_trials()


def test_a_study_stops_when_nothing_gains(make_study: MakeStudy) -> None:
    file = make_study(**{"max_epochs: 4": "max_epochs: 4\n  stop: {no_gain: 3}"})
    assert stopping.no_gain(ended(0.5, 0.9, 0.1, None), file) is None
    assert stopping.no_gain(ended(0.5, 0.9, 0.1, None, 0.91), file) is None
    assert stopping.no_gain(ended(None, None, None, None), file) is None
    reason = stopping.no_gain(ended(0.5, 0.9, 0.1, None, 0.9), file)
    assert reason == "no gain: none of the latest 3 trials beat trial 1 (score 0.9)"


def with_runs(*trials: tuple[float, ...]) -> list[optuna.trial.FrozenTrial]:
    """Trials of several runs, one value a seed."""
    study = optuna.create_study(direction="maximize")
    for values in trials:
        runs = [{"name": f"seed {n}", "metrics": {"score": value}} for n, value in enumerate(values, 1)]
        mean = sum(values) / len(values)
        study.add_trial(create_trial(value=mean, user_attrs={"repeats": runs}))
    return study.get_trials()


def test_a_study_stops_when_its_best_trial_clearly_leads(make_study: MakeStudy) -> None:
    file = make_study(**{"max_epochs: 4": "max_epochs: 4\n  seeds: 3\n  stop: {lead: 0.95, after: 3}"})
    noisy = (0.5, 0.9, 0.7)
    assert stopping.clear_lead(with_runs(noisy, (0.4, 0.8, 0.9), (0.1, 0.51, 0.3)), file) is None
    assert stopping.clear_lead(with_runs(noisy, (0.4, 0.8, 0.61)), file) is None  # too few trials
    reason = stopping.clear_lead(with_runs(noisy, (0.4, 0.81, 0.6), (0.1, 0.51, 0.3)), file)
    assert reason == (  # seed by seed it leads by 0.1, 0.09 and 0.1: scipy.stats.ttest_rel agrees
        "clear lead: trial 0 leads every other; closest is trial 1, by 0.0967 "
        "(95% interval 0.0823 to 0.111 over 3 runs each)"
    )


def test_a_lead_needs_several_runs_a_trial(make_study: MakeStudy) -> None:
    with pytest.raises(InputError, match="one run of a trial says nothing about its noise; add 'seeds: 3'"):
        make_study(**{"max_epochs: 4": "stop: {lead: 0.95}"})
    with pytest.raises(InputError, match=r"expected a level of confidence such as 0\.95, got 95"):
        make_study(**{"max_epochs: 4": "seeds: 3\n  stop: {lead: 95}"})


def test_a_study_whose_best_trial_leads_is_done_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "objective.py").write_text(
        "def train(config):\n    return {'score': config['x'] + 0.01 * config['seed'] * (1 + config['x'])}\n"
    )
    (tmp_path / "lead.yaml").write_text(
        "name: lead\nmethod: grid\nmetric: {name: score, goal: maximize}\n"
        "parameters: {x: {values: [0.9, 0.1, 0.2, 0.3, 0.4]}}\n"
        "tuner: {objective: 'objective.py:train', seeds: 3, stop: {lead: 0.9, after: 3}}\n"
    )
    words = ["study", str(tmp_path / "lead.yaml"), "--agents", "1", "--wandb", "off", "--json",
             "--results", str(tmp_path / "results")]  # fmt: skip
    for _ in range(2):  # it is done when it is called again
        assert main(words) == 0
        end = json.loads(capfd.readouterr().out)
        assert (end["complete"], end["best"][0]["score"]) == (3, pytest.approx(0.938))
        assert end["reason"].startswith(
            "clear lead: trial 0 leads every other; closest is trial 2, by 0.714 "
        )


STUDY = """
name: flat
method: grid
metric: {name: score, goal: maximize}
parameters: {x: {values: [0.9, 0.1, 0.2, 0.3, 0.4, 0.95]}}
tuner:
  objective: "objective.py:train"
  max_epochs: 8
  patience: 3
  stop: {no_gain: 3}
"""
OBJECTIVE = """
def train(config, report):
    for epoch in range(8):
        report(epoch, {"score": config["x"] + 0.001 * epoch * (config["x"] == 0.9)})
    return {"score": config["x"]}
"""


def test_both_in_a_study_that_is_resumed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "objective.py").write_text(OBJECTIVE)
    (tmp_path / "flat.yaml").write_text(STUDY)
    words = ["study", str(tmp_path / "flat.yaml"), "--agents", "1", "--wandb", "off", "--json",
             "--results", str(tmp_path / "results")]  # fmt: skip

    assert main(words) == 0
    said = capfd.readouterr()
    assert "pruned at epoch 4: no better value for 3 epochs (best: 0.3 at epoch 1)" in said.err
    end = json.loads(said.out)
    assert (end["complete"], end["pruned"]) == (1, 3)
    assert end["reason"] == "no gain: none of the latest 3 trials beat trial 0 (score 0.9)"

    assert main(words) == 0
    assert json.loads(capfd.readouterr().out)["pruned"] == 3

    (tmp_path / "flat.yaml").write_text(STUDY.replace("no_gain: 3", "no_gain: 30"))
    assert main(words) == 0
    assert json.loads(capfd.readouterr().out)["reason"] == "all 6 points tried"
