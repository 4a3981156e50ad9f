"""Configurations as draws from one population: closed forms, and how often the intervals hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.stats import population, two_way
from tuner.stats.noise import UNKNOWN, Noise
from tuner.stats.runs import in_rounds, paired

Runs = list[tuple[int, int, float]]


def drawn(
    rng: np.random.Generator, *, spread: float, levels: int = 4, rounds: int = 4, noise: float = 1.0
) -> tuple[list[float], Runs]:
    """True values, and runs in rounds that add something to all."""
    truth = rng.normal(0, spread, levels)
    offsets = rng.normal(0, 3, rounds)
    runs = [
        (i, k, float(truth[i] + offsets[k] + rng.normal(0, noise)))
        for k in range(rounds)
        for i in range(levels)
    ]
    return [float(value) for value in truth], runs


def test_far_apart_each_configuration_stands_for_itself() -> None:
    _, runs = drawn(np.random.default_rng(0), spread=1000.0)
    plain, found = two_way.fit(runs, 4), population.fit(runs, 4)
    best = int(np.argmax(plain.means))
    other = (best + 1) % 4
    lead = found.compare(best, other)
    assert lead is not None
    assert lead.difference == pytest.approx(plain.means[best] - plain.means[other], rel=1e-3)
    assert found.best(range(4))[best] > 0.999


def test_close_together_the_best_is_pulled_towards_the_others() -> None:
    _, runs = drawn(np.random.default_rng(1), spread=0.0)
    plain, found = two_way.fit(runs, 4), population.fit(runs, 4)
    best, worst = int(np.argmax(plain.means)), int(np.argmin(plain.means))
    lead = found.compare(best, worst)
    assert lead is not None
    assert 0 < lead.difference < 0.7 * (plain.means[best] - plain.means[worst])


def test_the_posterior_given_a_ratio_is_that_of_the_closed_form() -> None:
    """Balanced runs: a mean is shrunk by n ρ² / (1 + n ρ²), its difference has twice the variance."""
    _, runs = drawn(np.random.default_rng(2), spread=1.0, rounds=5)
    plain, posterior = two_way.fit(runs, 4), population.fit(runs, 4).posterior
    assert posterior is not None
    for place, ratio in enumerate(population.RATIOS):
        shrunk = 5 * ratio**2 / (1 + 5 * ratio**2)
        mean = posterior.means[place, 1] - posterior.means[place, 0]
        assert mean == pytest.approx(shrunk * (plain.means[1] - plain.means[0]), rel=1e-6)
        covariance = posterior.covariances[place]
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        within = plain.noise**2 * plain.freedom
        means = np.array(plain.means)
        between = float(((means - means.mean()) ** 2).sum()) / (1 / 5 + ratio**2)
        noise = (within + between) / (plain.freedom + 3)
        assert variance == pytest.approx(2 * shrunk / 5 * noise, rel=1e-6)


def test_known_noise_counts_as_so_many_degrees_of_freedom() -> None:
    _, runs = drawn(np.random.default_rng(3), spread=1.0, rounds=2)
    wide = population.fit(runs, 4).compare(0, 1)
    narrow = population.fit(runs, 4, Noise(0.3, 200)).compare(0, 1)
    assert wide is not None and narrow is not None
    assert narrow.high - narrow.low < 0.6 * (wide.high - wide.low)


def test_the_order_of_two_configurations_turns_the_answer_round() -> None:
    _, runs = drawn(np.random.default_rng(4), spread=1.0)
    found = population.fit(runs, 4)
    one, two = found.compare(0, 1), found.compare(1, 0)
    assert one is not None and two is not None
    assert one.difference == pytest.approx(-two.difference) and one.low == pytest.approx(-two.high)
    assert one.probability is not None and two.probability is not None
    assert one.probability + two.probability == pytest.approx(1)


def test_two_alone_are_compared_as_pairs() -> None:
    _, runs = drawn(np.random.default_rng(5), spread=1.0, levels=2)
    sides = [{k: v for i, k, v in runs if i == side} for side in (0, 1)]
    found = in_rounds(sides[0], sides[1], [], UNKNOWN)
    pairs = paired([sides[0][k] - sides[1][k] for k in sides[0]])
    assert found is not None
    assert (found.difference, found.low, found.high) == pytest.approx(
        (pairs.difference, pairs.low, pairs.high)
    )


def test_runs_that_no_round_connects_are_not_compared() -> None:
    runs = [(0, 0, 1.0), (1, 0, 2.0), (0, 1, 1.1), (1, 1, 2.2), (2, 2, 3.0), (2, 3, 3.2)]
    assert population.fit(runs, 3).compare(0, 2) is None


def test_without_any_noise_there_is_no_interval() -> None:
    runs = [(i, k, float(i)) for i in range(3) for k in range(3)]
    found = population.fit(runs, 3)
    lead = found.compare(2, 0)
    assert lead is not None and lead.interval is None
    assert lead.difference == pytest.approx(2)
    assert found.better(2, 0) is None


def misses_at_the_stop(spread: float, *, levels: int, worlds: int, heavy: bool = False) -> float:
    """How often the interval of the best misses where somebody looks several times and stops once it is clear
    of zero. After three rounds only the best and the first go on.
    """
    rng, missed = np.random.default_rng(levels), 0
    for _ in range(worlds):
        truth = rng.normal(0, spread, levels)
        noise = rng.standard_t(4, (levels, 12)) / math.sqrt(2) if heavy else rng.normal(size=(levels, 12))
        runs = truth[:, None] + noise + rng.normal(0, 3, 12)
        best = 1 + int(runs[1:, :3].mean(axis=1).argmax())
        for rounds in (3, 5, 8, 12):
            inside = [(i, k) for i in range(levels) for k in range(rounds) if k < 3 or i in (0, best)]
            found = population.fit([(i, k, float(runs[i, k])) for i, k in inside], levels)
            lead = found.compare(best, 0)
            assert lead is not None
            if not lead.low <= 0 <= lead.high:
                break
        missed += not lead.low <= truth[best] - truth[0] <= lead.high
    return missed / worlds


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_the_interval_of_the_best_holds_where_one_stops(spread: float) -> None:
    """However far apart: 5 % of intervals miss. The bound leaves room for the luck of 150 worlds."""
    assert misses_at_the_stop(spread, levels=4, worlds=150) < 0.1


def test_the_interval_holds_with_heavy_tails() -> None:
    assert misses_at_the_stop(0.5, levels=4, worlds=150, heavy=True) < 0.1
