"""Tables: rows, programs and operations, by how the known recordings are used; unknown programs;
confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import figures
import numpy as np

from inference.calibrate import ece
from inference.whole import Reader
from model.config import Config
from model.controller_log import begins
from model.intervals import Interval, figure
from model.library import Library
from model.library_fit import build
from model.matching import Matches, match_each_other
from model.merged_program import merged
from model.recording_files import from_table
from model.recordings import Recordings
from model.row_baselines import ROW_BASELINES, Problem, row_baselines, scored
from model.row_metrics import common_length, merged_neighbours, summary
from model.row_vote import Votes, read_rows
from model.simulator import Simulation, simulate
from model.windows import split

COLUMNS = {
    "exact_acc": "windows",
    "row_acc": "rows",
    "row_acc_near": "within a row",
    "program_error_rate": "program error",
    "line_recall": "lines found",
    "line_invented": "invented",
    "recording_operation_acc": "operation",
}
ABLATIONS = {
    "correlation, length, levels": Votes(),
    "without correlation": Votes(correlation=0.0),
    "without length": Votes(length=0.0),
    "without levels": Votes(apart=0.0),
    "all moved by the difference in length": Votes(unshifted=0.0),
    "none moved": Votes(unshifted=1.0),
    "the heaviest vote alone": Votes(correlation=1500.0, length=200.0, apart=2000.0, unshifted=0.0),
}


SIMULATED, KNOWN = 4, 6  # machines, and known recordings of each of their programs


def add(lines: figures.Lines, name: str, found: Mapping[str, Interval]) -> None:
    """A row of a table with COLUMNS."""
    lines.row(name, *(found[key] for key in COLUMNS))


def reading_tables(data: Recordings, lines: figures.Lines) -> None:
    """All tables of the section."""
    library = build(data)
    index = {recording.name: i for i, recording in enumerate(data.recordings)}
    where = [index[known.name] for known in library.known]
    matches = match_each_other(library)
    problems = [problem(library, k, found) for k, found in enumerate(matches)]
    whole = [k for k, i in enumerate(where) if not data.recordings[i].frozen_rows]
    lines.head(f"leave-one-out, {len(whole)} recordings, %", *COLUMNS.values())
    for name, (answer, told) in ROW_BASELINES.items():
        scores = [scored(answer(problems[k]), problems[k], data, where[k]) for k in whole]
        add(lines, name + (" (told)" if told else ""), summary(scores))
    parts = split(data, seed=Config.split_seed)
    rest = [i for i in range(len(data.recordings)) if i not in parts["test"]]
    lines.say("")
    lines.head(f"part test, {len(parts['test'])} recordings, {len(rest)} others known, %", *COLUMNS.values())
    for one in row_baselines(data, known=rest, which=parts["test"]):
        add(lines, one.name + (" (told)" if one.leak else ""), one.figures)
    lines.say("")
    lines.head("vote, leave-one-out, one part left out, %", *COLUMNS.values())
    for name, votes in ABLATIONS.items():
        scores = []
        for k in whole:
            reading = read_rows(matches[k], votes=votes)
            answer = reading.line[:, 0], matches[k].operation
            scores.append(scored(answer, problems[k], data, where[k]))
        add(lines, name, summary(scores))
    lines.say("")
    by_operation(lines, data, library, problems, where, whole)
    lines.say("")
    confidence(lines, library, matches)
    lines.say("")
    simulated_claims(lines)
    lines.say("")
    facts(lines, library, matches)


def problem(library: Library, k: int, matches: Matches) -> Problem:
    """A known recording, to be read with the others."""
    return Problem(matches, library.place_line[library.places(k)], library.known[k].operation)


def by_operation(
    lines: figures.Lines,
    data: Recordings,
    library: Library,
    problems: Sequence[Problem],
    where: Sequence[int],
    which: Sequence[int],
) -> None:
    """The vote, by operation."""
    heads = ("recordings", "windows", "rows", "program error", "oracle rows")
    lines.head("vote, leave-one-out, by operation", *heads)
    for operation in sorted(set(library.operations)):
        mine = [k for k in which if library.known[k].operation == operation]
        found = {}
        for name in ("vote of known recordings", "oracle program: best known recording and shift"):
            answer = ROW_BASELINES[name][0]
            scores = [scored(answer(problems[k]), problems[k], data, where[k]) for k in mine]
            found[name] = summary(scores)
        vote, oracle = found.values()
        cells = [vote["exact_acc"], vote["row_acc"], vote["program_error_rate"], oracle["row_acc"]]
        lines.row(operation, len(mine), *(f"{100 * cell.mean:.1f}" for cell in cells))


def confidence(lines: figures.Lines, library: Library, matches: Sequence[Matches]) -> None:
    """How far the probability of a row can be trusted, fitted on the other half of the recordings."""
    from sklearn.metrics import roc_auc_score

    share, right, owner = [], [], []
    for k, found in enumerate(matches):
        reading = read_rows(found)
        share.append(reading.likely[:, 0])
        right.append(reading.line[:, 0] == library.place_line[library.places(k)])
        owner.append(np.full(library.known[k].rows, k))
    share, right, owner = np.concatenate(share), np.concatenate(right), np.concatenate(owner)
    probability = crossed(share, right, owner)
    sure = probability > 0.99
    lines.say(
        f"Probability of a row (leave-one-out, its curve fitted on other recordings): AUROC "
        f"{roc_auc_score(right, probability):.3f}, calibration error {100 * ece(probability, right):.1f} %. "
        f"{100 * sure.mean():.0f} % of rows have more than 0.99; {100 * right[sure].mean():.1f} % of "
        f"these are right. {claims_held(library, probability, right, owner)}"
    )


def claims_held(library: Library, probability: np.ndarray, right: np.ndarray, owner: np.ndarray) -> str:
    """How many rows of each recording are said to be right, by the other half of them."""
    names = np.unique(owner)
    claims = np.array([[part[owner == k].mean() for k in names] for part in (probability, right)])
    said = []
    for h in (0, 1):
        others = replace(library, claims=claims[:, names % 2 != h])
        said += [(others.between(claimed), rows) for claimed, rows in claims[:, names % 2 == h].T.tolist()]
    return held_words(said)


def held_words(said: Sequence[tuple[tuple[float, float] | None, float]]) -> str:
    """Of recordings: between which shares of rows should be right, and how many are."""
    told = [(low, high, rows) for (low, high), rows in ((r, x) for r, x in said if r is not None)]
    if not told:
        return "No recording gets a figure of right rows."
    low, high, rows = np.array(told).T
    kept = (low <= rows) & (rows <= high)
    return (
        f"{100 * len(told) / len(said):.0f} % of recordings are told how many rows should be right, within "
        f"{50 * np.median(high - low):.0f} points (median): {100 * kept.mean():.0f} % of them have so many."
    )


def simulated_claims(lines: figures.Lines) -> None:
    """The same for simulated recordings, few of each program: half of them known, the others new."""
    sure, right, said, operations = [], [], [], []
    for seed in range(SIMULATED):
        files = simulate(Simulation(seed=seed, recordings_per_operation=2 * KNOWN))
        data = Recordings.from_memory([from_table(t, name=n, source=n, where=n) for n, t in files])
        new = [i for i in range(len(data.recordings)) if i % (2 * KNOWN) >= KNOWN]
        reader = Reader(build(data, sorted(set(range(len(data.recordings))) - set(new))))
        for i in new:
            one, meta = reader.read_one(data, i), data.recordings[i]
            ids = np.asarray(data.line_ids[meta.live])
            hits = np.array([one.lines[k] == data.lines[x] for k, x in enumerate(ids)])
            operations.append(one.operation == meta.operation)
            if one.operation is not None:
                sure.append(one.probability[: len(ids)])
                right.append(hits)
                said.append((one.between, float(hits.mean())))
    claimed, true = np.concatenate(sure), np.concatenate(right)
    lines.say(
        f"Simulated recordings, {KNOWN} known of each of six programs, {len(operations)} new ones of "
        f"{SIMULATED} machines: operation {100 * np.mean(operations):.1f} %, rows {100 * true.mean():.1f} %, "
        f"claimed {100 * claimed.mean():.1f} %, calibration error {100 * ece(claimed, true):.1f} %. "
        f"{held_words(said)}"
    )


def crossed(share: np.ndarray, right: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """(rows,) probabilities; the curve of each half of the recordings is fitted on the other half."""
    from sklearn.isotonic import IsotonicRegression

    out = np.empty(len(share))
    for half in (0, 1):
        here = owner % 2 == half
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        out[here] = curve.fit(share[~here], right[~here].astype(float)).predict(share[here])
    return out


def facts(lines: figures.Lines, library: Library, matches: Sequence[Matches]) -> None:
    """Unknown programs, and what the merged programs hold."""
    known = np.array([found.fit for found in matches])
    operation = np.array([fit_without(library, found, {library.known[k].operation})
                          for k, found in enumerate(matches)])  # fmt: skip
    same = programs(library)
    program = np.array([fit_without(library, found, same[library.known[k].operation])
                        for k, found in enumerate(matches)])  # fmt: skip
    below = (program < known.min()).mean()
    lines.say(
        f"Unknown programs, by the fit: AUROC {auroc(known, operation)} where the operation was left out, "
        f"{auroc(known, program)} where all recordings of its program were (a damaged part is cut by the "
        f"program of a good one). The lowest fit of a known program is {known.min():.3f}; "
        f"{100 * below:.0f} % of the unknown ones are below it."
    )
    found, total = 0, 0
    for k, one in enumerate(library.known):
        sibling = next(int(j) for j in matches[k].which if library.known[j].operation == one.operation)
        ids = {line: i for i, line in enumerate(library.lines)}
        program_lines = np.array([ids[line.line] for line in merged(library, sibling, leave_out=[k]).lines])
        true = merged_neighbours(library.place_line[after_queue(library, k)])
        found += common_length(program_lines, true)
        total += len(true)
    lines.say(
        f"The program merged from the other logs has {100 * found / total:.1f} % of the line changes of a "
        "left-out recording, in order (from the row where its line number falls back to the first moves)."
    )


def after_queue(library: Library, k: int) -> np.ndarray:
    """The places of a known recording without its first rows, which report lines that wait in the queue."""
    places = library.places(k)
    return places[begins(library.number[places]) :]


def fit_without(library: Library, matches: Matches, left_out: set[str]) -> float:
    """The fit of a recording without the known recordings of some operations."""
    return matches.taken(~np.isin(library.operations[matches.which].astype(str), sorted(left_out))).fit


def programs(library: Library) -> dict[str, set[str]]:
    """Operation → operations with the same program."""
    first = {operation: k for k, operation in reversed(list(enumerate(library.operations)))}
    name = {known.name: known.operation for known in library.known}
    return {
        operation: {name[other] for other in merged(library, k).recordings} for operation, k in first.items()
    }


def auroc(known: np.ndarray, unknown: np.ndarray) -> str:
    """With an interval over recordings."""

    def measure(drawn: np.ndarray) -> np.ndarray:
        pairs = known[drawn][..., :, None] - unknown[drawn][..., None, :]
        return ((pairs > 0) + 0.5 * (pairs == 0)).mean(axis=(-1, -2))

    def chunked(drawn: np.ndarray) -> np.ndarray:
        return np.concatenate([measure(drawn[i : i + 50]) for i in range(0, len(drawn), 50)])

    found = figure(len(known), chunked)
    if found.low is None or found.high is None:
        return f"{found.mean:.4f}"
    return f"{found.mean:.4f} [{found.low:.4f}–{found.high:.4f}]"
