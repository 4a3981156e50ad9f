"""Beam search over legal lines, for many windows at once. Scores are exact sums of log-probabilities.

The probability of a token is the product of its heads: type, then command, parameter or value, each
normalised over the classes that the grammar allows. A beam of 1 is greedy decoding. A beam as wide as the
number of prefixes is exhaustive search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.grammar import WORD, Grammar, LineStates
from inference.steps import Logits, Rows, Steps
from model.tokens import COMMAND, EOS, HEADS, PAD, PARAM_TYPE, SPECIAL, TYPES
from tuner.base.errors import InputError

LogP = NDArray[np.float64]
ALL = 10**9  # a top-k that filters nothing
TOLERANCE = 1e-9  # rounding of a sum of log-probabilities


@dataclass(frozen=True)
class Filter:
    """How the heads' logits become log-probabilities.

    Attributes:
        temperature: per head; divides the logits. 1: the probabilities of the network.
        top_k: only the `top_k` most probable legal classes of a head (at most the size of the head).
        top_p: only the smallest set of legal classes with at least `top_p` of the legal probability.
    """

    temperature: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HEADS, 1.0))
    top_k: int = ALL
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for head in HEADS:
            if not 0 < self.temperature.get(head, 0.0) < float("inf"):
                raise InputError(f"temperature of {head}: expected above 0, got {self.temperature.get(head)}")
        if self.top_k < 1:
            raise InputError(f"top_k: expected 1 or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p: expected above 0 and up to 1, got {self.top_p}")

    @property
    def filters(self) -> bool:
        """Whether top-k or top-p can exclude a class."""
        return self.top_k < ALL or self.top_p < 1.0


@dataclass(frozen=True)
class Candidates:
    """Continuations of N partial lines.

    Attributes:
        token: `(N, K)` token ids; PAD if there is no candidate.
        score: `(N, K)` log-probability after temperature, top-k and top-p; -inf if there is no candidate.
        logp: `(N, K)` log-probability of the network, which is reported.
    """

    token: NDArray[np.int64]
    score: LogP
    logp: LogP


@dataclass(frozen=True)
class Hypothesis:
    """A decoded line.

    tokens: ids without BOS, with EOS; logp: its log-probability by the network, and token_logp that of each
    token; score: by which the search ranks it (equal to logp without temperatures).
    """

    tokens: tuple[int, ...]
    score: float
    logp: float
    token_logp: tuple[float, ...]


def candidates(
    grammar: Grammar, states: LineStates, logits: Logits, *, width: int, keep: Filter | None = None
) -> Candidates:
    """The legal continuations of each line with log-probabilities; of values, the `width` most probable.

    Each head is normalised over its legal classes. So the probabilities of all legal lines sum to one, and a
    temperature near 0 leaves only the argmax of each head.
    """
    keep = keep or Filter()
    count = len(states)
    width = min(width, max(map(len, grammar.values_of), default=1))
    slots = max(1 + len(grammar.token["command"]) + len(grammar.token["param_type"]), width)
    token = np.full((count, slots), PAD, dtype=np.int64)
    score, logp = np.full((count, slots), -np.inf), np.full((count, slots), -np.inf)

    words = np.flatnonzero(states.state <= WORD)
    if len(words):
        end, commands, params = grammar.legal(states.take(words))
        kinds = np.zeros((len(words), len(TYPES)), dtype=bool)
        kinds[:, SPECIAL], kinds[:, COMMAND], kinds[:, PARAM_TYPE] = end, commands.any(1), params.any(1)
        kind = _log_probabilities("type", logits["type"][words], kinds, keep)
        command = _log_probabilities("command", logits["command"][words], commands, keep)
        param = _log_probabilities("param_type", logits["param_type"][words], params, keep)
        ids = np.concatenate(([EOS], grammar.token["command"], grammar.token["param_type"]))
        token[words, : len(ids)] = ids
        for out, k, c, p in zip((score, logp), kind, command, param, strict=True):
            found = (k[:, [SPECIAL]], k[:, [COMMAND]] + c, k[:, [PARAM_TYPE]] + p)
            out[words, : len(ids)] = np.concatenate(found, axis=1)
    for due in np.unique(states.state[states.state > WORD]):  # the type is certain: it adds log 1
        rows, values = np.flatnonzero(states.state == due), grammar.values_of[due - 2]
        own = logits["param_value"][rows[:, None], values]
        ranked, plain = _log_probabilities("param_value", own, np.ones(own.shape, dtype=bool), keep)
        best = _best(ranked, min(width, len(values)))
        token[rows, : best.shape[1]] = grammar.token["param_value"][values[best]]
        score[rows, : best.shape[1]] = np.take_along_axis(ranked, best, axis=1)
        logp[rows, : best.shape[1]] = np.take_along_axis(plain, best, axis=1)
    token[np.isneginf(score)] = PAD
    return Candidates(token, score, logp)


def _log_probabilities(
    head: str, logits: NDArray, legal: NDArray[np.bool_], keep: Filter
) -> tuple[LogP, LogP]:
    """Log-softmax over the legal classes `(N, classes)`, else -inf: filtered by `keep`, and unfiltered."""
    logits = logits[:, : legal.shape[1]]  # a head without classes still has one column
    plain = _log_softmax(logits, legal)
    temperature = keep.temperature[head]
    tempered = plain if temperature == 1 else _log_softmax(logits / temperature, legal)
    return _filtered(tempered, keep), plain


def _log_softmax(logits: NDArray, legal: NDArray[np.bool_]) -> LogP:
    """Over the legal classes; a row without any is -inf throughout.

    By hand: scipy's gives NaN for such a row, and takes twice as long on the small arrays of a step.
    """
    scaled = np.where(legal, logits.astype(np.float64), -np.inf)
    scaled -= scaled.max(axis=1, keepdims=True, initial=-1e300)
    return scaled - np.log(np.maximum(np.exp(scaled).sum(axis=1, keepdims=True), 1e-300))


def _filtered(logp: LogP, keep: Filter) -> LogP:
    """`logp` `(N, classes)` with -inf outside of top-k and top-p; top-p counts the finite entries."""
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
    """The `width` best lines of each of `windows`, best first (fewer if the grammar has fewer).

    Windows are decoded in batches of `batch`. Rows whose line has ended are dropped.
    """
    for start in range(0, len(windows), batch):
        yield from _search(steps, grammar, windows[start : start + batch], width, keep)


def best_lines(
    steps: Steps,
    grammar: Grammar,
    windows: Rows,
    *,
    width: int,
    keep: Filter | None = None,
    batch: int = 256,
) -> Iterator[Hypothesis]:
    """The first line of `beam_search` for each of `windows`, at a fraction of the cost.

    A score never rises as a line grows. So no prefix that scores below the greedy line can become better than
    it, and the search drops such prefixes. A beam can lose the greedy line and end with a worse one. Such
    windows, in which nothing is left, are searched again in full.
    """
    for start in range(0, len(windows), batch):
        own = windows[start : start + batch]
        greedy = [lines[0] for lines in _search(steps, grammar, own, 1, keep)]
        if width == 1:
            yield from greedy
            continue
        floor = np.array([line.score for line in greedy]) - TOLERANCE
        found = _search(steps, grammar, own, width, keep, floor)
        lost = np.array([i for i, lines in enumerate(found) if not lines], dtype=np.int64)
        if len(lost):
            again = _search(steps, grammar, own[lost], width, keep)
            found = [*found]
            for i, lines in zip(lost, again, strict=True):
                found[i] = lines
        yield from (lines[0] for lines in found)


def _search(
    steps: Steps,
    grammar: Grammar,
    windows: Rows,
    width: int,
    keep: Filter | None,
    floor: LogP | None = None,
) -> list[list[Hypothesis]]:
    """One batch. `score` and `tokens` hold `width` hypotheses per window, finished or not.

    Hypotheses that score below `floor` (windows,) are dropped.
    """
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
        total = np.full((count, width, slots + 1), -np.inf)  # last column: a finished line stays
        total[window, slot, :slots] = score[window, slot, None] + found.score
        total[..., slots] = np.where(ended, score, -np.inf)
        if floor is not None:
            total[total < floor[:, None, None]] = -np.inf
        best = _best(total.reshape(count, -1), width)
        parent, choice = np.divmod(best, slots + 1)
        score = np.take_along_axis(total.reshape(count, -1), best, axis=1)
        live_row = np.full((count, width), -1, dtype=np.int64)
        live_row[window, slot] = np.arange(len(window))
        row = np.take_along_axis(live_row, parent, axis=1)
        grown = (choice < slots) & np.isfinite(score)
        column = np.minimum(choice, slots - 1)
        token = np.where(grown, found.token[row, column], PAD)
        tokens = np.take_along_axis(tokens, parent[..., None], axis=1)
        token_logp = np.take_along_axis(token_logp, parent[..., None], axis=1)
        tokens[..., step] = token
        token_logp[..., step] = np.where(grown, found.logp[row, column], 0.0)
        ended = np.isfinite(score) & (~grown | (token == EOS))
        window, slot = np.nonzero(grown & (token != EOS))
        if not len(window):
            break
        rows, taken = row[window, slot], token[window, slot]
        states = grammar.advance(states.take(rows), taken)
        logits, state = steps.advance(state, rows, taken)
    return [_hypotheses(*fields) for fields in zip(tokens, score, token_logp, strict=True)]


def _hypotheses(tokens: NDArray, score: LogP, token_logp: LogP) -> list[Hypothesis]:
    return [
        hypothesis(ids, parts, float(ranked))
        for ids, ranked, parts in zip(tokens, score, token_logp, strict=True)
        if np.isfinite(ranked)
    ]


def hypothesis(tokens: NDArray, token_logp: LogP, score: float) -> Hypothesis:
    """Lines from padded arrays, cut after EOS."""
    length = int(np.flatnonzero(tokens == EOS)[0]) + 1
    parts = token_logp[:length]
    return Hypothesis(tuple(tokens[:length].tolist()), score, float(parts.sum()), tuple(parts.tolist()))
