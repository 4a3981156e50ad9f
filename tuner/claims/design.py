"""A screening design: pairs of runs that speak for many claims at once.

First every claim is varied alone, in one pair beside the default configuration. This shows which claims have
so large an effect that they must not be varied with others, and how long runs take on the sides of each. Then
all other open claims are varied together. The signs of a pair come from a row of a Hadamard matrix (a two-
level fractional factorial design of the Plackett–Burman kind): +1 puts a claim on the side `where`, -1 on the
side `against`. The second run of a pair is the fold-over of the first, with every sign reversed. So the
difference of the two is free of interactions between two claims, and of what the seed of the pair adds to
both. Signs are permuted at random, so that what other claims add is as often for a claim as against it.

Claims about the same parameters cannot be varied together. They form a group and take turns. After some
pairs each, one of them gets all turns until it is decided: a third of the pairs would decide none of three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard

WHOLE_ROWS = 24  # pairs of a whole design at once
FEW = 4  # groups of claims; with fewer, it is not worth the runs to vary each alone first
TURNS = 4  # pairs of each claim of a group, before one of them gets all turns
ROWS = 8  # pairs of a small round
SLOW = 1.4  # a claim whose runs take this much longer on one side counts as slow
ALONE = (6, 4)  # pairs of a first and of a later round if there is one group


def groups_of(names: Sequence[frozenset[str]]) -> list[list[int]]:
    """Groups claims by shared parameters: `names[i]` are those of claim i."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, own in enumerate(names):
        joined = [group for group in groups if group[0] & own]
        merged = (set(own).union(*(g[0] for g in joined)), [*(i for g in joined for i in g[1]), index])
        groups = [group for group in groups if group not in joined] + [merged]
    return sorted(sorted(members) for _, members in groups)


def rows_of(groups: Sequence[Sequence[int]], first: bool) -> int:
    """The number of pairs of a round: of the first one, or of a later one."""
    if len(groups) == 1:
        return ALONE[0] * min(3, len(groups[0])) if first else ALONE[1]
    return ROWS * math.ceil((len(groups) + 1) / ROWS) if first else ROWS


def signs(columns: int, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Signs `(row, column)` from a Hadamard matrix, with rows, columns and signs permuted at random."""
    size = 2 ** math.ceil(math.log2(max(columns + 1, rows, 2)))
    matrix = hadamard(size)[rng.permutation(size)][:rows, 1:]
    chosen = matrix[:, rng.permutation(size - 1)[:columns]]
    flips = rng.choice([-1, 1], size=columns), rng.choice([-1, 1], size=(rows, 1))
    return np.asarray(chosen * flips[0] * flips[1], dtype=np.int64)


def turns(
    groups: Sequence[Sequence[int]],
    rows: int,
    rng: np.random.Generator,
    *,
    pairs: Sequence[int],
    costs: Sequence[float],
) -> list[dict[int, int]]:
    """The claims of each pair with their signs: of every group one claim.

    Args:
        pairs: pairs that each claim has had.
        costs: how much longer a run takes on the slower side of each claim. Groups with slow runs wait until
            no other group is left: beside them, every pair would take as long.
    """
    quick = [group for group in groups if min(costs[i] for i in group) <= SLOW]
    groups = quick or groups
    table = signs(len(groups), rows, rng)
    had = list(pairs)
    found: list[dict[int, int]] = []
    for row in range(rows):
        members: dict[int, int] = {}
        for column, group in enumerate(groups):
            index = min(
                group, key=lambda i: (had[i] >= TURNS, had[i] if had[i] < TURNS else -had[i], costs[i])
            )
            had[index] += 1
            members[index] = int(table[row, column])
        found.append(members)
    return found
