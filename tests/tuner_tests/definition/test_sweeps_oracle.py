"""What W&B's `sweeps` package draws, enumerates and stops, we do too (answers: oracle/record_sweeps.py)."""

import hashlib
import importlib.util
import json
import math
from pathlib import Path

import optuna
import pytest

from tuner.base.errors import InputError
from tuner.definition import export
from tuner.definition.loading import load_study_file, shipped
from tuner.definition.pruner_settings import PrunerSettings
from tuner.search.pruners import WandbHyperband

ORACLE = Path(__file__).parent / "oracle"
ANSWERS = json.loads((ORACLE / "sweeps_answers.json").read_text())


def load(tmp_path, content):
    """A study of `content`; a program is named so that parameter names are free."""
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps({"program": "train.py", **content}))
    return load_study_file(path)


def space_of(tmp_path, parameters):
    return load(tmp_path, {"method": "random", "parameters": parameters}).space


def equal(ours, theirs):
    """The same value of the same type; floats may differ in the last bits between numpy's and libm's exp."""
    if isinstance(theirs, float):
        return type(ours) is float and math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-300)
    return type(ours) is type(theirs) and ours == theirs


def test_every_distribution_draws_what_wandb_draws(tmp_path):
    compared, kinds = 0, set()
    for record in ANSWERS["draws"]:
        (parameter,) = space_of(tmp_path, {"p": record["parameter"]}).parameters
        kinds.add(parameter.distribution.kind)
        for u, theirs in zip(ANSWERS["u"], record["draws"], strict=True):
            assert equal(parameter.distribution.quantile(u), theirs), (record["parameter"], u)
            compared += 1
    assert len(kinds) == 18 and compared > 3000  # the nineteenth, nested parameters, is compared below


def test_suggested_values_are_the_distributions_quantiles(tmp_path):
    """What Optuna is asked for has the declared distribution: its quantiles are W&B's."""
    for record in ANSWERS["draws"]:
        (parameter,) = space_of(tmp_path, {"p": record["parameter"]}).parameters
        if parameter.distribution.kind == "constant":
            continue
        asked = parameter.distribution.optuna()
        for u, theirs in zip(ANSWERS["u"], record["draws"], strict=True):
            match asked:
                case optuna.distributions.CategoricalDistribution():
                    param = asked.choices[math.ceil(u * len(asked.choices)) - 1]
                case optuna.distributions.IntDistribution():
                    param = math.ceil(u * (asked.high - asked.low + 1)) + asked.low - 1
                case optuna.distributions.FloatDistribution(log=True):
                    param = asked.low * (asked.high / asked.low) ** u
                case optuna.distributions.FloatDistribution():
                    param = asked.low + u * (asked.high - asked.low)
            value = parameter.distribution.from_param(param)
            close = isinstance(theirs, float) and math.isclose(value, theirs, rel_tol=1e-9, abs_tol=1e-12)
            assert close or equal(value, theirs), (record["parameter"], u)


@pytest.mark.parametrize("record", ANSWERS["grids"], ids=lambda r: ",".join(r["parameters"]))
def test_grid_is_wandbs_in_its_order(tmp_path, record):
    study = load(tmp_path, {"method": "grid", "parameters": record["parameters"]})
    points = [json.dumps(point, sort_keys=True) for point in study.space.grid()]
    theirs = [json.dumps(point, sort_keys=True) for point in record["points"]]
    if theirs:
        assert points == theirs
    else:  # nothing but constants: W&B's grid has no end, ours is one configuration
        assert len(points) == 1
    assert study.run_cap == len(points)


def test_nested_configurations_are_wandbs(tmp_path):
    for record in ANSWERS["random"]:
        space = space_of(tmp_path, record["parameters"])
        drawn = {p.name: p.distribution.quantile(record["u"][p.name]) for p in space.searched}
        params = {p.name: p.distribution.to_param(drawn[p.name]) for p in space.searched}
        assert space.config_of(params) == record["config"]


@pytest.mark.slow
def test_early_terminate_decides_as_wandb_on_thousands_of_studies():
    spec = importlib.util.spec_from_file_location("histories", ORACLE / "histories.py")
    histories = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(histories)
    decisions = stops = 0
    for seed, answer in enumerate(ANSWERS["hyperband"].split()):
        settings, goal, trials = histories.hyperband_case(seed)
        values = {"kind": "wandb_hyperband", **{k: v for k, v in settings.items() if k != "type"}}
        if answer == "-":
            with pytest.raises(InputError, match="no epoch to stop at"):
                PrunerSettings(**values)
            continue
        rule = WandbHyperband(PrunerSettings(**values))
        study = FakeStudy(goal, [frozen(n, history) for n, (_, history) in enumerate(trials)])
        ours = ""
        for trial, (running, _) in zip(study.trials, trials, strict=True):
            ours += "01"[rule.should_prune(study, trial)] if running else "."
        assert ours == answer, seed
        decisions += sum(letter in "01" for letter in answer)
        stops += answer.count("1")
    assert decisions > 15_000 and stops > 2_000


def test_files_are_taken_and_refused_as_by_wandb(tmp_path):
    refused = 0
    for record in ANSWERS["verdicts"]:
        path = tmp_path / "sweep.yaml"
        path.write_text(json.dumps({"program": "train.py", **record["file"]}))
        if record["accepted"]:
            load_study_file(path)
        else:
            refused += 1
            with pytest.raises(InputError, match=r"sweep\.yaml:\d+: '"):
                load_study_file(path)
    assert refused > 20


@pytest.mark.parametrize("name", shipped())
def test_exports_of_shipped_studies_are_those_that_wandb_accepted(name):
    text = export.wandb_yaml(load_study_file(name))
    recorded = ANSWERS["exports"].get(name)
    assert hashlib.sha256(text.encode()).hexdigest() == recorded, "changed: run oracle/record_sweeps.py again"


class FakeStudy:
    """What a stopping rule reads of a study."""

    def __init__(self, goal, trials):
        self.directions = [optuna.study.StudyDirection[goal.upper()]]
        self.trials = trials

    def get_trials(self, deepcopy=False, states=None):
        return self.trials


def frozen(number, history):
    reported = {step: float(value) for step, value in enumerate(history, start=1) if value is not None}
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, intermediate_values=reported)
    trial.number = number
    return trial
