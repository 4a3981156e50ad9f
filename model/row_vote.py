"""Reads a recording row by row: the known recordings of its operation vote, each with its own log.

The length of a recording tells by how many rows its lines are shifted, so each known recording votes for the
line that it has at the row moved by the difference in length (most of its weight), and at the same row (the
rest: some recordings wait longer at the start). Correlation, length and nearness in time weigh the votes.
Parameters were chosen leave-one-out on the public recordings (`benchmarks/bench_programs.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.matching import Matches

LONGEST = 30  # rows of difference that still make a difference
MOST_SHIFT = 25  # rows; a larger difference is a recording that was cut, and shifts no line
OTHERS = 4  # lines kept per row


@dataclass(frozen=True)
class Votes:
    """How votes are weighed; the defaults won leave-one-out.

    Attributes:
        correlation, length, apart: of the log-weight, each unit (a row, a spread of the levels).
        unshifted: share of a vote that stays at its row.
    """

    correlation: float = 15.0
    length: float = 2.0
    apart: float = 20.0
    unshifted: float = 0.2


DEFAULT = Votes()
DOUBTING = Votes(correlation=10.0, length=0.4, apart=1.0)  # how sure: more recordings count than decide


@dataclass(frozen=True, eq=False)
class Reading:
    """The lines of the rows of a recording.

    Attributes:
        matches: with the known recordings of the operation; weight: (K,) of their votes, sums to one.
        line: (rows, `OTHERS`) index into the lines of the library, most votes first; -1: no more lines.
        share: (rows, `OTHERS`) of the votes that decide; likely: of those that tell how sure (`DOUBTING`).
        place: (rows,) the place of the first line, with most votes.
        probability: (rows,) that the first line is right; others: (rows, `OTHERS` - 1) that another one is.
    """

    matches: Matches
    weight: np.ndarray
    line: np.ndarray
    share: np.ndarray
    likely: np.ndarray
    place: np.ndarray
    probability: np.ndarray
    others: np.ndarray

    def lines(self, rows: int | None = None) -> list[str]:
        """The line of each row. Rows after the last one that was read start the program again."""
        names = self.matches.library.lines
        order = np.arange(len(self.line) if rows is None else rows) % len(self.line)
        return [names[i] for i in self.line[order, 0]]


def read_rows(matches: Matches, *, votes: Votes = DEFAULT) -> Reading:
    """Reads a recording with the known recordings of its operation.

    `votes` decide. They agree with few known recordings, so the votes of `DOUBTING` tell how sure a line is.
    """
    matches = matches.of_operation(matches.operation)
    library, clock = matches.library, matches.query.clock
    rows = np.arange(clock.rows)
    here = np.stack([clock.lines(later) for later in clock.doubts])  # (doubts, rows)
    longer, weight = weights(matches, votes)
    both = np.stack([weight, weights(matches, DOUBTING)[1]], axis=-1)  # (K, lengths, 2)
    casts, powers = [], []
    for k, mine, each in zip(matches.which, longer, both, strict=True):
        last = library.known[k].rows - 1
        for by, vote in zip(mine, each, strict=True):
            moved = int(by) + clock.before if abs(by) <= MOST_SHIFT else clock.before
            if clock.before and not clock.after:
                moved = last + 1 - clock.length
            for shift, part in ((moved, 1 - votes.unshifted), (clock.before, votes.unshifted)):
                casts.append(library.places(k)[np.clip(here + shift, 0, last)])
                powers.append(vote * part * np.array(list(clock.doubts.values()))[:, None])
    cast, power = np.concatenate(casts), np.concatenate(powers)  # (votes, rows) places, (votes, 2)
    used, local = np.unique(cast, return_inverse=True)
    local = local.reshape(cast.shape)
    of_place = np.zeros((clock.rows, len(used), 2))
    np.add.at(of_place, (rows[None], local), power[:, None])
    texts, text = np.unique(library.place_line[used], return_inverse=True)
    of_line = np.zeros((len(texts), clock.rows, 2))
    np.add.at(of_line, text, of_place.transpose(1, 0, 2))
    decides, doubts = of_line.transpose(2, 1, 0)
    order = np.argsort(-decides, axis=1, kind="stable")[:, :OTHERS]
    share, likely = (np.take_along_axis(each, order, axis=1) for each in (decides, doubts))
    first = np.where(text[None] == order[:, :1], of_place[:, :, 0], -1.0).argmax(axis=1)
    return Reading(
        matches=matches,
        weight=weight.sum(axis=1),
        line=np.where(share > 0, texts[order], -1),
        share=share,
        likely=likely,
        place=used[first],
        probability=trusted(library.trust, likely[:, 0]),
        others=trusted(library.trust_others, likely[:, 1:]) * (share[:, 1:] > 0),
    )


def weights(matches: Matches, votes: Votes = DEFAULT) -> tuple[np.ndarray, np.ndarray]:
    """(K, lengths) rows by which each known recording is longer, and the weight of its vote.

    If the length of the whole recording is not known to a row, every length that a known one has is tried:
    those made near in time tell which.
    """
    clock = matches.query.clock
    other = np.unique(matches.longer[np.abs(matches.longer) <= clock.slack])  # … than these say
    longer = matches.longer[:, None] - (other if clock.slack and len(other) else np.zeros(1, dtype=int))
    power = (
        votes.correlation * matches.correlation[:, None]
        - votes.length * np.minimum(np.abs(longer), LONGEST)
        - votes.apart * matches.apart[:, None]
    )
    weight = np.exp(power - power.max())
    return longer, np.asarray(weight / weight.sum())


def trusted(curve: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The probability that a line is right, from the share of the votes that tell how sure it is."""
    return np.interp(share, *curve) if curve.shape[1] else share
