"""Table: do networks help the vote of known recordings? Their windows as evidence, on the part test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from programs.tables import header, row

from ensemble.library import known_recordings
from inference.pipeline import Decoder
from inference.whole import rows_of_windows
from model.config import Config
from model.library import Library
from model.matching import Query, match
from model.recordings import Recordings
from model.row_baselines import problem_of, scored
from model.row_metrics import summary
from model.row_vote import read_rows
from model.windows import split

POWERS = (0.0, 0.05, 0.1, 0.3, 1.0)  # of the probabilities of windows, beside the share of the votes
LEAST = 1e-3
WIDE = 12  # lines per window


def network_tables(data: Recordings, bundle: Path) -> Iterator[str]:
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
        lines, probability, others = rows_of_windows(windows, live, decoder)
        says = [{line: p, **dict(rest)} for line, p, rest in zip(lines, probability, others, strict=True)]
        reading = read_rows(match(library, Query.of(data, i)), live)
        for power in POWERS:
            answer = []
            for k in range(live):
                voted = [(int(a), float(s)) for a, s in zip(reading.line[k], reading.share[k], strict=True)]
                answer.append(
                    max(
                        (
                            (a, s * (says[k].get(library.lines[a], 0) + LEAST) ** power)
                            for a, s in voted
                            if a >= 0
                        ),
                        key=lambda pair: pair[1],
                    )[0]
                )
            name = f"vote · window probability^{power:g}" if power else "vote alone"
            score = scored((np.array(answer), problem.matches.operation), problem, data, i)
            scores.setdefault(name, []).append(score)
        alone = np.array([ids.get(line, 0) for line in lines])
        scores.setdefault("each window alone, read at its middle", []).append(
            scored((alone, ""), problem, data, i)
        )
    members = len(decoder.predictor.bundle.members)
    yield from header(f"part test, bundle of {members} networks, %")
    for name, found in scores.items():
        yield row(name, summary(found))
