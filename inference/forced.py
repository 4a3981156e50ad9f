"""A teacher-forced pass: the output of each head at each position of the known lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from inference.grammar import Grammar
from inference.steps import Logits, Rows, Steps
from model.metrics import Forced
from model.tokens import EOS, HEADS, PARAM_VALUE, UNK

BATCH = 256


@dataclass(frozen=True, eq=False)
class ForcedPass:
    """Predictions at P target positions, and log-probabilities `(P,)` of the targets (NaN for UNK)."""

    forced: Forced
    logp: NDArray[np.float64]


def teacher_force(
    steps: Steps, grammar: Grammar, windows: Rows, targets: Sequence[Sequence[int]]
) -> ForcedPass:
    """Feeds each window its true line. `targets`: ids of each line, without BOS and EOS, UNK if unknown.

    The probability of a token is that of its type times that of its class; of a value, among the values of
    its parameter. These are the probabilities of the network, without a grammar.
    """
    found: list[tuple[NDArray, ...]] = []
    for start in range(0, len(windows), BATCH):
        batch = np.arange(start, min(start + BATCH, len(windows)))
        found += _batch(steps, grammar, windows[batch], batch, targets)
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    order = np.lexsort((columns[2], columns[1]))  # by window, as in the predictions of runs
    gold, window, step, kind, command, param, value, logp = (column[order] for column in columns)
    return ForcedPass(Forced(gold, window, step, kind, command, param, value), logp)


def _batch(
    steps: Steps, grammar: Grammar, windows: Rows, index: Rows, targets: Sequence[Sequence[int]]
) -> list[tuple[NDArray, ...]]:
    """Positions of one batch, one tuple of columns per step: gold, window, step, predictions, logp."""
    lines = [[*targets[i], EOS] for i in index]
    length = np.array([len(line) for line in lines])
    gold = np.zeros((len(lines), length.max()), dtype=np.int64)
    for row, line in zip(gold, lines, strict=True):
        row[: len(line)] = line
    out: list[tuple[NDArray, ...]] = []
    logits, state = steps.begin(windows)
    row = np.arange(len(lines))
    for step in range(gold.shape[1]):
        token = gold[row, step]
        choices = _choices(grammar, logits, token)
        where = (index[row], np.full(len(row), step))
        out.append((token, *where, *choices, _log_probability(grammar, logits, token)))
        keep = np.flatnonzero(length[row] > step + 1)
        if not len(keep):
            break
        logits, state = steps.advance(state, keep, token[keep])
        row = row[keep]
    return out


def _choices(grammar: Grammar, logits: Logits, gold: Rows) -> tuple[Rows, Rows, Rows, Rows]:
    """The best class of each head; of values, the best of the parameter of the gold token."""
    param = grammar.factors[gold, 2]
    allowed = grammar.mask["param_value"][2 + np.maximum(param, 0)]
    values = np.where(allowed, _values(grammar, logits), -np.inf)
    value = values.argmax(axis=1) if values.shape[1] else np.zeros(len(gold), dtype=np.int64)
    kind, command, letter = (logits[head].argmax(axis=1) for head in HEADS[:3])
    return kind, command, letter, value


def _values(grammar: Grammar, logits: Logits) -> NDArray[np.float32]:
    return logits["param_value"][:, : grammar.mask["param_value"].shape[1]]


def _log_probability(grammar: Grammar, logits: Logits, gold: Rows) -> NDArray[np.float64]:
    factors = grammar.factors[gold]
    rows = np.arange(len(gold))
    total = log_softmax(logits["type"].astype(np.float64), axis=1)[rows, factors[:, 0]]
    for column, head in enumerate(HEADS[1:], start=1):
        here = np.flatnonzero(factors[:, 0] == column)
        if not len(here):
            continue
        own = logits[head][here]
        if column == PARAM_VALUE:
            allowed = grammar.mask["param_value"][2 + factors[here, 2]]
            own = np.where(allowed, _values(grammar, logits)[here], -np.inf)
        log_p = log_softmax(own.astype(np.float64), axis=1)
        total[here] += log_p[np.arange(len(here)), factors[here, column]]
    total[gold == UNK] = np.nan
    return total
