"""The log-probabilities of K members, reduced without loss to what weights can change.

Two facts hold for any weights, with linear and log-linear pooling. If all members have the same argmax, it
is the argmax of the pool. A class that all members rate below the same other class never wins. Only a few
classes at the contested positions are left. So greedy selection over full vocabularies is cheap and exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ensemble.bundle import Pooling
from ensemble.predictions import Layout, stacked
from model.tokens import HEADS

PADDING = -1e4  # log-probability of an empty slot: its exp is 0, and 0 times it is finite


@dataclass(frozen=True)
class Block:
    """K members on one group of positions: `log_p` (K, n, v), `gold` (n,) class, `position` (n,)."""

    log_p: np.ndarray
    gold: np.ndarray
    position: np.ndarray

    def subset(self, keep: np.ndarray) -> Block:
        """The block at positions with `keep` (P,)."""
        here = keep[self.position]
        return Block(np.compress(here, self.log_p, axis=1), self.gold[here], self.position[here])


@dataclass(frozen=True)
class Contest:
    """The argmaxes that depend on weights: `log_p` (K, c, m) of m classes at c of the N positions of a head.

    `slot` (c,): index of the gold class among the m. `at` (c,): index of the position among the N. `settled`
    (N,): whether the pool is right for any weights (false at contested positions).
    """

    log_p: np.ndarray
    slot: np.ndarray
    at: np.ndarray
    settled: np.ndarray

    @cached_property
    def p(self) -> np.ndarray:
        """(K, c, m) probabilities."""
        return np.exp(self.log_p)


@dataclass(frozen=True)
class Table:
    """One head: `position` (N,) index among the P, `gold` (K, N) log-probability of the target."""

    head: str
    position: np.ndarray
    gold: np.ndarray
    contest: Contest
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, head: str, blocks: Sequence[Block], *, members: int) -> Table:
        """Builds the reduced form from full `blocks`."""
        position = np.concatenate([block.position for block in blocks] or [np.empty(0, dtype=np.int64)])
        gold = [block.log_p[:, np.arange(len(block.gold)), block.gold] for block in blocks]
        return cls(
            head=head,
            position=position,
            gold=np.concatenate(gold or [np.empty((members, 0))], axis=1).astype(np.float64),
            contest=_contest(blocks, members),
            blocks=tuple(blocks),
        )

    @property
    def members(self) -> int:
        """K."""
        return len(self.gold)

    def subset(self, keep: np.ndarray) -> Table:
        """The table at positions with `keep` (P,)."""
        here = keep[self.position]
        chosen = here[self.contest.at]
        renumbered = np.cumsum(here) - 1
        contest = Contest(
            np.compress(chosen, self.contest.log_p, axis=1),
            self.contest.slot[chosen],
            renumbered[self.contest.at[chosen]],
            self.contest.settled[here],
        )
        blocks = tuple(block.subset(keep) for block in self.blocks)
        return dataclasses.replace(
            self, position=self.position[here], gold=self.gold[:, here], contest=contest, blocks=blocks
        )

    def of_members(self, members: Sequence[int]) -> Table:
        """The table of some members, in the given order."""
        chosen = list(members)
        blocks = [dataclasses.replace(block, log_p=block.log_p[chosen]) for block in self.blocks]
        return Table.of(self.head, blocks, members=len(chosen))

    def right(self, weights: np.ndarray, *, pooling: Pooling) -> np.ndarray:
        """(N,) whether the most probable class of the pool is the target."""
        contest = self.contest.p if pooling == "mixture" else self.contest.log_p
        scores = np.tensordot(weights.astype(np.float32), contest, axes=1)
        right = self.contest.settled.copy()
        right[self.contest.at] = scores.argmax(axis=-1) == self.contest.slot
        return right

    def log_likelihood(self, weights: np.ndarray, *, pooling: Pooling) -> np.ndarray:
        """(N,) log-probability of the target in the pool."""
        if pooling == "mixture":
            best = self.gold.max(axis=0)
            return best + np.log(np.maximum(weights @ np.exp(self.gold - best), 1e-300))
        out = weights @ self.gold
        at = 0
        for block in self.blocks:
            pooled = np.tensordot(weights.astype(np.float32), block.log_p, axes=1)
            out[at : at + len(block.gold)] -= log_sum_exp(pooled)
            at += len(block.gold)
        return out


@dataclass(frozen=True)
class Tables:
    """All heads of one part, with the windows of positions and the recordings of windows."""

    layout: Layout
    heads: Mapping[str, Table]
    windows: np.ndarray  # (w,) the windows used, of the W of the part

    @classmethod
    def of(cls, layout: Layout, members: Sequence[dict[str, list[np.ndarray]]]) -> Tables:
        """From `read_log_probabilities` of K members."""
        heads = {
            head: Table.of(
                head,
                [
                    Block(log_p, group.gold, group.position)
                    for log_p, group in zip(stacked(members, head), layout.groups[head], strict=True)
                ],
                members=len(members),
            )
            for head in HEADS
        }
        return cls(layout, heads, np.arange(layout.targets.windows))

    @property
    def members(self) -> int:
        """K."""
        return next(iter(self.heads.values())).members

    @property
    def recordings(self) -> np.ndarray:
        """(w,) the recording of each window."""
        return self.layout.targets.recording[self.windows]

    def subset(self, windows: np.ndarray) -> Tables:
        """The tables of some windows, given as indices into the W of the part."""
        chosen = np.zeros(self.layout.targets.windows, dtype=bool)
        chosen[windows] = True
        keep = chosen[self.layout.targets.window]
        return Tables(
            self.layout,
            {name: table.subset(keep) for name, table in self.heads.items()},
            np.flatnonzero(chosen),
        )

    def of_members(self, members: Sequence[int]) -> Tables:
        """The tables of some members."""
        heads = {name: table.of_members(members) for name, table in self.heads.items()}
        return dataclasses.replace(self, heads=heads)

    def token_right(self, weights: Mapping[str, np.ndarray], *, pooling: Pooling) -> np.ndarray:
        """(P,) whether all heads of the token are right; false outside the chosen windows."""
        targets = self.layout.targets
        right = ~self.layout.unknown & np.isin(targets.window, self.windows)
        for head, table in self.heads.items():
            right[table.position] &= table.right(weights[head], pooling=pooling)
        return right

    def exact(self, weights: Mapping[str, np.ndarray], *, pooling: Pooling) -> np.ndarray:
        """(w,) whether the whole line is right.

        Greedy decoding follows the true prefix as long as it is right. So the free-running line is right
        exactly if all teacher-forced positions are.
        """
        targets = self.layout.targets
        wrong = ~self.token_right(weights, pooling=pooling)
        return (np.bincount(targets.window[wrong], minlength=targets.windows) == 0)[self.windows]

    def nll(self, weights: Mapping[str, np.ndarray], *, pooling: Pooling) -> np.ndarray:
        """(w,) negative log-probability of the true line, in nats."""
        targets = self.layout.targets
        total = np.zeros(targets.windows)
        for head, table in self.heads.items():
            values = table.log_likelihood(weights[head], pooling=pooling)
            total -= np.bincount(targets.window[table.position], weights=values, minlength=targets.windows)
        return total[self.windows]


def log_sum_exp(scores: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    top = scores.max(axis=-1)
    return top + np.log(np.exp(scores - top[..., None]).sum(axis=-1))


def _contest(blocks: Sequence[Block], members: int) -> Contest:
    """Finds the positions and classes where the argmax depends on the weights."""
    settled, kept, slots, at, offset = [], [], [], [], 0
    for block in blocks:
        top = block.log_p.argmax(axis=-1)  # (K, n)
        agreed = (top == top[0]).all(axis=0)
        settled.append(agreed & (top[0] == block.gold))
        for i in np.flatnonzero(~agreed):
            classes = _undominated(block.log_p[:, i], top[:, i])
            if block.gold[i] in classes:  # otherwise the pool is wrong for any weights
                slots.append(int(np.flatnonzero(classes == block.gold[i])[0]))
                kept.append(block.log_p[:, i, classes])
                at.append(offset + i)
        offset += len(block.gold)
    width = max((log_p.shape[1] for log_p in kept), default=1)
    log_p = np.full((members, len(kept), width), PADDING, dtype=np.float32)
    for row, values in enumerate(kept):
        log_p[:, row, : values.shape[1]] = values
    return Contest(
        log_p,
        np.array(slots, dtype=np.int64),
        np.array(at, dtype=np.int64),
        np.concatenate(settled or [np.empty(0, dtype=bool)]),
    )


def _undominated(log_p: np.ndarray, top: np.ndarray) -> np.ndarray:
    """The classes of one position (K, v) that can win: no member's argmax is above them in all members."""
    alive = np.ones(log_p.shape[1], dtype=bool)
    for favourite in np.unique(top):
        alive &= (log_p > log_p[:, favourite, None]).any(axis=0)
    alive[np.unique(top)] = True
    return np.flatnonzero(alive)
