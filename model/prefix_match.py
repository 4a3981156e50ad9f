"""Compares the first rows of a recording with the known ones while it is being made.

The length is not known yet, so nothing tells by how many rows the lines are shifted: known recordings vote
with every shift that recordings of their operation have among each other. Operation and alarms come from
correlation alone. How well first rows fit usually is measured on the known recordings of the operation, at
the same number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.library import Library
from model.matching import Matches, Query, match
from model.registration import MAX_DELAY
from model.row_vote import DEFAULT

LEAST = 40  # rows before anything is said
GRID = 64  # rows between two of the numbers of rows at which usual fits are measured
MARGIN = 1.25  # of the largest usual distance, before an alarm


@dataclass(frozen=True)
class Seen:
    """What the first rows tell.

    Attributes:
        operation: with the highest correlation; share: its share of the votes of all operations.
        line: most votes for the last row; probability: its share of the votes; number: its line number.
        low, high: line numbers that have 90 % of the votes (UNKNOWN without line numbers).
        delay: rows by which the sensors lag behind those of `like`.
        strange: how far the fit lies below the median of the known recordings; limit: above it is
            an alarm.
    """

    rows: int
    operation: str
    share: float
    line: str
    probability: float
    number: int
    low: int
    high: int
    like: str
    delay: int
    strange: float
    limit: float

    @property
    def alarm(self) -> bool:
        """Whether the operation never began so strangely."""
        return self.strange > self.limit


class PrefixMatcher:
    """Answers for first rows; remembers how well the known recordings fit each other at each number of
    rows."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._usual: dict[tuple[str, int], np.ndarray] = {}

    def seen(
        self, query: Query, *, expected: str | None = None, leave_out: tuple[int, ...] = ()
    ) -> Seen | None:
        """The answer after the rows of `query`; None if they are too few.

        Args:
            expected: the operation that alarms are about; None: the one found.
        """
        rows = len(query.shape)
        if rows < LEAST:
            return None
        matches = match(self.library, query, leave_out=leave_out)
        best: dict[str, float] = {}
        for operation in sorted(set(self.library.operations[matches.which])):
            best[operation] = float(matches.of_operation(operation).correlation.max())
        operation = max(best, key=lambda name: best[name])
        power = np.exp(DEFAULT.correlation * (np.array(list(best.values())) - best[operation]))
        asked = expected if expected is not None else operation
        strange, limit = self._strangeness(asked, query, leave_out)
        own = matches.of_operation(operation)
        numbers, votes, place = self._votes(own, rows - 1)
        low, high = _range(numbers, votes)
        heaviest = int(own.correlation.argmax())
        by_line = np.bincount(self.library.place_line[place], votes)
        line = int(by_line.argmax())
        at = np.where(self.library.place_line[place] == line, votes, -1.0).argmax()
        return Seen(
            rows=rows,
            operation=operation,
            share=float(1 / power.sum()),
            line=self.library.lines[line],
            probability=min(1.0, float(by_line[line] / votes.sum())),
            number=int(numbers[at]),
            low=low,
            high=high,
            like=self.library.known[int(own.which[heaviest])].name,
            delay=int(own.delay[heaviest]),
            strange=strange,
            limit=limit,
        )

    def _strangeness(self, operation: str, query: Query, leave_out: tuple[int, ...]) -> tuple[float, float]:
        """How far the first rows fit an operation worse than usual, and the largest usual distance.

        Both are measured at a multiple of `GRID` rows. A recording that runs on after the longest known one
        is infinitely strange.
        """
        mine = np.flatnonzero(self.library.operations == operation)
        kept = np.setdiff1d(mine, leave_out)
        at = len(query.shape) // GRID * GRID
        if not len(kept) or at < GRID:
            return 0.0, float("inf")
        if len(query.shape) > int(self.library.rows[kept].max()) + MAX_DELAY:
            return float("inf"), 0.0
        if (operation, at) not in self._usual:
            self._usual[operation, at] = self._usual_at(operation, at)
        usual = self._usual[operation, at][np.isin(mine, kept)]
        usual = usual[np.isfinite(usual)]
        if len(usual) < 2:
            return 0.0, float("inf")
        start = query.first(at)
        rest = np.setdiff1d(np.arange(len(self.library.known)), kept)
        correlation = float(match(self.library, start, leave_out=rest.tolist()).correlation.max())
        middle = max(float(np.median(usual)), 1e-6)
        return 1 - correlation / middle, MARGIN * float((1 - usual / middle).max())

    def _usual_at(self, operation: str, rows: int) -> np.ndarray:
        """Best correlation of the first rows of each recording of an operation with the others, or NaN."""
        mine = np.flatnonzero(self.library.operations == operation)
        rest = np.setdiff1d(np.arange(len(self.library.known)), mine)
        found = []
        for k in mine:
            whole = Query.known(self.library, int(k))
            if len(whole.shape) < rows or len(mine) < 2:
                found.append(float("nan"))
                continue
            start = whole.first(rows)
            others = match(self.library, start, leave_out=[*rest.tolist(), int(k)])
            found.append(float(others.correlation.max()))
        return np.array(found)

    def _votes(self, own: Matches, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers, weights and places that are voted for in a row, with every usual shift."""
        weight = np.exp(DEFAULT.correlation * (own.correlation - own.correlation.max()))
        lengths = self.library.rows[own.which]
        place = np.concatenate(
            [
                self.library.places(int(k))[np.clip(row + length - lengths, 0, length - 1)]
                for k, length in zip(own.which, lengths, strict=True)
            ]
        )
        votes = np.repeat(weight, len(lengths)) / len(lengths)
        return self.library.number[place], votes, place


def _range(numbers: np.ndarray, votes: np.ndarray, share: float = 0.9) -> tuple[int, int]:
    """The numbers between which `share` of the votes lie."""
    order = np.argsort(numbers, kind="stable")
    total = np.cumsum(votes[order]) / votes.sum()
    low = int(np.searchsorted(total, (1 - share) / 2))
    high = int(np.searchsorted(total, (1 + share) / 2))
    return int(numbers[order][low]), int(numbers[order][min(high, len(order) - 1)])
