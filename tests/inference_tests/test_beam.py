"""Beam search against exhaustive search, on random tables over a small vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from inference import steps as inference_steps
from inference.beam import Filter, beam_search, best_lines
from inference.grammar import Grammar
from inference.steps import CachedSteps
from model.tokens import BOS, COMMAND, EOS, HEADS, PARAM_TYPE, PARAM_VALUE, SPECIAL, Vocabulary

seeds = st.integers(0, 2**31)
WINDOWS = np.arange(3)


def search(steps, grammar: Grammar, width: int, keep: Filter | None = None):
    return list(beam_search(steps, grammar, WINDOWS, width=width, keep=keep))


def hierarchical_argmax(steps, grammar: Grammar, window: int) -> tuple[int, ...]:
    """Greedy by heads: the best legal type, then the best legal class of the head that the type calls."""
    line: list[int] = []
    states = grammar.start(1)
    while not line or line[-1] != EOS:
        logits = steps.logits_of(window, (BOS, *line))
        end, commands, params = grammar.legal(states)
        state = states.state[0]
        values = grammar.mask["param_value"][state]
        kinds = np.array([end[0], commands.any(), params.any(), values.any()])
        kind = np.where(kinds, logits["type"], -np.inf).argmax()
        if kind == SPECIAL:
            line.append(EOS)
            break
        head, legal = {
            COMMAND: ("command", commands[0]),
            PARAM_TYPE: ("param_type", params[0]),
            PARAM_VALUE: ("param_value", values),
        }[int(kind)]
        line.append(int(grammar.token[head][np.where(legal, logits[head], -np.inf).argmax()]))
        states = grammar.advance(states, np.array(line[-1:]))
    return tuple(line)


@pytest.mark.slow
@given(seeds)
@settings(max_examples=5, deadline=None)
def test_a_full_beam_is_brute_force(vocabulary, grammar, table_steps, all_lines, rescored, seed) -> None:
    steps = table_steps(vocabulary, seed)
    lines = list(all_lines(grammar))
    for window, found in zip(WINDOWS, search(steps, grammar, len(lines)), strict=True):
        expected = {line: rescored(steps, grammar, int(window), line) for line in lines}
        assert {h.tokens for h in found} == set(expected)
        assert [h.logp for h in found] == sorted((h.logp for h in found), reverse=True)
        for hypothesis in found:
            assert hypothesis.logp == pytest.approx(expected[hypothesis.tokens], abs=1e-9)


@given(seeds, st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_the_reported_score_is_the_rescored_probability(
    vocabulary, grammar, table_steps, rescored, seed, width
) -> None:
    steps = table_steps(vocabulary, seed)
    for window, found in zip(WINDOWS, search(steps, grammar, width), strict=True):
        assert len(found) == width
        for hypothesis in found:
            score = rescored(steps, grammar, int(window), hypothesis.tokens)
            assert hypothesis.logp == pytest.approx(score, abs=1e-9)
            assert sum(hypothesis.token_logp) == pytest.approx(score, abs=1e-9)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_a_beam_of_one_is_greedy(vocabulary, grammar, table_steps, seed) -> None:
    steps = table_steps(vocabulary, seed)
    for window, found in zip(WINDOWS, search(steps, grammar, 1), strict=True):
        line: list[int] = []
        states = grammar.start(1)
        while not line or line[-1] != EOS:
            logits = {h: v.astype(float) for h, v in steps.logits_of(int(window), (BOS, *line)).items()}
            end, commands, params = (legal[0] for legal in grammar.legal(states))
            legal_types = np.array([end, commands.any(), params.any(), states.state[0] > 1])
            kind = log_softmax(np.where(legal_types, logits["type"], -np.inf))
            options = {EOS: kind[SPECIAL]} if end else {}
            for head, legal, which in (
                ("command", commands, COMMAND),
                ("param_type", params, PARAM_TYPE),
                ("param_value", grammar.mask["param_value"][states.state[0]], PARAM_VALUE),
            ):
                if legal.any():
                    own = log_softmax(np.where(legal, logits[head], -np.inf))
                    tokens = grammar.token[head]
                    options |= {int(tokens[c]): kind[which] + own[c] for c in np.flatnonzero(legal)}
            line.append(max(options, key=lambda token: options[token]))
            states = grammar.advance(states, np.array(line[-1:]))
        assert found[0].tokens == tuple(line)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_at_temperature_zero_each_head_takes_its_argmax(vocabulary, grammar, table_steps, seed) -> None:
    steps = table_steps(vocabulary, seed)
    cold = Filter(temperature=dict.fromkeys(HEADS, 1e-5))
    for window, found in zip(WINDOWS, search(steps, grammar, 1, cold), strict=True):
        assert found[0].tokens == hierarchical_argmax(steps, grammar, int(window))


@given(seeds, st.integers(1, 6), st.integers(1, 4), st.floats(0.3, 1.0))
@settings(max_examples=40, deadline=None)
def test_only_legal_lines_come_out_whatever_the_logits(
    vocabulary, grammar, table_steps, seed, width, top_k, top_p
) -> None:
    steps = table_steps(vocabulary, seed, scale=60.0)
    for found in search(steps, grammar, width, Filter(top_k=top_k, top_p=top_p)):
        assert found
        assert all(grammar.accepts(hypothesis.tokens) for hypothesis in found)
        assert len({hypothesis.tokens for hypothesis in found}) == len(found)


@given(seeds, st.lists(st.tuples(st.integers(1, 6), st.floats(0.2, 3.0)), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_cached_is_uncached(vocabulary, grammar, table_steps, seed, options) -> None:
    plain = table_steps(vocabulary, seed)
    cached = CachedSteps(table_steps(vocabulary, seed), grammar.factors[:, 0])
    for width, temperature in options:
        keep = Filter(temperature=dict.fromkeys(HEADS, temperature))
        assert search(cached, grammar, width, keep) == search(plain, grammar, width, keep)


def test_decoding_again_costs_no_network(vocabulary: Vocabulary, grammar: Grammar, table_steps) -> None:
    steps = table_steps(vocabulary, 1)
    cached = CachedSteps(steps, grammar.factors[:, 0])
    search(cached, grammar, 6)
    calls = steps.calls
    for width in (1, 2, 6):
        search(cached, grammar, width)
    assert steps.calls == calls


def test_an_unknown_prefix_is_replayed_with_each_ancestor_once(vocabulary, grammar, table_steps) -> None:
    """The greedy line is known. A beam of 2 asks for more; its known prefixes cost at most one run each."""
    steps = table_steps(vocabulary, 1)
    cached = CachedSteps(steps, grammar.factors[:, 0])
    search(cached, grammar, 1)
    known, rows = len(cached), steps.rows
    assert search(cached, grammar, 2) == search(table_steps(vocabulary, 1), grammar, 2)
    new = len(cached) - known
    assert new > 0
    assert steps.rows - rows <= new + known


def test_a_full_cache_starts_anew(vocabulary, grammar, table_steps, monkeypatch) -> None:
    monkeypatch.setattr(inference_steps, "NODES", 10)
    cached = CachedSteps(table_steps(vocabulary, 2), grammar.factors[:, 0])
    sizes = []
    for width in (6, 1, 3, 6):
        assert search(cached, grammar, width) == search(table_steps(vocabulary, 2), grammar, width)
        sizes.append(len(cached))
    assert sizes[0] == sizes[3] > sizes[1]


@given(seeds, st.integers(1, 8), st.floats(0.2, 3.0), st.integers(1, 5), st.floats(0.5, 1.0))
@settings(max_examples=60, deadline=None)
def test_best_lines_are_the_first_of_the_beam(
    vocabulary, grammar, table_steps, seed, width, temperature, top_k, top_p
) -> None:
    keep = Filter(dict.fromkeys(HEADS, temperature), top_k, top_p)
    steps = table_steps(vocabulary, seed)
    found = list(best_lines(steps, grammar, WINDOWS, width=width, keep=keep))
    assert found == [lines[0] for lines in search(steps, grammar, width, keep)]


def test_a_beam_that_loses_the_greedy_line_ends_as_the_full_search(vocabulary, grammar, table_steps) -> None:
    """On some tables a narrow beam ends below the greedy line; the best line is still that of the beam."""
    steps, windows = table_steps(vocabulary, 0, scale=0.5), np.arange(60)
    greedy, beam = (list(beam_search(steps, grammar, windows, width=width)) for width in (1, 2))
    assert any(b[0].score < g[0].score - 1e-6 for b, g in zip(beam, greedy, strict=True))
    assert list(best_lines(steps, grammar, windows, width=2)) == [lines[0] for lines in beam]


def test_best_lines_run_the_network_for_fewer_prefixes(vocabulary, grammar, table_steps) -> None:
    pruned, full = (CachedSteps(table_steps(vocabulary, 3), grammar.factors[:, 0]) for _ in range(2))
    list(best_lines(pruned, grammar, WINDOWS, width=8))
    search(full, grammar, 8)
    assert len(pruned) < len(full)


def test_batches_do_not_change_the_answer(vocabulary: Vocabulary, grammar: Grammar, table_steps) -> None:
    steps = table_steps(vocabulary, 5)
    whole = list(beam_search(steps, grammar, np.arange(7), width=3))
    parts = list(beam_search(steps, grammar, np.arange(7), width=3, batch=2))
    assert whole == parts
