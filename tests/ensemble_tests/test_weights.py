"""Weightings against oracles: scipy's optimiser, brute force, symmetry, duplicated members."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement, permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from ensemble.candidates import find
from ensemble.select import take
from ensemble.tables import Block, Table, Tables
from ensemble.weights import METHODS, em_weights, fit, greedy_weights, log_linear_weights


def random_table(seed: int, members: int = 3, positions: int = 60, classes: int = 5) -> Table:
    generator = np.random.default_rng(seed)
    gold = generator.integers(classes, size=positions)
    shared = generator.normal(size=(1, positions, classes))
    logits = shared + generator.normal(size=(members, positions, classes))
    logits[:, np.arange(positions), gold] += np.linspace(1.5, 2.5, members)[:, None]
    log_p = (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))).astype(np.float32)
    return Table.of("command", [Block(log_p, gold, np.arange(positions))], members=members)


@pytest.fixture
def tables(make_runs: Callable[..., list[Path]], results: Path) -> Tables:
    make_runs(4)
    ranked, skipped = find(results)
    taken = take(ranked, k=4, skipped=skipped)
    return Tables.of(taken.layout, taken.log_p)


def on_simplex(objective: Callable[[np.ndarray], float], members: int) -> np.ndarray:
    found = minimize(
        objective,
        np.full(members, 1 / members),
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return found.x


@pytest.mark.parametrize("seed", range(5))
def test_em_reaches_the_optimum_that_scipy_finds(seed: int) -> None:
    gold = random_table(seed, members=4).gold

    def nll(weights: np.ndarray) -> float:
        return -float(np.log(weights @ np.exp(gold)).mean())

    found = em_weights(gold)
    assert abs(found.sum() - 1) < 1e-9 and (found >= 0).all()
    assert nll(found) <= nll(on_simplex(nll, 4)) + 1e-4


def test_em_survives_probabilities_that_underflow() -> None:
    gold = np.array([[-800.0, -1.0], [-900.0, -2.0]])
    assert np.isfinite(em_weights(gold)).all()


@pytest.mark.parametrize("seed", range(3))
def test_duplicating_a_member_does_not_change_what_em_pools(seed: int) -> None:
    gold = random_table(seed).gold
    twice = np.concatenate([gold, gold[:1]])
    alone, doubled = em_weights(gold, tolerance=1e-9), em_weights(twice, tolerance=1e-9)
    np.testing.assert_allclose(alone @ np.exp(gold), doubled @ np.exp(twice), atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_log_linear_reaches_the_optimum_that_a_grid_finds(seed: int) -> None:
    table = random_table(seed)
    grid = [np.array([a, b, 1 - a - b]) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1 - a, 21)]
    best = max(float(table.log_likelihood(w, pooling="log_linear").mean()) for w in grid)
    found = log_linear_weights([table])
    assert float(table.log_likelihood(found, pooling="log_linear").mean()) >= best - 1e-4


def brute_force_greedy(table: Table, rounds: int) -> tuple[float, float]:
    """Caruana's procedure on full arrays: the best prefix's accuracy and mean log-likelihood."""
    block = table.blocks[0]
    rows, p = np.arange(len(block.gold)), np.exp(block.log_p.astype(np.float64))

    def score(picks: list[int]) -> tuple[int, float]:
        mix = p[picks].mean(axis=0)
        return int((mix.argmax(axis=-1) == block.gold).sum()), float(np.log(mix[rows, block.gold]).sum())

    picks: list[int] = []
    prefixes = []
    for _ in range(rounds):
        picks = max(([*picks, k] for k in range(table.members)), key=score)
        prefixes.append(score(picks))
    return max(prefixes)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_brute_force(seed: int) -> None:
    table = random_table(seed, positions=40)
    weights = greedy_weights([table], rounds=8)
    right = int(table.right(weights, pooling="mixture").sum())
    likelihood = float(table.log_likelihood(weights, pooling="mixture").sum())
    expected = brute_force_greedy(table, rounds=8)
    assert right == expected[0] and likelihood == pytest.approx(expected[1], rel=1e-5)


def test_greedy_is_never_worse_than_the_best_single_or_beaten_by_chance_orders() -> None:
    table = random_table(1, positions=40)
    weights = greedy_weights([table], rounds=3)
    best_single = max(table.right(w, pooling="mixture").sum() for w in np.eye(table.members))
    every = [
        table.right(np.bincount(picks, minlength=3) / len(picks), pooling="mixture").sum()
        for n in (1, 2, 3)
        for picks in combinations_with_replacement(range(3), n)
    ]
    assert best_single <= table.right(weights, pooling="mixture").sum() <= max(every)


@pytest.mark.parametrize("method", METHODS)
def test_one_member_has_all_the_weight(tables: Tables, method: str) -> None:
    alone = tables.of_members([2])
    weighting = fit(method, alone)
    one = dict.fromkeys(tables.heads, np.eye(4)[2])
    assert (
        alone.exact(weighting.heads, pooling=weighting.pooling) == tables.exact(one, pooling="mixture")
    ).all()
    np.testing.assert_allclose(
        alone.nll(weighting.heads, pooling=weighting.pooling), tables.nll(one, pooling="mixture"), atol=1e-4
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_members_changes_nothing(tables: Tables, method: str) -> None:
    weighting = fit(method, tables)
    order = list(permutations(range(4)))[13]
    permuted = fit(method, tables.of_members(order))
    for head, weights in weighting.heads.items():
        np.testing.assert_allclose(weights[list(order)], permuted.heads[head], atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_weights_lie_on_the_simplex(tables: Tables, method: str) -> None:
    weighting = fit(method, tables)
    for weights in [*weighting.heads.values(), weighting.shared]:
        assert weights.min() >= 0 and weights.sum() == pytest.approx(1)


def test_a_head_with_few_positions_stays_near_the_shared_weights(tables: Tables) -> None:
    weighting = fit("em", tables)
    own = em_weights(tables.heads["command"].gold)
    command = weighting.heads["command"]
    assert np.abs(command - weighting.shared).sum() < np.abs(own - weighting.shared).sum()


def test_without_a_member_the_others_share_its_weight(tables: Tables) -> None:
    rest = fit("uniform", tables).without(1)
    np.testing.assert_allclose(rest.shared, [1 / 3, 0, 1 / 3, 1 / 3])
    single = fit("single", tables)
    best = int(single.shared.argmax())
    assert single.without(best).shared[best] == 0
