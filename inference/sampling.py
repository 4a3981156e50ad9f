"""Draws lines at random and chooses the one that agrees best with all draws (minimum Bayes risk).

Draws share prefixes: a batch is a tree of prefixes with counts. A prefix that was drawn thirty times is
advanced once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.beam import Filter, Hypothesis, candidates, hypothesis
from inference.grammar import Grammar
from inference.steps import Rows, Steps
from model.tokens import EOS, PAD


@dataclass(frozen=True)
class Draws:
    """The distinct lines drawn for one window, with counts."""

    lines: list[Hypothesis]
    counts: NDArray[np.int64]


def sample(
    steps: Steps,
    grammar: Grammar,
    windows: Rows,
    *,
    count: int,
    rng: np.random.Generator,
    keep: Filter | None = None,
    batch: int = 256,
) -> Iterator[Draws]:
    """Draws `count` lines for each of `windows`, independently, from the distribution filtered by `keep`."""
    for start in range(0, len(windows), batch):
        yield from _sample(steps, grammar, windows[start : start + batch], count, rng, keep)


def _sample(
    steps: Steps, grammar: Grammar, windows: Rows, count: int, rng: np.random.Generator, keep: Filter | None
) -> list[Draws]:
    """One batch; `drawn` is the number of draws per unfinished prefix."""
    lines: list[list[Hypothesis]] = [[] for _ in windows]
    counts: list[list[int]] = [[] for _ in windows]
    everything = max(1, *map(len, grammar.values_of))
    drawn = np.full(len(windows), count)
    window = np.arange(len(windows))
    tokens = np.full((len(windows), grammar.longest), PAD, dtype=np.int64)
    logp = np.zeros((len(windows), grammar.longest))
    score = np.zeros(len(windows))
    logits, state = steps.begin(windows)
    states = grammar.start(len(windows))
    for step in range(grammar.longest):
        found = candidates(grammar, states, logits, width=everything, keep=keep)
        chance = np.exp(found.score)
        drawn_here = rng.multinomial(drawn, chance / chance.sum(axis=1, keepdims=True))
        row, column = np.nonzero(drawn_here)
        drawn, window = drawn_here[row, column], window[row]
        tokens, logp = tokens[row], logp[row]
        tokens[:, step], logp[:, step] = found.token[row, column], found.logp[row, column]
        score = score[row] + found.score[row, column]
        ended = tokens[:, step] == EOS
        for i in np.flatnonzero(ended):
            lines[window[i]].append(hypothesis(tokens[i], logp[i], float(score[i])))
            counts[window[i]].append(int(drawn[i]))
        live = np.flatnonzero(~ended)
        if not len(live):
            break
        row, drawn, window, tokens = row[live], drawn[live], window[live], tokens[live]
        logp, score = logp[live], score[live]
        states = grammar.advance(states.take(row), tokens[:, step])
        logits, state = steps.advance(state, row, tokens[:, step])
    return [Draws(own, np.array(n, dtype=np.int64)) for own, n in zip(lines, counts, strict=True)]


def agreement(lines: list[Hypothesis]) -> NDArray[np.float64]:
    """(lines, lines) share of equal tokens, position by position, of the longer line."""
    length = np.array([len(line.tokens) for line in lines])
    padded = np.full((len(lines), length.max()), PAD, dtype=np.int64)
    for row, line in zip(padded, lines, strict=True):
        row[: len(line.tokens)] = line.tokens
    same = ((padded[:, None] == padded[None]) & (padded[:, None] != PAD)).sum(axis=2)
    return same / np.maximum(length[:, None], length[None])


def least_risk(draws: Draws) -> list[Hypothesis]:
    """The drawn lines by expected agreement with a draw, best first; ties: the more probable line first.

    Kumar and Byrne, Minimum Bayes-risk decoding (2004), with the draws as distribution.
    """
    share = draws.counts / draws.counts.sum()
    expected = agreement(draws.lines) @ share
    order = sorted(range(len(draws.lines)), key=lambda i: (-round(expected[i], 12), -draws.lines[i].logp))
    return [draws.lines[i] for i in order]
