"""A network made of random tables: next-token logits are a pure function of (seed, window, prefix)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from inference.grammar import Grammar
from model.tokens import BOS, EOS, HEADS, SPECIAL, Vocabulary

LINES = {"G1 X1 Y2": 9, "G0 X2": 5, "X1": 4, "Y2 X1": 3, "M30": 1}


class TableSteps:
    """`inference.steps.Steps` whose state is the prefix itself."""

    def __init__(self, vocabulary: Vocabulary, seed: int, *, scale: float = 2.0) -> None:
        self.sizes = vocabulary.head_sizes
        self.seed = seed
        self.scale = scale
        self.operation = np.zeros((0, 1), dtype=np.float32)
        self.calls = 0
        self.rows = 0

    def logits_of(self, window: int, prefix: tuple[int, ...]) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, window, len(prefix), *prefix])
        return {h: (self.scale * rng.normal(size=self.sizes[h])).astype(np.float32) for h in HEADS}

    def _answer(self, state: list[tuple[int, tuple[int, ...]]]) -> dict[str, np.ndarray]:
        self.calls += 1
        self.rows += len(state)
        each = [self.logits_of(window, prefix) for window, prefix in state]
        return {head: np.stack([logits[head] for logits in each]) for head in HEADS}

    def begin(self, windows: np.ndarray) -> tuple[dict[str, np.ndarray], Any]:
        state = [(int(w), (BOS,)) for w in windows]
        return self._answer(state), state

    def advance(self, state: Any, rows: np.ndarray, tokens: np.ndarray) -> tuple[dict[str, np.ndarray], Any]:
        state = [(state[r][0], (*state[r][1], int(t))) for r, t in zip(rows, tokens, strict=True)]
        return self._answer(state), state


def legal_lines(grammar: Grammar) -> Iterator[tuple[int, ...]]:
    """Every legal line, from the rules as they are said in words and not from the tables."""
    commands = [int(t) for t in grammar.token["command"]]
    params = [
        (int(grammar.token["param_type"][p]), [int(grammar.token["param_value"][v]) for v in values])
        for p, values in enumerate(grammar.values_of)
        if len(values) and grammar.token["param_type"][p] >= 0
    ]
    words: list[list[tuple[int, ...]]] = [[(c,)] for c in commands]
    words += [[(p, v) for v in values] for p, values in params]
    for size in range(1, len(words) + 1):
        for chosen in itertools.permutations(words, size):
            for line in itertools.product(*chosen):
                yield (*itertools.chain.from_iterable(line), EOS)


def rescore(steps: TableSteps, grammar: Grammar, window: int, line: tuple[int, ...]) -> float:
    """Log-probability of a line, term by term as the definition has it."""
    total = 0.0
    states = grammar.start(1)
    for i, token in enumerate(line):
        logits = steps.logits_of(window, (BOS, *line[:i]))
        end, commands, params = grammar.legal(states)
        values = grammar.mask["param_value"][states.state[0]]
        legal = {
            "type": np.array([end[0], commands.any(), params.any(), values.any()]),
            "command": commands[0],
            "param_type": params[0],
            "param_value": values,
        }
        kind = grammar.factors[token][0]
        column = int(kind)
        asked = (
            [("type", kind)]
            if kind == SPECIAL
            else [("type", kind), (HEADS[column], grammar.factors[token][column])]
        )
        for head, chosen in asked:
            total += log_softmax(np.where(legal[head], logits[head].astype(float), -np.inf))[chosen]
        states = grammar.advance(states, np.array([token]))
    return float(total)


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.build(LINES, digits=4)


@pytest.fixture(scope="session")
def grammar(vocabulary: Vocabulary) -> Grammar:
    return Grammar.of(vocabulary)


@pytest.fixture(scope="session")
def table_steps() -> Callable[..., TableSteps]:
    return TableSteps


@pytest.fixture(scope="session")
def all_lines() -> Callable[[Grammar], Iterator[tuple[int, ...]]]:
    return legal_lines


@pytest.fixture(scope="session")
def rescored() -> Callable[..., float]:
    return rescore
