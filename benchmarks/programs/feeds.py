"""Table: whole programs at other feeds, with holds, and cut; on recordings that no setting was chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import figures
import numpy as np
from programs.reading import auroc, problem, programs
from programs.warp import Warp, feed, hold, part, turns, warped

from model.clock import LAG, Clock, Stretch
from model.intervals import share
from model.library_fit import build
from model.matching import Query, match, match_at_any_feed
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
    "a hold of 10 s, sensors as noisy as before": hold(0.5, 38, unrest=1.0),
    "90, 100, 115 % in turns of 60 rows": turns((0.9, 1.0, 1.15), 60),
    "the first tenth missing": part(0.1, 1.0),
    "the last tenth missing": part(0.0, 0.9),
}
EACH = 2  # every second of them is warped
CLOSE = 0.02  # difference of feeds that counts as right
COLUMNS = ("exact_acc", "row_acc", "row_acc_near", "program_error_rate", "recording_operation_acc")
HEADS = (
    "windows",
    "rows",
    "within a row",
    "program error",
    "operation",
    "feed",
    "known",
    "rows claimed",
    "told",
)


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
    as_recorded = {k: match(library, Query.known(library, k), leave_out=[k]) for k in new}
    held: dict[str, str] = {}
    lines.head(f"leave-one-out, {len(new)} recordings, %", *HEADS)
    for name, warp in WARPS.items():
        scores, close, known, claimed, rows, told, holds = [], [], [], [], [], [], []
        for k in new:
            lag = max(0, LAG + int(library.delay[k]))
            changed = warped(data, index[library.known[k].name], warp, lag=lag)
            matches = match_at_any_feed(library, changed, 0, leave_out=[k])
            reading = read_rows(matches)
            of = problem(library, k, matches)
            scores.append(scored((reading.line[:, 0], matches.operation), of, changed, 0))
            close.append(abs(matches.query.clock.pace - (warp.pace or 1.0)) <= CLOSE * (warp.pace or 1.0))
            known.append(library.knows(matches.fit))
            holds.append((library.known[k].rows, matches.query.clock.holds))
            claimed.append(float(reading.probability.sum()))
            rows.append(len(reading.probability))
            whole = as_recorded[k].of_operation(library.known[k].operation)
            query = replace(whole.query, clock=true_clock(warp, library.known[k].rows))
            answer = read_rows(replace(whole, query=query)).line[:, 0], library.known[k].operation
            told.append(scored(answer, of, changed, 0))
        if warp.hold:
            lasts = float(np.nanmedian(np.diff(data.log["seconds"])))
            held[name] = hold_words(warp, holds, lasts)
        found = summary(scores)
        ones = np.ones(len(new))
        lines.row(
            name,
            *(found[key] for key in COLUMNS),
            "–" if warp.pace is None else share(np.array(close, dtype=float), ones),
            share(np.array(known, dtype=float), ones),
            share(np.array(claimed), np.array(rows, dtype=float)),
            summary(told)["row_acc"],
        )
    lines.say("")
    for name, words in held.items():
        lines.say(f"{name[0].upper()}{name[1:]}: {words}")
    same = programs(library)
    fits = []
    for k in new:
        leave_out = np.flatnonzero(np.isin(library.operations, sorted(same[library.known[k].operation])))
        recording = index[library.known[k].name]
        known = match_at_any_feed(library, data, recording, leave_out=[k]).fit
        fits.append((known, match_at_any_feed(library, data, recording, leave_out=leave_out.tolist()).fit))
    known, unknown = np.array(fits).T
    called = 100 * np.mean([not library.knows(fit) for fit in unknown])
    lines.say("")
    lines.say(
        f"As recorded, all recordings of their programs left out, time may bend: {called:.0f} % of these "
        f"{len(new)} are called unknown; AUROC of the fit {auroc(known, unknown)}."
    )


def hold_words(warp: Warp, found: Sequence[tuple[int, Sequence[Stretch]]], seconds: float) -> str:
    """How far the longest hold that was found is from the true one, by (rows of the recording, holds)."""
    starts, lengths, more = [], [], 0
    for rows, holds in found:
        if holds:
            longest = max(holds, key=lambda one: one.stop - one.start)
            start = int(np.flatnonzero(np.diff(warp.clock(rows)) == 0)[0])
            starts.append(abs(longest.start - start))
            lengths.append(abs(longest.stop - longest.start - warp.hold))
            more += len(holds) > 1
    if not starts:
        return f"found in 0 of {len(found)}."

    def error(values: Sequence[int]) -> str:
        median, most = np.median(values), np.quantile(values, 0.9)
        return f"{median:.0f} rows ({median * seconds:.1f} s; 90 %: {most:.0f} rows, {most * seconds:.1f} s)"

    return (
        f"found in {len(starts)} of {len(found)}, its start off by {error(starts)}, its length by "
        f"{error(lengths)}; another hold, which is none, in {more}."
    )


def true_clock(warp: Warp, rows: int) -> Clock:
    """The clock of a warped recording, which the oracle is told."""
    place = warp.clock(rows)
    before, after = round(float(place[0])), round(rows - 1 - float(np.floor(place[-1])))
    after = after if after > 1 else 0
    pace = Stretch(0, len(place), float(np.diff(place).mean()) if warp.pace is None else warp.pace)
    at = np.arange(len(place), dtype=float)
    return Clock(len(place), at, place - place[0], 0, rows - before - after, (pace,), before, after)
