"""Table: whole programs at other feeds, with holds, and cut; on recordings that no setting was chosen on."""

from __future__ import annotations

import figures
import numpy as np
from programs.reading import problem
from programs.warp import Warp, feed, hold, part, turns, warped

from model.clock import LAG
from model.intervals import share
from model.library_fit import build
from model.matching import match_at_any_feed
from model.recordings import Recordings
from model.row_baselines import scored
from model.row_metrics import summary
from model.row_vote import read_rows

WARPS: dict[str, Warp] = {
    "as recorded": feed(1.0),
    "feed 110 %": feed(1.1),
    "feed 80 %": feed(0.8),
    "feed 93 %": feed(0.93),
    "a hold of 10 s": hold(0.5, 38),
    "90, 100, 115 % in turns of 60 rows": turns((0.9, 1.0, 1.15), 60),
    "the first tenth missing": part(0.1, 1.0),
    "the last tenth missing": part(0.0, 0.9),
}
EACH = 2  # every second of them is warped
CLOSE = 0.02  # difference of feeds that counts as right
COLUMNS = ("exact_acc", "row_acc", "row_acc_near", "program_error_rate", "recording_operation_acc")
HEADS = ("windows", "rows", "within a row", "program error", "operation", "feed", "known", "rows claimed")


def chosen_on(number: int) -> bool:
    """Whether settings were chosen on the recording with this number within its operation."""
    return number % 6 in (1, 3) or number % 5 == 0


def feed_tables(data: Recordings, lines: figures.Lines) -> None:
    """Each recording left out and warped. The sensors lag behind by their delay against the operation."""
    library = build(data)
    index = {recording.name: i for i, recording in enumerate(data.recordings)}
    new = []
    for operation in sorted(set(library.operations)):
        here = [
            int(k)
            for k in np.flatnonzero(library.operations == operation)
            if not data.recordings[index[library.known[k].name]].frozen_rows
        ]
        new += [k for number, k in enumerate(here) if not chosen_on(number)][::EACH]
    lines.head(f"leave-one-out, {len(new)} recordings, %", *HEADS)
    for name, warp in WARPS.items():
        scores, close, known, claimed, rows = [], [], [], [], []
        for k in new:
            lag = max(0, LAG + int(library.delay[k]))
            changed = warped(data, index[library.known[k].name], warp, lag=lag)
            matches = match_at_any_feed(library, changed, 0, leave_out=[k])
            reading = read_rows(matches)
            of = problem(library, k, matches)
            scores.append(scored((reading.line[:, 0], matches.operation), of, changed, 0))
            close.append(abs(matches.query.clock.pace - (warp.pace or 1.0)) <= CLOSE * (warp.pace or 1.0))
            known.append(library.knows(matches.fit))
            claimed.append(float(reading.probability.sum()))
            rows.append(len(reading.probability))
        found = summary(scores)
        ones = np.ones(len(new))
        lines.row(
            name,
            *(found[key] for key in COLUMNS),
            "–" if warp.pace is None else share(np.array(close, dtype=float), ones),
            share(np.array(known, dtype=float), ones),
            share(np.array(claimed), np.array(rows, dtype=float)),
        )
