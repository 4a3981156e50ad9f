"""What a file from W&B means here: values as PyYAML reads them, and the schedulers of wandb 0.31."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.definition.scheduler import OURS, classes
from tuner.definition.study_file import StudyFile
from tuner.search import pruners, samplers

STARTED = optuna.trial.create_trial(value=1.0, intermediate_values={1: 0.5})
Load = Callable[[str], StudyFile]
SWEEP = """\
program: train.py
method: {method}
run_cap: 4
metric: {{name: loss, goal: minimize}}
parameters:
  x: {values}
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The study of a sweep file with this text."""

    def make(text: str) -> StudyFile:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_study_file(path)

    return make


def values(load: Load, text: str, more: str = "") -> list[object]:
    (parameter,) = load(SWEEP.format(method="random", values=f"{{values: {text}}}") + more).space.parameters
    return list(parameter.distribution.values)  # type: ignore[union-attr]


def test_a_file_of_wandbs_means_what_pyyaml_reads(load: Load) -> None:
    assert values(load, "[yes, no, 'yes', off]") == [True, False, "yes", False]
    assert values(load, "[010, 1:30, 9]") == [8, 90, 9]
    assert values(load, "[{size: 010}, [on]]") == [{"size": 8}, [True]]


def test_a_file_of_ours_is_yaml_1_2(load: Load) -> None:
    assert values(load, "[yes, no]", more="tuner: {max_epochs: 3}\n") == ["yes", "no"]


def test_a_number_that_pyyaml_reads_as_text_stays_a_number_and_is_said_once(load: Load) -> None:
    study = load(SWEEP.format(method="random", values="{min: 1e-4, max: 1e-2}"))
    assert study.notes == ("1e-4, 1e-2: read as numbers (`wandb sweep` reads them as text)",)
    assert study.space.parameters[0].distribution.bounds == (1e-4, 1e-2)  # type: ignore[union-attr]
    assert load(SWEEP.format(method="random", values="{min: 0.1, max: 0.2}")).notes == ()


def test_the_optuna_engine_and_its_settings_are_run(load: Load) -> None:
    sweep = SWEEP.format(method="bayes", values="{min: 0.0, max: 1.0}")
    assert load(f"{sweep}scheduler: {{engine: wandb}}\n").sampler == "tpe"
    study = load(
        f"{sweep}scheduler:\n  engine: optuna\n  settings:\n"
        "    sampler: {type: CmaEsSampler, args: {seed: 3}}\n"
        "    pruner:\n      type: HyperbandPruner\n"
        "      args: {min_resource: 2, max_resource: 18, reduction_factor: 3}\n"
    )
    assert study.sampler == "cmaes"
    pruner = study.pruner
    assert (pruner.kind, pruner.min_resource, pruner.max_resource, pruner.eta) == ("hyperband", 2, 18, 3)
    ours = load(f"{sweep}scheduler: {{engine: optuna}}\ntuner: {{sampler: random}}\n")
    assert ours.sampler == "random", "our own key goes before"


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("{engine: ax}", "Ax keeps its trials in an experiment of its own; for a Gaussian process"),
        ("{engine: optuna, source: opt.py}", "expected the name of a function in it"),
        ("{engine: optuna, search_space: draw}", "the Python file that has the function, as 'source'"),
        ("{settings: {optuna_source: a.py}}", "a program of W&B Launch; name its functions as scheduler"),
        ("{settings: {sampler: {type: BoTorchSampler}}}", "TPESampler"),
        ("{settings: {sampler: {type: TPESampler, args: {gama: 3}}}}", "'gama' (it takes: consider_prior"),
        (
            "{settings: {pruner: {type: MedianPruner, args: {n_min: 3}}}}",
            "'n_min' (it takes: n_startup_trials",
        ),
        ("{settings: {pruner: {type: PercentilePruner, args: {percentile: 101}}}}", "Percentile"),
        (
            "{settings: {pruner: {type: PatientPruner, args: {wrapped_pruner: {type: Median}}}}}",
            "Optuna has no pruner 'Median'; did you mean 'MedianPruner'?",
        ),
        ("{engin: optuna}", "did you mean 'engine'?"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(load: Load, scheduler: str, message: str) -> None:
    with pytest.raises(InputError, match=r"sweep\.yaml:7: ") as caught:
        load(SWEEP.format(method="bayes", values="{min: 0.0, max: 1.0}") + f"scheduler: {scheduler}\n")
    assert message in str(caught.value)


PRUNERS = {
    "MedianPruner": {"n_min_trials": 2},
    "PercentilePruner": {"percentile": 25.0, "n_warmup_steps": 1},
    "PatientPruner": {"wrapped_pruner": {"type": "MedianPruner"}, "patience": 2},
    "ThresholdPruner": {"upper": 10.0},
    "WilcoxonPruner": {"p_threshold": 0.2},
    "HyperbandPruner": {"min_resource": 1, "bootstrap_count": 2, "max_resource": 9},
    "SuccessiveHalvingPruner": {"min_early_stopping_rate": 1},
    "NopPruner": {},
}
SAMPLERS = {
    "GridSampler": {"search_space": {"x": [0.0, 0.5]}},
    "PartialFixedSampler": {"fixed_params": {"x": 0.5}, "base_sampler": {"type": "RandomSampler"}},
    "TPESampler": {"n_startup_trials": 3},
    "NSGAIISampler": {"population_size": 4},
    "CmaEsSampler": {"popsize": 4},
    "GPSampler": {"n_startup_trials": 3},
    "QMCSampler": {"qmc_type": "halton"},
}


def test_every_pruner_of_optunas_has_its_name(load: Load) -> None:
    assert PRUNERS.keys() == classes("pruner").keys()
    for name, arguments in PRUNERS.items():
        scheduler = json.dumps({"settings": {"pruner": {"type": name, "args": arguments}}})
        sweep = SWEEP.format(method="bayes", values="{min: 0.0, max: 1.0}")
        pruner = load(f"{sweep}scheduler: {scheduler}\n").pruner
        ours = load(f"{sweep}tuner: {{pruner: {json.dumps({'type': name, **arguments})}}}\n").pruner
        assert pruner == ours and pruner.kind == ("none" if name == "NopPruner" else name)
        rule = pruners.make(pruner, "study")
        assert name in rule.explain(optuna.create_study(), STARTED) or name == "NopPruner"


def test_every_sampler_of_optunas_has_its_name(load: Load) -> None:
    for name in classes("sampler"):
        arguments = SAMPLERS.get(name, {})
        scheduler = json.dumps({"settings": {"sampler": {"type": name, "args": {**arguments, "seed": 1}}}})
        sweep = SWEEP.format(method="bayes", values="{min: 0.0, max: 1.0}")
        study = load(f"{sweep}scheduler: {scheduler}\n")
        ours = load(f"{sweep}tuner: {{sampler: {json.dumps({'type': name, **arguments})}}}\n")
        assert (ours.sampler, ours.scheduler.arguments) == (study.sampler, study.scheduler.arguments)
        if arguments or name not in OURS:
            assert study.sampler == name
            made = samplers.make(study, seed=3)
            assert type(made._base).__name__ == name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("job: me/it:latest\nscheduler: {job: me/s:latest}\n", "'job': is for W&B Launch"),
        ("image_uri: an/image\n", "'image_uri': is for W&B Launch"),
        ("program: train.py\nresource_args: {gpus: 1}\n", "'resource_args': is for W&B Launch"),
        ("program: train.py\nscheduler: {num_workers: 2}\n", "'scheduler.num_workers': is for W&B Launch"),
    ],
)
def test_a_file_for_launch_is_told_so_first(load: Load, text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        load(f"metric: {{name: loss}}\n{text}")
    assert told in str(caught.value) and "missing" not in str(caught.value)


@pytest.mark.parametrize(
    ("bounds", "noted"),
    [
        ("min: 0.0001, max: 0.1", True),
        ("min: -9, max: -2", False),
        ("min: 0, max: 1", False),
        ("min: 1, max: 6", False),
    ],
)
def test_exponents_that_look_like_values_are_said(load: Load, bounds: str, noted: bool) -> None:
    study = load(SWEEP.format(method="random", values=f"{{distribution: log_uniform, {bounds}}}"))
    assert any("_values" in note for note in study.notes) == noted
    if noted:
        assert "takes min and max as exponents of e, which gives 1 to 1.105" in study.notes[0]
