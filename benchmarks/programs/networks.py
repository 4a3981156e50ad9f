"""Table: do networks help the vote of known recordings? Their windows as evidence, on the part test."""

from __future__ import annotations

from pathlib import Path

import figures
import numpy as np
from programs.reading import COLUMNS, add

from ensemble.library import known_recordings
from inference.pipeline import Decoder
from inference.whole import rows_of_windows
from model.config import Config
from model.library import Library
from model.matching import match_at_any_feed
from model.recordings import Recordings
from model.row_baselines import problem_of, scored
from model.row_metrics import summary
from model.row_vote import read_rows
from model.windows import split

POWERS = (0.0, 0.05, 0.1, 0.3, 1.0)  # of the probabilities of windows, beside the share of the votes
LEAST = 1e-3
WIDE = 12  # lines per window


def network_tables(data: Recordings, lines: figures.Lines, bundle: Path) -> None:
    """Rows by votes times window probabilities to a power; each window alone."""
    decoder = Decoder.from_bundle(bundle)
    library = Library.of(data, known_recordings(data, seed=Config.split_seed, everything=False))
    ids = {line: i for i, line in enumerate(library.lines)}
    test = split(data, seed=Config.split_seed)["test"]
    scores: dict[str, list] = {}
    for i in test:
        problem = problem_of(library, data, i)
        live = len(problem.truth)
        windows = decoder.decode_data(data, [i], alternatives=WIDE)
        read, probability, others = rows_of_windows(windows, live, decoder)
        says = [{line: p, **dict(rest)} for line, p, rest in zip(read, probability, others, strict=True)]
        reading = read_rows(match_at_any_feed(library, data, i))
        for power in POWERS:
            answer = []
            for voted, shares, said in zip(reading.line, reading.share, says, strict=True):
                weights = {
                    int(line): float(share) * (said.get(library.lines[line], 0) + LEAST) ** power
                    for line, share in zip(voted, shares, strict=True)
                    if line >= 0
                }
                answer.append(max(weights, key=weights.__getitem__))
            name = f"vote · window probability^{power:g}" if power else "vote alone"
            score = scored((np.array(answer), problem.matches.operation), problem, data, i)
            scores.setdefault(name, []).append(score)
        alone = np.array([ids.get(line, 0) for line in read])
        name = "each window alone, read at its middle"
        scores.setdefault(name, []).append(scored((alone, ""), problem, data, i))
    members = len(decoder.predictor.bundle.members)
    lines.head(f"part test, bundle of {members} networks, %", *COLUMNS.values())
    for name, found in scores.items():
        add(lines, name, summary(found))
