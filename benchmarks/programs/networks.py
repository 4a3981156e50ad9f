"""Table: do networks help the vote of known recordings? Their windows as evidence, on the part test, at
several feeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import figures
import numpy as np
from programs.warp import Warp, feed, warped

from ensemble.library import known_recordings
from inference.pipeline import Decoder
from inference.whole import rows_of_windows
from model.clock import LAG
from model.config import Config
from model.intervals import share
from model.library import Library
from model.matching import match_at_any_feed
from model.recordings import Recordings
from model.row_vote import Reading, read_rows
from model.windows import split

FEEDS: dict[str, Warp] = {
    "100 %": feed(1.0),
    "110 %": feed(1.1),
    "80 %": feed(0.8),
}
POWERS = (0.0, 0.1, 0.3, 1.0)  # of the probabilities of windows, beside the share of the votes
LEAST = 1e-3
WIDE = 12  # lines per window


def network_tables(data: Recordings, lines: figures.Lines, runs: Sequence[Path]) -> None:
    """Windows of each network alone; rows by votes times window probabilities to a power."""
    library = Library.of(data, known_recordings(data, seed=Config.split_seed, everything=False))
    every = Library.of(data)
    delay = {known.name: int(late) for known, late in zip(every.known, every.delay, strict=True)}
    test = split(data, seed=Config.split_seed)["test"]
    votes = [f"vote · p^{power:g}" if power else "vote alone" for power in POWERS]
    lines.head(
        f"part test, {len(test)} recordings, %", "feed", "windows, network alone", *votes, words=(0, 1)
    )
    decoders = [Decoder.from_run(run) for run in runs]
    for name, warp in FEEDS.items():
        right: list[list[tuple[int, int]]] = [[] for _ in decoders]
        rows: list[list[list[int]]] = [[] for _ in decoders]
        sizes = []
        for i in test:
            lag = max(0, LAG + delay.get(data.recordings[i].name, 0))
            changed = warped(data, i, warp, lag=lag)
            reading = read_rows(match_at_any_feed(library, changed, 0))
            sizes.append(len(reading.line))
            for n, decoder in enumerate(decoders):
                windows = decoder.decode_data(changed, [0], alternatives=WIDE)
                right[n].append((sum(w.line == w.truth for w in windows), len(windows)))
                said, probability, others = rows_of_windows(windows, sizes[-1], decoder)
                says = [
                    {line: p, **dict(rest)} for line, p, rest in zip(said, probability, others, strict=True)
                ]
                rows[n].append([rows_right(changed, reading, says, power) for power in POWERS])
        for n, decoder in enumerate(decoders):
            part, of = np.array(right[n], dtype=float).T
            found = [share(each, np.array(sizes, dtype=float)) for each in np.array(rows[n], dtype=float).T]
            warp_key = decoder.predictor.config.time_warp
            lines.row(f"network, time_warp {warp_key:g}", name, share(part, of), *found)


def rows_right(data: Recordings, reading: Reading, says: Sequence[dict[str, float]], power: float) -> int:
    """Rows that are right by votes times window probabilities to a power."""
    names, right = reading.matches.library.lines, 0
    for row, (voted, shares, said) in enumerate(zip(reading.line, reading.share, says, strict=True)):
        weights = {
            names[line]: float(votes) * (said.get(names[line], 0) + LEAST) ** power
            for line, votes in zip(voted, shares, strict=True)
            if line >= 0
        }
        right += max(weights, key=weights.__getitem__) == data.lines[data.line_ids[row]]
    return right
