"""Draws follow the decoder's distribution; the chosen line is the one that agrees best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.beam import Filter, beam_search
from inference.sampling import agreement, least_risk, sample
from inference.steps import CachedSteps
from model.tokens import HEADS


@given(st.integers(0, 2**31), st.integers(1, 3), st.floats(0.5, 1.0))
@settings(max_examples=25, deadline=None)
def test_draws_are_legal_and_counted(vocabulary, grammar, table_steps, seed, top_k, top_p) -> None:
    steps = table_steps(vocabulary, seed)
    rng = np.random.default_rng(seed)
    keep = Filter(top_k=top_k, top_p=top_p)
    for draws in sample(steps, grammar, np.arange(2), count=20, rng=rng, keep=keep):
        assert draws.counts.sum() == 20
        assert len({line.tokens for line in draws.lines}) == len(draws.lines)
        assert all(grammar.accepts(line.tokens) for line in draws.lines)


def test_frequencies_are_the_probabilities(vocabulary, grammar, table_steps, all_lines) -> None:
    steps = table_steps(vocabulary, 7)
    everything = len(list(all_lines(grammar)))
    (best,) = beam_search(steps, grammar, np.array([0]), width=everything)
    (draws,) = sample(steps, grammar, np.array([0]), count=20_000, rng=np.random.default_rng(0))
    share = {line.tokens: n / 20_000 for line, n in zip(draws.lines, draws.counts, strict=True)}
    assert sum(np.exp(h.logp) for h in best) == pytest.approx(1.0)
    for hypothesis in best[:5]:
        assert share.get(hypothesis.tokens, 0) == pytest.approx(np.exp(hypothesis.logp), abs=0.015)


def test_a_cache_changes_no_draw(vocabulary, grammar, table_steps) -> None:
    plain, cached = table_steps(vocabulary, 5), CachedSteps(table_steps(vocabulary, 5), grammar.factors[:, 0])
    windows = np.arange(3)
    list(beam_search(cached, grammar, windows, width=3))
    one, other = (
        list(sample(steps, grammar, windows, count=20, rng=np.random.default_rng(4)))
        for steps in (plain, cached)
    )
    assert [draws.lines for draws in one] == [draws.lines for draws in other]


def test_cold_draws_are_all_the_greedy_line(vocabulary, grammar, table_steps) -> None:
    steps = table_steps(vocabulary, 3)
    cold = Filter(temperature=dict.fromkeys(HEADS, 1e-4))
    (draws,) = sample(steps, grammar, np.array([0]), count=30, rng=np.random.default_rng(0), keep=cold)
    ((best,),) = beam_search(steps, grammar, np.array([0]), width=1, keep=cold)
    assert [line.tokens for line in draws.lines] == [best.tokens]
    assert draws.lines[0].logp == pytest.approx(best.logp)


def test_the_chosen_line_maximises_expected_agreement(vocabulary, grammar, table_steps) -> None:
    steps = table_steps(vocabulary, 11, scale=0.5)
    (draws,) = sample(steps, grammar, np.array([0]), count=50, rng=np.random.default_rng(1))
    chosen = least_risk(draws)[0]

    def expected(line) -> float:
        total = 0.0
        for other, count in zip(draws.lines, draws.counts, strict=True):
            same = sum(a == b for a, b in zip(line.tokens, other.tokens, strict=False))
            total += count * same / max(len(line.tokens), len(other.tokens))
        return total

    assert expected(chosen) == pytest.approx(max(map(expected, draws.lines)))


def test_agreement_is_one_with_itself_and_symmetric(vocabulary, grammar, table_steps) -> None:
    steps = table_steps(vocabulary, 2, scale=0.5)
    (draws,) = sample(steps, grammar, np.array([0]), count=20, rng=np.random.default_rng(1))
    table = agreement(draws.lines)
    assert np.allclose(np.diag(table), 1)
    assert np.allclose(table, table.T)
