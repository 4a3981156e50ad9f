"""Evaluates a decoder on recordings with known lines: metrics with intervals over recordings, and errors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.choose import Interval, over_recordings
from inference.forced import ForcedPass, teacher_force
from inference.pipeline import Decoder, Searched
from inference.steps import NetworkSteps
from model.metrics import exact_matches, head_accuracies, value_errors
from model.recordings import NO_LINE, Recordings
from model.tokens import COMMAND, PARAM_TYPE, PARAM_VALUE, UNK, canonical
from tuner.base.errors import InputError

NO_COMMAND = "(none)"  # in the confusion: a line without a command word


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics and errors on W windows.

    Attributes:
        metrics: names as in data.md, teacher-forced unless data.md says free-running; also
            `unknown_token_rate`, `unknown_line_rate` (lines with such a token cannot be decoded), `nll` (nats
            per line, over known tokens), `exact_acc_window` and, with joint decoding, `exact_acc_joint`,
            which `exact_acc` equals then.
        intervals: 95 % intervals over recordings, by metric.
        by_operation: operation → its metrics.
        confusion: (true command, decoded command) → windows.
        heads: head → (true class, predicted class) → positions, teacher-forced, of known tokens.
        errors: (true line, decoded line, windows, recording and row of an example), most frequent first.
        right: `(W,)` bool; recording: `(W,)` index: for paired comparisons.
        seconds: of decoding: `networks` (with the search) and, with joint decoding, `joint`.
        windows: number of windows decoded in that time, also those without a known line.
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


def evaluate(
    decoder: Decoder, data: Recordings, *, which: Sequence[int] | None = None, joint: bool = False
) -> Evaluation:
    """Decodes the recordings `which` of `data` (default: all) and compares with the known lines.

    Raises:
        InputError: no window has a known line; joint decoding without programs.
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
    decoded = alone
    if joint:
        began = time.perf_counter()
        wide = decoder.search(loaded, options=decoder.evidence_options())
        decoded = [lines[0][0] for lines in decoder.smooth(data, windows, wide)]
        seconds["joint"] = time.perf_counter() - began
    table = {line: decoder.vocabulary.encode(line) for line in set(truth)}
    targets = [table[line] for line in truth]
    forced = teacher_force(NetworkSteps(decoder.predictor, loaded), decoder.grammar, known, targets)
    right = exact_matches([decoded[i] for i in known], truth)
    window = exact_matches([alone[i] for i in known], truth)
    measured = _Measured(decoder, data, windows.recording[known], truth, forced, right, window, joint)
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
    )


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
    joint: bool

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
        if self.joint:
            out["exact_acc_joint"] = out["exact_acc"]
        return out

    def intervals(self, operation: NDArray[np.bool_]) -> dict[str, Interval]:
        """Of window means; of head accuracies, from those of each recording, weighted by positions."""
        found = {
            "exact_acc": over_recordings(self.right.astype(float), self.recording),
            "exact_acc_window": over_recordings(self.window.astype(float), self.recording),
            "operation_acc": over_recordings(operation.astype(float), self.recording),
        }
        owner = self.recording[self.forced.forced.window]
        kinds = self.decoder.vocabulary.factor_table[self.forced.forced.gold][:, 0]
        applies = {
            "overall_acc": np.ones(len(kinds), dtype=bool),
            "type_acc": np.ones(len(kinds), dtype=bool),
            "command_acc": kinds == COMMAND,
            "param_type_acc": (kinds == PARAM_TYPE) | (kinds == PARAM_VALUE),
            "param_value_acc": kinds == PARAM_VALUE,
        }
        values: dict[str, list[NDArray]] = {name: [] for name in applies}
        owners: dict[str, list[NDArray]] = {name: [] for name in applies}
        for i in np.unique(owner):
            mine = owner == i
            each = head_accuracies(_taken(self.forced.forced, mine), self.decoder.vocabulary)
            for name, mask in applies.items():
                count = int((mine & mask).sum())
                values[name].append(np.full(count, each[name]))
                owners[name].append(np.full(count, i))
        for name in applies:
            found[name] = over_recordings(np.concatenate(values[name]), np.concatenate(owners[name]))
        return found


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
