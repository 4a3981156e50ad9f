"""`--set KEY=VALUE` as values."""

import pytest

from tuner.base.command_line import settings
from tuner.base.errors import InputError


def test_values_are_json_where_they_are_json() -> None:
    pairs = [
        "epochs=5",
        "learning_rate=1e-3",
        "loss_type=focal",
        "digits=null",
        "ema=.9",
        "k=[1]",
        "a=b=c",
    ]
    assert settings(pairs) == {
        "epochs": 5,
        "learning_rate": 1e-3,
        "loss_type": "focal",
        "digits": None,
        "ema": ".9",
        "k": [1],
        "a": "b=c",
    }


def test_true_false_and_none_may_be_spelled_as_in_python() -> None:
    assert settings(["a=True", "b=False", "c=None"]) == {"a": True, "b": False, "c": None}


@pytest.mark.parametrize("pair", ["epochs", "=5", ""])
def test_a_pair_without_key_or_value_is_an_error(pair: str) -> None:
    with pytest.raises(InputError, match=f"expected KEY=VALUE, got '{pair}'"):
        settings([pair])


def test_a_key_that_is_given_twice_is_an_error() -> None:
    with pytest.raises(InputError, match="--set epochs: given twice"):
        settings(["epochs=1", "epochs=2"])
