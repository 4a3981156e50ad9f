"""Beam search over legal lines, many windows at once, with scores that are exact sums of log-probabilities.

The probability of a token is the product of the heads that speak for it: the type, and then the command,
the parameter, or the value, each among what the grammar allows there. A beam of 1 is greedy decoding; a
beam as wide as there are prefixes is an exhaustive search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.grammar import WORD, Grammar, LineStates
from inference.steps import Logits, Rows, Steps
from model.tokens import COMMAND, EOS, HEADS, PAD, PARAM_TYPE, SPECIAL

LogP = NDArray[np.float64]
ALL = 10**9  # a top-k that filters nothing


@dataclass(frozen=True)
class Filter:
    """How the heads' logits become log-probabilities.

    Attributes:
        temperature: per head; logits are divided by it. 1 leaves the network's own probabilities.
        top_k: only the `top_k` likeliest legal classes of a head may be chosen (clamped to the head's size).
        top_p: only the smallest set of legal classes whose share of the legal mass reaches `top_p`.
    """

    temperature: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HEADS, 1.0))
    top_k: int = ALL
    top_p: float = 1.0

    @property
    def filters(self) -> bool:
        """Whether top-k or top-p can rule anything out."""
        return self.top_k < ALL or self.top_p < 1.0


@dataclass(frozen=True)
class Candidates:
    """Continuations of N partial lines.

    Attributes:
        token: `(N, K)` token ids; PAD where there is no candidate.
        logp: `(N, K)` log-probability of the token, -inf where there is no candidate.
    """

    token: NDArray[np.int64]
    logp: LogP


@dataclass(frozen=True)
class Hypothesis:
    """A decoded line: ids without BOS, with EOS; its log-probability, and that of each token."""

    tokens: tuple[int, ...]
    logp: float
    token_logp: tuple[float, ...]


def candidates(
    grammar: Grammar, states: LineStates, logits: Logits, *, width: int, keep: Filter | None = None
) -> Candidates:
    """The legal continuations of each line with their log-probabilities; of values, the `width` likeliest.

    Each head is normalised over its legal classes, so the probabilities of all legal lines sum to one, and
    a temperature near 0 leaves the argmax of each head.
    """
    keep = keep or Filter()
    count = len(states)
    width = min(width, max(map(len, grammar.values_of), default=1))
    slots = max(1 + len(grammar.token["command"]) + len(grammar.token["param_type"]), width)
    token = np.full((count, slots), PAD, dtype=np.int64)
    logp = np.full((count, slots), -np.inf)

    words = np.flatnonzero(states.state <= WORD)
    if len(words):
        end, commands, params = grammar.legal(states.take(words))
        kinds = np.zeros((len(words), len(grammar.mask["type"][0])), dtype=bool)
        kinds[:, SPECIAL], kinds[:, COMMAND], kinds[:, PARAM_TYPE] = end, commands.any(1), params.any(1)
        kind = _log_probabilities("type", logits["type"][words], kinds, keep)
        command = _log_probabilities("command", logits["command"][words], commands, keep)
        param = _log_probabilities("param_type", logits["param_type"][words], params, keep)
        found = (kind[:, [SPECIAL]], kind[:, [COMMAND]] + command, kind[:, [PARAM_TYPE]] + param)
        ids = np.concatenate(([EOS], grammar.token["command"], grammar.token["param_type"]))
        token[words, : len(ids)] = ids
        logp[words, : len(ids)] = np.concatenate(found, axis=1)
    for due in np.unique(states.state[states.state > WORD]):  # the one legal type is certain: it adds log 1
        rows, values = np.flatnonzero(states.state == due), grammar.values_of[due - 2]
        own = logits["param_value"][rows[:, None], values]
        own = _log_probabilities("param_value", own, np.ones(own.shape, dtype=bool), keep)
        best = _best(own, min(width, len(values)))
        token[rows, : best.shape[1]] = grammar.token["param_value"][values[best]]
        logp[rows, : best.shape[1]] = np.take_along_axis(own, best, axis=1)
    token[np.isneginf(logp)] = PAD
    return Candidates(token, logp)


def _log_probabilities(head: str, logits: NDArray, legal: NDArray[np.bool_], keep: Filter) -> LogP:
    """Log-softmax over the legal classes `(N, classes)`, -inf elsewhere and outside of top-k and top-p."""
    scaled = np.where(legal, logits.astype(np.float64) / keep.temperature[head], -np.inf)
    top = scaled.max(axis=1, keepdims=True, initial=-1e300)
    total = np.exp(scaled - top).sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):  # a row with no legal class stays -inf throughout
        return _filtered(scaled - top - np.log(np.maximum(total, 1e-300)), keep)


def _filtered(logp: LogP, keep: Filter) -> LogP:
    """`logp` `(N, classes)` with -inf outside of top-k and top-p; the shares are those of the finite
    entries.
    """
    if not keep.filters or logp.shape[1] == 0:
        return logp
    order = np.argsort(-logp, axis=1, kind="stable")
    ranked = np.take_along_axis(logp, order, axis=1)
    share = np.exp(ranked - ranked[:, :1].clip(min=-1e300))
    before = np.cumsum(share, axis=1) - share
    out = (np.arange(logp.shape[1]) >= keep.top_k) | (before >= keep.top_p * share.sum(axis=1, keepdims=True))
    out[:, 0] = False
    ranked[out] = -np.inf
    filtered = np.empty_like(logp)
    np.put_along_axis(filtered, order, ranked, axis=1)
    return filtered


def _best(scores: LogP, count: int) -> NDArray[np.int64]:
    """Columns of the `count` best of each row, best first; ties go to the first column."""
    if count < scores.shape[1]:
        part = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    else:
        part = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)


def beam_search(
    steps: Steps,
    grammar: Grammar,
    windows: Rows,
    *,
    width: int,
    keep: Filter | None = None,
    batch: int = 256,
) -> Iterator[list[Hypothesis]]:
    """For each of `windows` its `width` best lines, best first (fewer where the grammar has fewer).

    Windows go through in batches of `batch`; rows whose line has ended take no further part.
    """
    for start in range(0, len(windows), batch):
        yield from _search(steps, grammar, windows[start : start + batch], width, keep)


def _search(
    steps: Steps, grammar: Grammar, windows: Rows, width: int, keep: Filter | None
) -> list[list[Hypothesis]]:
    """One batch. `score` and `tokens` hold `width` hypotheses a window, ended ones among them."""
    count, longest = len(windows), grammar.longest
    score = np.full((count, width), -np.inf)
    score[:, 0] = 0.0
    tokens = np.full((count, width, longest), PAD, dtype=np.int64)
    token_logp = np.zeros((count, width, longest))
    ended = np.zeros((count, width), dtype=bool)
    window, slot = np.arange(count), np.zeros(count, dtype=np.int64)  # of each live row
    logits, state = steps.begin(windows)
    states = grammar.start(count)
    for step in range(longest):
        found = candidates(grammar, states, logits, width=width, keep=keep)
        slots = found.token.shape[1]
        total = np.full((count, width, slots + 1), -np.inf)  # the last column: a line that has ended stays
        total[window, slot, :slots] = score[window, slot, None] + found.logp
        total[..., slots] = np.where(ended, score, -np.inf)
        best = _best(total.reshape(count, -1), width)
        parent, choice = np.divmod(best, slots + 1)
        score = np.take_along_axis(total.reshape(count, -1), best, axis=1)
        live_row = np.full((count, width), -1, dtype=np.int64)
        live_row[window, slot] = np.arange(len(window))
        row = np.take_along_axis(live_row, parent, axis=1)
        grown = (choice < slots) & np.isfinite(score)
        token = np.where(grown, found.token[row, np.minimum(choice, slots - 1)], PAD)
        tokens = np.take_along_axis(tokens, parent[..., None], axis=1)
        token_logp = np.take_along_axis(token_logp, parent[..., None], axis=1)
        gain = found.logp[row, np.minimum(choice, slots - 1)]
        tokens[..., step] = token
        token_logp[..., step] = np.where(grown, gain, 0.0)
        ended = np.isfinite(score) & (~grown | (token == EOS))
        window, slot = np.nonzero(grown & (token != EOS))
        if not len(window):
            break
        rows, taken = row[window, slot], token[window, slot]
        states = grammar.advance(states.take(rows), taken)
        logits, state = steps.advance(state, rows, taken)
    return [_hypotheses(*fields) for fields in zip(tokens, score, token_logp, strict=True)]


def _hypotheses(tokens: NDArray, score: LogP, token_logp: LogP) -> list[Hypothesis]:
    found = []
    for ids, logp, parts in zip(tokens, score, token_logp, strict=True):
        if np.isfinite(logp):
            length = int(np.flatnonzero(ids == EOS)[0]) + 1
            found.append(
                Hypothesis(tuple(ids[:length].tolist()), float(logp), tuple(parts[:length].tolist()))
            )
    return found


def line_logp(steps: Steps, grammar: Grammar, windows: Rows, lines: list[tuple[int, ...]]) -> LogP:
    """Log-probability `(windows,)` of one given line a window (ids with EOS), by forced decoding; -inf if
    illegal.
    """
    score = np.zeros(len(windows))
    logits, state = steps.begin(windows)
    states = grammar.start(len(windows))
    row = np.arange(len(windows))
    everything = max(map(len, grammar.values_of), default=1)
    for step in range(max(map(len, lines), default=0)):
        token = np.array([lines[r][step] for r in row], dtype=np.int64)
        found = candidates(grammar, states, logits, width=max(1, everything))
        hit = found.token == token[:, None]
        gain = np.where(hit.any(axis=1), np.where(hit, found.logp, -np.inf).max(axis=1), -np.inf)
        score[row] += gain
        live = np.array([len(lines[r]) > step + 1 for r in row]) & np.isfinite(gain)
        if not live.any():
            break
        keep = np.flatnonzero(live)
        states = grammar.advance(states.take(keep), token[keep])
        logits, state = steps.advance(state, keep, token[keep])
        row = row[keep]
    return score
