"""Confidence sequences: how often they miss when somebody looks after every round, and what they cost."""

import math

import numpy as np
import pytest

from tuner.claims import design
from tuner.claims.rounds import MOST_PAIRS
from tuner.stats import anytime

MATTERS = 0.7  # in units of the noise of a pair


def misses(
    *, claims: int, spread: float, looks: int, worlds: int, heavy: bool = False, drops: bool = True
) -> tuple[float, float]:
    """Shares of claims whose interval ever missed the truth, and whose interval decided them.

    Each claim stops as soon as it is decided, and leaves the runs of the others.
    """
    rng = np.random.default_rng(claims)
    missed = decided = 0
    for _ in range(worlds):
        truth = rng.normal(0, spread, claims)
        open_claims = list(range(claims))
        signs, y = np.zeros((0, claims)), np.zeros(0)
        wrong = np.zeros(claims, dtype=bool)
        for look in range(looks):
            groups = [[i] for i in range(len(open_claims))]
            rows = design.rows_of(groups, look == 0)
            made = np.zeros((rows, claims))
            made[:, open_claims] = design.signs(len(open_claims), rows, rng)
            noise = rng.standard_t(4, rows) / math.sqrt(2) if heavy else rng.normal(size=rows)
            signs, y = np.vstack([signs, made]), np.concatenate([y, made @ truth + noise])
            found = anytime.effects(signs, y)
            for claim in list(open_claims):
                effect = found[claim]
                if effect is None:
                    continue
                wrong[claim] |= not effect.low <= truth[claim] <= effect.high
                small = effect.low >= -MATTERS and effect.high <= MATTERS
                if drops and (small or effect.low > 0 or effect.high < 0):
                    open_claims.remove(claim)
            if not open_claims:
                break
        missed += int(wrong.sum())
        decided += claims - len(open_claims)
    return missed / (worlds * claims), decided / (worlds * claims)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claims", "spread", "heavy"),
    [(1, 0.5, False), (1, 0.0, True), (7, 0.5, False), (7, 5.0, False), (7, 0.5, True)],
    ids=["one claim", "no effect, heavy tails", "small effects", "large effects", "heavy tails"],
)
def test_at_most_one_interval_in_twenty_ever_misses(claims: int, spread: float, heavy: bool) -> None:
    worlds = 400 if claims == 1 else 40
    missed, _ = misses(claims=claims, spread=spread, looks=8, worlds=worlds, heavy=heavy)
    assert missed <= 0.05


def test_looking_on_after_a_decision_does_not_make_it_miss_more() -> None:
    missed, _ = misses(claims=1, spread=0.5, looks=20, worlds=300, drops=False)
    assert missed <= 0.05


