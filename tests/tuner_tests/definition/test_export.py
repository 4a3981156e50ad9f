"""Exports: pure W&B files that both versions of YAML read alike."""

import pytest
import yaml

from tuner.definition import export
from tuner.definition.loading import load_study_file, shipped

WANDB_FILE = """\
method: bayes
name: a sweep
program: train.py
metric: {name: loss, goal: minimize}
early_terminate: {type: hyperband, min_iter: 3}
parameters:
  lr: {min: 1e-5, max: 1e-1, distribution: log_uniform_values}
  text: {values: ["1e5", "on", "0o7", "yes", null, plain]}
  outer: {parameters: {inner: {values: [[1, 2], {a: 1.5}]}}}
"""


def test_a_file_that_came_from_wandb_leaves_as_it_came(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(WANDB_FILE)
    study = load_study_file(path)
    assert export.wandb_sweep(study) == study.raw


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_study_leaves_without_our_keys(name, tmp_path):
    study = load_study_file(name)
    path = tmp_path / "sweep.yaml"
    path.write_text(export.wandb_yaml(study))
    assert "tuner" not in yaml.safe_load(path.read_text())


def test_both_versions_of_yaml_read_the_same(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(WANDB_FILE)
    study = load_study_file(path)
    path.write_text(export.wandb_yaml(study))
    as_1_1, as_1_2 = yaml.safe_load(path.read_text()), load_study_file(path).raw
    assert as_1_1 == as_1_2 == study.raw


def test_what_wandb_has_no_word_for_is_said():
    assert "left out, W&B has no such key: when, points" in export.wandb_yaml(
        load_study_file("warmup_optimization")
    )


def test_a_winners_configuration_is_readable_yaml():
    assert yaml.safe_load(export.config_yaml({"lr": 1e-5, "bucket": None})) == {"lr": 1e-5, "bucket": None}
