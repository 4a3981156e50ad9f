"""A dictionary space means what the same study file means."""

from typing import Any

import numpy as np
import pytest

from tuner.base.errors import InputError
from tuner.definition.in_python import log, normal, steps, study_from_python
from tuner.definition.study_file import StudyFile


def study(space: Any, **own: Any) -> StudyFile:
    return study_from_python("s", space, metric="loss", goal="minimize", method="bayes", own=own)


@pytest.mark.parametrize(
    ("given", "kind", "described"),
    [
        ((0, 9), "int_uniform", "0 to 9"),
        ((0.0, 9), "uniform", "0 to 9"),
        ((np.int64(0), np.int64(9)), "int_uniform", "0 to 9"),
        (["a", "b"], "categorical", "one of a, b"),
        ([None, 0.5], "categorical", "one of null, 0.5"),
        ([(3, 3), (5, 5)], "categorical", "one of [3, 3], [5, 5]"),
        (log(0.001, 1), "log_uniform_values", "0.001 to 1, log scale"),
        (log(1, 1000), "q_log_uniform_values", "1 to 1000, log scale in steps of 1"),
        (steps(0.0, 1.0, 0.25), "q_uniform", "0 to 1 in steps of 0.25"),
        (normal(0.0, 2.0), "normal", "normal with mu 0, sigma 2"),
        ({"min": 1, "max": 3}, "int_uniform", "1 to 3"),
        ({"distribution": "beta", "a": 2}, "beta", "beta with a 2, b 1"),
        (5, "constant", "always 5"),
        ("adam", "constant", "always adam"),
        (np.float32(0.5), "constant", "always 0.5"),
    ],
)  # fmt: skip
def test_a_shorthand_is_a_distribution(given: Any, kind: str, described: str) -> None:
    (parameter,) = study({"x": given}).space.parameters
    assert parameter.distribution.kind == kind
    assert parameter.distribution.describe().startswith(described)


def test_shorthands_work_in_nested_parameters() -> None:
    space = {"optimizer": {"parameters": {"lr": log(1e-4, 1e-1), "betas": [0.9, 0.99]}}}
    assert [p.name for p in study(space).space.parameters] == ["optimizer.lr", "optimizer.betas"]


def test_the_tuners_own_keys_are_kept_and_absent_ones_left_out() -> None:
    file = study({"x": (0, 1)}, constraints=["size < 9"], pruner=None)
    assert [str(c) for c in file.constraints] == ["size < 9"]
    assert file.raw["tuner"] == {"constraints": ["size < 9"]}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "'parameters': expected at least one parameter"),
        ({"x": (1, True)}, "parameter 'x': expected (low, high)"),
        ({"a\nb": 1}, "expected a name of 1 to 500 printable"),
        ({"x": {"distributon": "beta"}}, "did you mean 'distribution'?"),
        ([1], "expected a dictionary as space, got [1]"),
        ({"x": print}, "'x': expected numbers, text, true or false"),
    ],
)
def test_a_mistake_names_study_and_parameter(space: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        study(space)
    assert said in str(error.value)
    assert ".yaml" not in str(error.value) and "/tmp" not in str(error.value)
