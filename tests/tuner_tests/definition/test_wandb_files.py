"""What a file from W&B means here: values as PyYAML reads them, and the schedulers of wandb 0.31."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tuner.base.errors import InputError
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile

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
        ("{engine: ax}", "Ax cannot be run here"),
        ("{engine: optuna, source: opt.py, optimizer: make}", "'scheduler.source': a function of W&B's"),
        ("{settings: {sampler: {type: BoTorchSampler}}}", "expected one of TPESampler"),
        ("{settings: {sampler: {type: TPESampler, args: {gamma: 3}}}}", "unknown argument of TPESampler"),
        ("{settings: {pruner: {type: MedianPruner, args: {n_min: 3}}}}", "unknown argument of MedianPruner"),
        ("{engin: optuna}", "did you mean 'engine'?"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(load: Load, scheduler: str, message: str) -> None:
    with pytest.raises(InputError, match=r"sweep\.yaml:7: ") as caught:
        load(SWEEP.format(method="bayes", values="{min: 0.0, max: 1.0}") + f"scheduler: {scheduler}\n")
    assert message in str(caught.value)
