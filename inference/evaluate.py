"""Evaluates a decoder on recordings with known lines: metrics with intervals over recordings, and errors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.calibrate import ece
from inference.forced import ForcedPass, teacher_force
from inference.layout import laid_out
from inference.pipeline import Decoder, Searched
from inference.steps import NetworkSteps
from inference.toolpath import Track, track_of
from inference.whole import Reader, WholeRecording
from model.intervals import Interval, mean_share, share
from model.metrics import exact_matches, head_accuracies, value_errors
from model.recordings import NO_LINE, Recordings
from model.row_metrics import RowScore, summary
from model.tokens import COMMAND, PARAM_TYPE, PARAM_VALUE, UNK, canonical
from model.windows import labels_of
from tuner.base.errors import InputError

NO_COMMAND = "(none)"  # in the confusion: a line without a command word


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics and errors on W windows.

    Attributes:
        metrics: names as in `model.metrics`; also
            `unknown_token_rate`, `unknown_line_rate` (lines with such a token cannot be decoded), `nll` (nats
            per line, over known tokens), and `exact_acc_window`. With a library of known programs also
            `row_calibration_error`, of the probabilities of rows, `uncertain_rate` of recordings that get no
            figure, `claims_held_rate` of the others (as many rows right as said), and
            those of `model.row_metrics`, of whole recordings, where a recording that is in the library is
            read with the others, and `exact_acc_joint`, of the windows of these rows, which `exact_acc`
            equals if asked for.
        intervals: 95 % intervals over recordings (bootstrap), by metric.
        by_operation: operation → its metrics.
        confusion: (true command, decoded command) → windows.
        heads: head → (true class, predicted class) → positions, teacher-forced, of known tokens.
        errors: (true line, decoded line, windows, recording and row of an example), most frequent first.
        right: `(W,)` bool; recording: `(W,)` index: for paired comparisons.
        seconds: of decoding: `networks` (with the search) and, with a library, `joint`.
        windows: number of windows decoded in that time, also those without a known line.
        paths: of one recording of each operation: its name and its decoded tool path.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    by_operation: dict[str, dict[str, float]]
    confusion: dict[tuple[str, str], int]
    heads: dict[str, dict[tuple[str, str], int]]
    errors: list[tuple[str, str, int, str]]
    right: NDArray[np.bool_]
    recording: NDArray[np.int64]
    seconds: dict[str, float]
    windows: int
    paths: dict[str, Track]


def evaluate(
    decoder: Decoder, data: Recordings, *, which: Sequence[int] | None = None, joint: bool = False
) -> Evaluation:
    """Decodes the recordings `which` of `data` (default: all) and compares with the known lines.

    Args:
        joint: the line of a window is that of its rows, read with the whole recording.

    Raises:
        InputError: no window has a known line; `joint` without a library of known programs.
    """
    loaded = decoder.predictor.windows(data, which)
    windows = loaded.windows
    known = np.flatnonzero(windows.line != NO_LINE)
    if not len(known):
        raise InputError(f"{data.name}: no window with a known line; a recording needs `gcode_string`")
    truth = [data.lines[line] for line in windows.line[known]]
    began = time.perf_counter()
    searched = decoder.search(loaded)
    seconds = {"networks": time.perf_counter() - began}
    alone = [decoder.vocabulary.to_line(found[0].tokens) for found in searched.hypotheses]
    whole: dict[int, WholeRecording] = {}
    reader = Reader.of(decoder, leave_out_itself=True) if joint or decoder.library is not None else None
    if reader is not None:
        began = time.perf_counter()
        there = laid_out(data, reader.library.channels)
        whole = {i: reader.read_one(there, i) for i in np.unique(windows.recording).tolist()}
        seconds["joint"] = time.perf_counter() - began
    by_rows = _window_lines(data, windows, whole, decoder.predictor.config.window) if whole else alone
    decoded = by_rows if joint else alone
    table = {line: decoder.vocabulary.encode(line) for line in set(truth)}
    targets = [table[line] for line in truth]
    forced = teacher_force(NetworkSteps(decoder.predictor, loaded), decoder.grammar, known, targets)
    right = exact_matches([decoded[i] for i in known], truth)
    window = exact_matches([alone[i] for i in known], truth)
    rows = exact_matches([by_rows[i] for i in known], truth) if whole else None
    scores = {i: _row_score(data, i, one, decoder) for i, one in whole.items()}
    measured = _Measured(
        decoder, data, windows.recording[known], truth, forced, right, window, rows, scores, whole
    )
    operation = _operation_right(decoder, data, windows.recording[known], searched, known)
    names = [data.recordings[i].operation for i in measured.recording]
    return Evaluation(
        metrics=measured.metrics(np.arange(len(known)), operation),
        intervals=measured.intervals(operation),
        by_operation={
            name: measured.metrics(np.flatnonzero(np.array(names) == name), operation)
            for name in sorted(set(names))
        },
        confusion=dict(
            Counter((_command(t), _command(decoded[i])) for t, i in zip(truth, known, strict=True))
        ),
        heads=_head_confusion(forced, decoder),
        errors=_errors(data, windows, known, truth, decoded, right),
        right=right,
        recording=windows.recording[known],
        seconds=seconds,
        windows=len(windows),
        paths=_paths(data, whole),
    )


def _paths(data: Recordings, whole: Mapping[int, WholeRecording]) -> dict[str, Track]:
    """The tool paths of the first recording of each operation that has one."""
    found: dict[str, Track] = {}
    seen: set[str] = set()
    for i, one in whole.items():
        operation = data.recordings[i].operation
        track = None if operation in seen else track_of(one)
        if track is not None:
            found[one.name] = track
            seen.add(operation)
    return found


@dataclass(frozen=True, eq=False)
class _Measured:
    """What the metrics are computed from; `forced.window` indexes the windows with a known line."""

    decoder: Decoder
    data: Recordings
    recording: NDArray[np.int64]
    truth: list[str]
    forced: ForcedPass
    right: NDArray[np.bool_]
    window: NDArray[np.bool_]
    by_rows: NDArray[np.bool_] | None
    scores: Mapping[int, RowScore]
    read: Mapping[int, WholeRecording]

    def metrics(self, rows: NDArray[np.int64], operation: NDArray[np.bool_]) -> dict[str, float]:
        """The metrics over the windows `rows`."""
        vocabulary = self.decoder.vocabulary
        here = np.isin(self.forced.forced.window, rows)
        forced = _taken(self.forced.forced, here)
        unknown = forced.gold == UNK
        nll = np.bincount(forced.window, np.nan_to_num(-self.forced.logp[here]), minlength=len(self.truth))
        out = {
            **head_accuracies(forced, vocabulary),
            **value_errors(forced, vocabulary, self.truth),
            "exact_acc": float(self.right[rows].mean()),
            "operation_acc": float(operation[rows].mean()),
            "unknown_token_rate": float(unknown.mean()),
            "unknown_line_rate": len(np.unique(forced.window[unknown])) / len(rows),
            "nll": float(nll[rows].mean()),
            "exact_acc_window": float(self.window[rows].mean()),
            "windows": len(rows),
            "recordings": len(np.unique(self.recording[rows])),
        }
        if self.by_rows is not None:
            out["exact_acc_joint"] = float(self.by_rows[rows].mean())
            whole = self.whole(np.unique(self.recording[rows]))
            out |= {name: interval.mean for name, interval in whole.items()}
            out |= self.claims(np.unique(self.recording[rows]))
        return out

    def whole(self, recordings: NDArray[np.int64]) -> dict[str, Interval]:
        """The metrics of whole recordings, without those of windows."""
        found = summary([self.scores[i] for i in recordings.tolist()])
        return {name: interval for name, interval in found.items() if name != "exact_acc"}

    def claims(self, recordings: NDArray[np.int64]) -> dict[str, float]:
        """How far the probabilities of rows with a known line hold."""
        sure, right, held = [], [], []
        for i in recordings.tolist():
            meta, one = self.data.recordings[i], self.read[i]
            ids = np.asarray(self.data.line_ids[meta.start : meta.start + meta.rows])
            known = np.flatnonzero((ids != NO_LINE) & np.isfinite(one.probability))
            sure.append(one.probability[known])
            right.append(np.array([one.lines[k] == self.data.lines[ids[k]] for k in known], dtype=bool))
            if one.between is not None and len(known):
                held.append(one.between[0] <= right[-1].mean() <= one.between[1])
        found = {"row_calibration_error": ece(np.concatenate(sure), np.concatenate(right))}
        found["uncertain_rate"] = 1 - len(held) / len(recordings)
        return {**found, "claims_held_rate": float(np.mean(held))} if held else found

    def intervals(self, operation: NDArray[np.bool_]) -> dict[str, Interval]:
        """Of window means; of head accuracies, from those of each recording, weighted by positions."""
        found = {
            "exact_acc": mean_share(self.right, self.recording),
            "exact_acc_window": mean_share(self.window, self.recording),
            "operation_acc": mean_share(operation, self.recording),
        }
        if self.by_rows is not None:
            found["exact_acc_joint"] = mean_share(self.by_rows, self.recording)
            found |= self.whole(np.unique(self.recording))
        owner = self.recording[self.forced.forced.window]
        kinds = self.decoder.vocabulary.factor_table[self.forced.forced.gold][:, 0]
        applies = {
            "overall_acc": np.ones(len(kinds), dtype=bool),
            "type_acc": np.ones(len(kinds), dtype=bool),
            "command_acc": kinds == COMMAND,
            "param_type_acc": (kinds == PARAM_TYPE) | (kinds == PARAM_VALUE),
            "param_value_acc": kinds == PARAM_VALUE,
        }
        owners = np.unique(owner)
        each = [
            head_accuracies(_taken(self.forced.forced, owner == i), self.decoder.vocabulary) for i in owners
        ]
        for name, mask in applies.items():
            count = np.array([(mask & (owner == i)).sum() for i in owners])
            found[name] = share(np.array([one[name] for one in each]) * count, count)
        return found


def _window_lines(
    data: Recordings, windows: Any, whole: Mapping[int, WholeRecording], window: int
) -> list[str]:
    """The line of each window by the decoded rows: the most frequent one, ties to the first."""
    found = [""] * len(windows)
    for i, one in whole.items():
        codes = {line: code for code, line in enumerate(dict.fromkeys(one.lines))}
        names = list(codes)
        labels = labels_of(np.array([codes[line] for line in one.lines]), window=window)
        for k in np.flatnonzero(windows.recording == i).tolist():
            found[k] = names[labels[windows.start[k] - data.recordings[i].start]]
    return found


def _row_score(data: Recordings, recording: int, one: WholeRecording, decoder: Decoder) -> RowScore:
    """The score of one recording, over its rows with a known line."""
    meta, config = data.recordings[recording], decoder.predictor.config
    ids = np.asarray(data.line_ids[meta.start : meta.start + meta.rows])
    rows = np.flatnonzero(ids != NO_LINE)
    return RowScore.of(
        meta.name,
        [one.lines[k] for k in rows],
        [data.lines[k] for k in ids[rows]],
        operation_right=one.operation == meta.operation,
        window=config.window,
        stride=config.stride,
    )


def _taken(forced: Any, mask: NDArray[np.bool_]) -> Any:
    return type(forced)(**{name: getattr(forced, name)[mask] for name in forced.__dataclass_fields__})


def _operation_right(
    decoder: Decoder, data: Recordings, recording: NDArray[np.int64], searched: Searched, known: NDArray
) -> NDArray[np.bool_]:
    """(windows,) whether the operation of a window is right; new operations are never right."""
    names = np.array(decoder.predictor.operations, dtype=object)
    truth = np.array([data.recordings[i].operation for i in recording], dtype=object)
    return np.asarray(names[searched.operation[known].argmax(axis=1)] == truth, dtype=bool)


def _head_confusion(forced: ForcedPass, decoder: Decoder) -> dict[str, dict[tuple[str, str], int]]:
    """The confusion of each head, where it applies and the token is known."""
    vocabulary, heads = decoder.vocabulary, forced.forced
    factors = vocabulary.factor_table[heads.gold]
    found = {}
    for head, kind, names, guess in (
        ("command", COMMAND, vocabulary.commands, heads.command),
        ("param_type", PARAM_TYPE, vocabulary.param_types, heads.param_type),
        ("param_value", PARAM_VALUE, _value_names(decoder), heads.param_value),
    ):
        here = factors[:, 0] == kind
        pairs = zip(factors[here, kind].tolist(), guess[here].tolist(), strict=True)
        found[head] = {(names[g], names[p]): n for (g, p), n in Counter(pairs).most_common()}
    return found


def _value_names(decoder: Decoder) -> list[str]:
    """Each value class as a word: `X1.575`."""
    vocabulary = decoder.vocabulary
    letters = [vocabulary.param_types[i] for i in vocabulary.value_param_type]
    return [letter + text for letter, text in zip(letters, vocabulary.texts, strict=True)]


def _command(line: str) -> str:
    words = [word for word in canonical(line).split() if word[0] in "GMT"]
    return " ".join(words) or NO_COMMAND


def _errors(
    data: Recordings,
    windows: Any,
    known: NDArray,
    truth: Sequence[str],
    decoded: Sequence[str],
    right: NDArray[np.bool_],
) -> list[tuple[str, str, int, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for k in np.flatnonzero(~right).tolist():
        pair = (truth[k], decoded[known[k]])
        recording = data.recordings[windows.recording[known[k]]]
        counts[pair] += 1
        example.setdefault(pair, f"{recording.name}, row {windows.start[known[k]] - recording.start}")
    return [(t, d, n, example[(t, d)]) for (t, d), n in counts.most_common()]
