"""Table: what is known of a recording after some seconds of it, while it is being made."""

from __future__ import annotations

import figures
import numpy as np
from programs.reading import programs

from model.intervals import share
from model.library_fit import build
from model.matching import Query
from model.prefix_match import PrefixMatcher
from model.recordings import Recordings

SECONDS = (15, 30, 45, 60, 90, 120)
ROW_SECONDS = 0.26
EACH = 2  # every second recording is replayed


def live_tables(data: Recordings, lines: figures.Lines) -> None:
    """Every second recording, left out and replayed, in rows."""
    library = build(data)
    matcher = PrefixMatcher(library)
    same = programs(library)
    heads = ("operation right", "program right", "line right", "true line in range", "false alarms")
    lines.head("seconds seen, %", "recordings", *heads, "alarms, another program expected", words=())
    for seconds in SECONDS:
        rows = round(seconds / ROW_SECONDS)
        found: dict[str, list[float]] = {}
        for k, known in list(enumerate(library.known))[::EACH]:
            if known.rows < rows:
                continue
            start = Query.known(library, k).first(rows)
            seen = matcher.seen(start, expected=known.operation, leave_out=(k,))
            assert seen is not None, "enough rows"
            place = library.places(k)[rows - 1]
            wrong = next(o for o in sorted(set(library.operations)) if o not in same[known.operation])
            other = matcher.seen(start, expected=wrong, leave_out=(k,))
            assert other is not None, "enough rows"
            values = {
                "operation": seen.operation == known.operation,
                "program": seen.operation in same[known.operation],
                "line": seen.line == library.lines[library.place_line[place]],
                "range": seen.low <= library.number[place] <= seen.high,
                "alarm": seen.alarm,
                "wrong": other.alarm,
            }
            for name, value in values.items():
                found.setdefault(name, []).append(float(value))
        shares = [share(np.array(values), np.ones(len(values))) for values in found.values()]
        lines.row(seconds, len(found["line"]), *shares)
