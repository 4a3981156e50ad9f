"""A screening design: pairs of runs that speak for many claims at once.

All open claims are varied together. The signs of a pair come from a row of a Hadamard matrix (a two-level
fractional factorial design of the Plackett–Burman kind): +1 puts a claim on the side `where`, -1 on the side
`against`. The second run of a pair is the fold-over of the first, with every sign reversed. So the difference
of the two is free of interactions between two claims, and of what the seed of the pair adds to both. Signs
are permuted at random, so that what other claims add is as often for a claim as against it.

Claims about the same parameters cannot be varied together. They form a group and take turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard

WHOLE_ROWS = 24  # pairs of the design, unless there are more groups: 48 runs
ROWS = 8  # pairs of a small round
SLOW = 1.5  # a claim whose runs take this much longer on one side counts as slow
ALONE = (6, 4)  # pairs of a first and of a later round if there is one group


def groups_of(names: Sequence[frozenset[str]]) -> list[list[int]]:
    """Groups claims by shared parameters: `names[i]` are those of claim i."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, own in enumerate(names):
        joined = [group for group in groups if group[0] & own]
        merged = (set(own).union(*(g[0] for g in joined)), [*(i for g in joined for i in g[1]), index])
        groups = [group for group in groups if group not in joined] + [merged]
    return sorted(sorted(members) for _, members in groups)


def rows_of(groups: Sequence[Sequence[int]], number: int) -> int:
    """The number of pairs of round `number` (from 1): first the whole design, then small rounds."""
    if len(groups) == 1:
        return ALONE[0] * min(3, len(groups[0])) if number == 1 else ALONE[1]
    if number > 1:
        return ROWS
    turns = 6 * max(len(group) for group in groups)  # six pairs for each claim of the largest group
    return max(ROWS * math.ceil((len(groups) + 1) / ROWS), min(WHOLE_ROWS, turns))


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
    """The claims of each pair with their signs: of every group the claim with the fewest pairs so far.

    Args:
        pairs: pairs that each claim has had.
        costs: how much longer a run takes on the slower side of each claim. Groups with slow runs are varied
            in every second pair only, all in the same ones, so that the other pairs stay cheap.
    """
    table = signs(len(groups), rows, rng)
    had = list(pairs)
    slow = [min(costs[i] for i in group) > SLOW for group in groups]
    found: list[dict[int, int]] = []
    for row in range(rows):
        members: dict[int, int] = {}
        for column, group in enumerate(groups):
            if slow[column] and row % 2 and not all(slow):
                continue
            index = min(group, key=lambda i: (had[i], costs[i]))
            had[index] += 1
            members[index] = int(table[row, column])
        found.append(members)
    return found
