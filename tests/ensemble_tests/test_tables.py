"""The reduced tables answer what the full arrays answer, for any weights and both ways of pooling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.bundle import Pooling
from ensemble.pool import pool
from ensemble.tables import Block, Table
from ensemble.weights import em_weights, greedy_weights, log_linear_weights


def random_table(seed: int, *, members: int, classes: int, positions: int = 12) -> Table:
    generator = np.random.default_rng(seed)
    blocks, offset = [], 0
    for size in (classes, classes + 2):
        shared = generator.normal(size=(1, positions, size))
        logits = 2 * (shared + generator.normal(size=(members, positions, size)))
        log_p = (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))).astype(np.float32)
        gold = generator.integers(size, size=positions)
        blocks.append(Block(log_p, gold, np.arange(offset, offset + positions)))
        offset += positions
    return Table.of("param_value", blocks, members=members)


def full_answer(table: Table, weights: np.ndarray, pooling: Pooling) -> tuple[np.ndarray, np.ndarray]:
    right, likelihood = [], []
    for block in table.blocks:
        pooled = pool(list(block.log_p), weights, pooling=pooling)
        right.append(pooled.argmax(axis=-1) == block.gold)
        likelihood.append(pooled[np.arange(len(block.gold)), block.gold])
    return np.concatenate(right), np.concatenate(likelihood)


@pytest.mark.parametrize("pooling", ["mixture", "log_linear"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), members=st.integers(1, 5), classes=st.integers(1, 9), data=st.data())
def test_reduced_tables_equal_full_pooling(
    pooling: Pooling, seed: int, members: int, classes: int, data: st.DataObject
) -> None:
    table = random_table(seed, members=members, classes=classes)
    raw = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=members, max_size=members)))
    weights = raw / raw.sum()
    right, likelihood = full_answer(table, weights, pooling)
    assert (table.right(weights, pooling=pooling) == right).all()
    np.testing.assert_allclose(table.log_likelihood(weights, pooling=pooling), likelihood, atol=1e-4)


def test_a_head_that_is_never_asked_has_nothing_to_weigh() -> None:
    empty = Table.of("command", [], members=3)
    third = np.full(3, 1 / 3)
    for pooling in ("mixture", "log_linear"):
        assert len(empty.right(third, pooling=pooling)) == 0
        assert len(empty.log_likelihood(third, pooling=pooling)) == 0
    for weights in (em_weights(empty.gold), greedy_weights([empty]), log_linear_weights([empty])):
        assert weights.sum() == pytest.approx(1)


def test_a_subset_of_positions_answers_as_the_whole_does_there() -> None:
    table = random_table(3, members=3, classes=6)
    keep = np.zeros(24, dtype=bool)
    keep[[0, 3, 5, 14, 20]] = True
    weights = np.array([0.2, 0.5, 0.3])
    part = table.subset(keep)
    assert (part.position == [0, 3, 5, 14, 20]).all()
    for pooling in ("mixture", "log_linear"):
        whole = table.right(weights, pooling=pooling)[keep]
        assert (part.right(weights, pooling=pooling) == whole).all()
        np.testing.assert_allclose(
            part.log_likelihood(weights, pooling=pooling),
            table.log_likelihood(weights, pooling=pooling)[keep],
            rtol=1e-6,
        )
