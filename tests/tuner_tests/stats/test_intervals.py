"""Intervals of means, against scipy's."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tuner.stats.intervals import t_interval

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20).filter(lambda v: max(v) - min(v) > 1e-3)


@given(VALUES, st.floats(0.5, 0.99))
def test_the_interval_is_scipys(values: list[float], level: float) -> None:
    mean, low, high = t_interval(values, level)
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)


def test_one_value_has_an_infinite_interval() -> None:
    assert t_interval([2.0]) == (2.0, -math.inf, math.inf)


def test_equal_values_have_an_interval_of_width_zero() -> None:
    assert t_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_no_values_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])
