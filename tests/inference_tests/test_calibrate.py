"""Temperatures against logits whose temperature is known, and calibration error against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from inference.calibrate import confidence, ece, ece_by_chance, ece_interval, quality
from inference.scaling import COLDEST, HOTTEST, HeadSamples, Scaling, exact_temperature, fit, with_exponent


def drawn(temperature: float, *, count: int, classes: int = 6, seed: int = 0) -> HeadSamples:
    """Samples whose gold classes follow softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, classes))
    noisy = logits / temperature + rng.gumbel(size=logits.shape)
    return HeadSamples((logits,), (noisy.argmax(axis=1),), (rng.integers(0, 8, count),))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_finds_the_temperature_that_the_samples_were_drawn_with(temperature: float) -> None:
    assert exact_temperature(drawn(temperature, count=20_000)) == pytest.approx(temperature, rel=0.05)


@given(st.integers(0, 1000), st.floats(0.3, 3.0), st.integers(20, 300))
@example(16, 3.0, 20)  # its minimum is hotter than HOTTEST
@settings(max_examples=25, deadline=None)
def test_is_the_minimum_that_scipy_finds(seed: int, temperature: float, count: int) -> None:
    samples = drawn(temperature, count=count, seed=seed)
    found = exact_temperature(samples, prior=2.0)

    def loss(log_beta: float) -> float:
        beta = np.exp(log_beta)
        return count * samples.nll(Scaling(1 / beta)) + (beta - 1) ** 2

    within = (-np.log(HOTTEST), -np.log(COLDEST))
    oracle = minimize_scalar(loss, bounds=within, method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(np.exp(-oracle.x), rel=1e-3)


def test_few_samples_stay_near_one_and_none_are_one() -> None:
    one = HeadSamples((np.array([[5.0, 0.0]]),), (np.array([0]),), (np.array([0]),))
    assert 0.3 < exact_temperature(one) <= 1.0
    assert exact_temperature(HeadSamples((), (), ())) == 1.0


def test_calibration_lowers_error_and_likelihood_never_rises() -> None:
    samples = drawn(0.4, count=5000)
    best = Scaling(exact_temperature(samples))
    before, after = (quality(samples, scaling, own=best) for scaling in (Scaling(), best))
    assert after.nll < before.nll
    assert after.brier < before.brier
    assert after.ece < 0.02 < before.ece
    assert before.ece_low <= before.ece <= before.ece_high


def test_ece_is_the_mean_gap_over_equal_masses() -> None:
    sure = np.array([0.2, 0.2, 0.9, 0.9])
    right = np.array([True, False, True, True])
    assert ece(sure, right, bins=2) == pytest.approx((abs(0.2 - 0.5) + abs(0.9 - 1.0)) / 2)
    assert ece(np.array([]), np.array([], dtype=bool)) == 0.0


def test_values_are_judged_among_those_of_their_parameter() -> None:
    samples = HeadSamples(
        (np.log([[0.9, 0.1]]), np.log([[0.2, 0.3, 0.5]])),
        (np.array([0]), np.array([1])),
        (np.array([0]),) * 2,
    )
    sure, right, _ = confidence(samples, Scaling())
    assert sure == pytest.approx([0.9, 0.5])
    assert right.tolist() == [True, False]


def test_one_recording_has_no_interval() -> None:
    assert ece_interval(np.array([0.5]), np.array([True]), np.array([3])) == (0.0, 1.0)


def bent(exponent: float, *, count: int) -> HeadSamples:
    """Samples whose gold classes follow a scaling with this exponent and temperature 1."""
    rng = np.random.default_rng(3)
    logits = 2 * rng.normal(size=(count, 6))
    noisy = Scaling(1.0, exponent).log_p(logits) + rng.gumbel(size=logits.shape)
    return HeadSamples((logits,), (noisy.argmax(axis=1),), (np.arange(count) % 12,))


def test_an_exponent_is_found_where_the_samples_have_one() -> None:
    found = fit(bent(1.8, count=4000))
    assert (found.temperature, found.exponent) == pytest.approx((1.0, 1.8), rel=0.1)
    samples = bent(1.8, count=4000)
    straight = quality(samples, Scaling(exact_temperature(samples)), own=found)
    assert straight.ece_fitted_here < 0.5 * straight.ece


@pytest.mark.parametrize("samples", [drawn(0.5, count=600), bent(1.8, count=8)], ids=["none", "few samples"])
def test_else_a_temperature_is_enough(samples: HeadSamples) -> None:
    assert fit(samples) == Scaling(exact_temperature(samples))


def test_an_exponent_keeps_the_order_of_the_classes() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7))
    assert (Scaling(0.7, 2.5).log_p(logits).argsort(axis=1) == logits.argsort(axis=1)).all()
    assert with_exponent(HeadSamples((), (), ())) == Scaling()


def test_a_perfect_head_has_an_error_by_chance_that_more_samples_lower() -> None:
    few, many = (ece_by_chance(np.full(count, 0.9)) for count in (300, 30_000))
    assert 0.02 < few < 0.08  # bins of 20: the mean deviation of a share of 0.9 is 0.054
    assert many < 0.1 * few + 0.002
