"""What the grammar lets through, on small random vocabularies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.grammar import Grammar
from model.tokens import EOS, UNK, Vocabulary

words = st.one_of(
    st.sampled_from(["G0", "G1", "M30"]),
    st.builds(lambda letter, value: f"{letter}{value}", st.sampled_from("XYZ"), st.integers(-3, 3)),
)


def line_of(parts: list[str]) -> str:
    """Words in order, each letter or command once: a line that a program may hold."""
    kept: dict[str, str] = {}
    for word in parts:
        kept.setdefault(word if word[0] in "GM" else word[0], word)
    return " ".join(kept.values())


lines = st.lists(words, min_size=1, max_size=5).map(line_of)


@given(st.lists(lines, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_every_line_of_train_is_legal(train: list[str]) -> None:
    vocabulary = Vocabulary.build(dict.fromkeys(train, 1), digits=4)
    grammar = Grammar.of(vocabulary)
    for line in train:
        assert grammar.accepts([*vocabulary.encode(line), EOS])


def test_accepts_exactly_the_lines_the_rules_describe(grammar: Grammar, all_lines) -> None:
    described = set(all_lines(grammar))
    assert all(grammar.accepts(line) for line in described)
    rng = np.random.default_rng(0)
    for _ in range(3000):
        line = (*rng.integers(2, len(grammar.factors), size=rng.integers(0, 5)).tolist(), EOS)
        assert grammar.accepts(line) == (line in described)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "a line is not empty"),
        ("X1 X1", "no parameter twice"),
        ("G1 G1", "no command twice"),
        ("X", "a value follows its parameter"),
    ],
)
def test_refuses(grammar: Grammar, vocabulary: Vocabulary, line: str, why: str) -> None:
    assert not grammar.accepts([*vocabulary.encode(line), EOS]), why


def test_refuses_a_value_of_another_parameter_an_unknown_and_an_open_end(
    grammar: Grammar, vocabulary: Vocabulary
) -> None:
    x, x1, y2 = (vocabulary.ids[token] for token in ("X", "NUM_X_1000", "NUM_Y_2000"))
    assert grammar.accepts([x, x1, EOS])
    assert not grammar.accepts([x, y2, EOS])
    assert not grammar.accepts([x, UNK, EOS])
    assert not grammar.accepts([x, x1])


def test_a_parameter_without_known_values_never_comes() -> None:
    grammar = Grammar.of(Vocabulary.build({"G1 X1": 1, "Z": 1}, digits=4))
    assert grammar.mask["param_type"][0].sum() == 1


def test_no_legal_line_is_longer_than_longest(grammar: Grammar, all_lines) -> None:
    assert max(map(len, all_lines(grammar))) == grammar.longest