def test_an_ordinary_interval_misses_far_more_often_when_one_looks_again_and_again() -> None:
    """The reason for all this."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 60))
    n = np.arange(5, 61)
    means = np.cumsum(x, axis=1)[:, 4:] / n
    assert np.mean((np.abs(means) * np.sqrt(n) > 1.96).any(axis=1)) > 0.2


def test_most_claims_are_decided_by_shared_runs() -> None:
    _, decided = misses(claims=7, spread=0.5, looks=8, worlds=25)
    assert decided > 0.7


def test_the_interval_of_one_claim_is_that_of_the_mean() -> None:
    y = np.array([0.3, 0.1, 0.2, 0.25, 0.15, 0.2])
    (effect,) = anytime.effects(np.ones((6, 1)), y)
    assert effect is not None
    assert math.isclose(effect.difference, 0.2) and math.isclose(effect.error, y.std(ddof=1) / math.sqrt(6))
    half = anytime.critical(6, 5) * effect.error
    assert math.isclose(effect.high - effect.difference, half)


def test_the_critical_value_is_the_root_of_the_e_value() -> None:
    n, freedom = 12, 9.0
    t = anytime.mixture(n, freedom)
    e = (1 + n) ** -0.5 * ((1 + t**2 / freedom) / (1 + t**2 / (freedom * (1 + n)))) ** ((freedom + 1) / 2)
    assert math.isclose(e, 20, rel_tol=1e-9)


def test_the_e_value_is_one_on_average_without_an_effect() -> None:
    """Of a martingale that starts at 1; the bound on how often it reaches 20 follows."""
    n, rng = 8, np.random.default_rng(0)
    x = rng.normal(size=(200_000, n))
    t2 = n * x.mean(1) ** 2 / x.var(1, ddof=1)
    freedom = n - 1
    e = (1 + n) ** -0.5 * ((1 + t2 / freedom) / (1 + t2 / (freedom * (1 + n)))) ** (n / 2)
    assert abs(e.mean() - 1) < 0.03


def test_at_the_number_of_pairs_at_which_claims_are_given_up_the_interval_is_a_fourth_narrower() -> None:
    n = MOST_PAIRS
    assert anytime.critical(n, n - 1) < 0.8 * anytime.mixture(n, n - 1)


def test_a_huge_effect_is_seen_as_early_as_by_the_ratio_of_likelihoods_alone() -> None:
    assert anytime.critical(5, 4) <= anytime.mixture(5, 4, level=1 - 0.05 * anytime.CLAIMS.rest)


def test_normal_sums_leave_the_interval_for_a_horizon_no_more_often_than_promised() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2000, int(anytime.CLAIMS.horizons[0][0])))
    n = np.arange(1, x.shape[1] + 1)
    sums = x.cumsum(axis=1)
    noise = np.sqrt(((x**2).cumsum(axis=1) - sums**2 / n)[:, 3:] / (n[3:] - 1))
    reach = np.array([anytime.critical(k, k - 1.0) for k in n[3:]])
    left = np.abs(sums[:, 3:]) > reach * np.sqrt(n[3:]) * noise
    assert 0.005 < np.mean(left.any(axis=1)) <= 0.05


def test_what_has_too_few_runs_is_unknown() -> None:
    assert anytime.critical(3, 0) == math.inf
    assert anytime.effects(np.ones((1, 1)), np.array([1.0])) == [None]
    twice = np.array([[1.0, 1.0]] * 6)  # two claims that were always varied together
    first, second = anytime.effects(twice, np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95]))
    assert first is None or first.low < 0 < first.high
    assert second is None or second.low < 0 < second.high


def test_noisy_pairs_of_another_effect_alone_do_not_widen_an_interval() -> None:
    rng = np.random.default_rng(2)
    signs = np.column_stack([np.zeros(16), design.signs(2, 16, rng)])
    y = rng.normal(0, 0.01, 16)
    alone = np.tile([1.0, 0.0, 0.0], (6, 1))
    before = anytime.effects(signs, y)[1]
    after = anytime.effects(np.vstack([signs, alone]), np.append(y, rng.normal(0.3, 0.2, 6)))
    assert before is not None and after[1] is not None and after[0] is not None
    assert math.isclose(after[1].high - after[1].low, before.high - before.low)
    assert after[0].noise > 0.1, "an effect that was only varied alone has the noise of its own pairs"


def test_runs_without_noise_leave_no_doubt() -> None:
    (effect,) = anytime.effects(np.ones((4, 1)), np.full(4, 0.25))
    assert effect is not None and effect.low == effect.difference == effect.high


@pytest.mark.parametrize("others", [0, 1])
def test_two_pairs_that_agree_by_chance_are_no_certainty(others: int) -> None:
    signs = np.hstack([np.ones((2, 1)), np.zeros((2, others))])
    (found, *_) = anytime.effects(signs, np.array([-0.0086, -0.0086]))
    assert found is not None and math.isinf(found.high - found.low)
    (found, *_) = anytime.effects(np.ones((4, 1)), np.full(4, -0.0086))
    assert found is not None and found.low == found.high, "runs that repeat exactly"
