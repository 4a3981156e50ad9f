"""The metrics: teacher-forced accuracies over target positions, and exact lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.tokens import COMMAND, EOS, PARAM_TYPE, PARAM_VALUE, UNK, Vocabulary, canonical, tokenize

EXACT_DIGITS = 4  # lines are compared in this vocabulary, for all networks
MILLIMETRES = 25.4  # per program unit: the programs are in inches
TOLERANCE = 0.5  # millimetres within which a decoded value counts as right
LENGTHS = frozenset("XYZABCIJKRPQE")  # parameters that are lengths, unlike feed and speed


@dataclass(frozen=True, eq=False)
class Forced:
    """A teacher-forced pass over P target positions: gold token, and the best class of each head.

    gold, type, command, param_type, param_value: (P,) int64; the last four are the best classes of the
    heads, values among those of the preceding parameter. window, step: (P,) place of each position.
    """

    gold: np.ndarray
    window: np.ndarray
    step: np.ndarray
    type: np.ndarray
    command: np.ndarray
    param_type: np.ndarray
    param_value: np.ndarray


def head_accuracies(
    forced: Forced, vocabulary: Vocabulary, *, unknown_is_token: bool = False
) -> dict[str, float]:
    """type_acc, command_acc, param_type_acc, param_value_acc, overall_acc and composite.

    An unknown target token is never right. With `unknown_is_token`, "special" is right for it, as in the
    published evaluation. A head that never applies counts as 1.
    """
    factors = vocabulary.factor_table[forced.gold]
    known = (forced.gold != UNK) | unknown_is_token
    kind = factors[:, 0]
    is_command, is_value = kind == COMMAND, kind == PARAM_VALUE
    named = (kind == PARAM_TYPE) | is_value
    right_type = (forced.type == kind) & known
    right_command = forced.command == factors[:, 1]
    right_param = forced.param_type == factors[:, 2]
    right_value = forced.param_value == factors[:, 3]
    token = right_type & np.select(
        [is_command, kind == PARAM_TYPE, is_value],
        [right_command, right_param, right_value],
        np.isin(forced.gold, (EOS, UNK)),
    )
    accuracies = {
        "type_acc": _mean(right_type),
        "command_acc": _mean(right_command[is_command]),
        "param_type_acc": _mean(right_param[named]),
        "param_value_acc": _mean(right_value[is_value]),
    }
    return {
        **accuracies,
        "overall_acc": _mean(token),
        "composite": float(np.prod(list(accuracies.values()))),
    }


def value_errors(forced: Forced, vocabulary: Vocabulary, lines: Sequence[str]) -> dict[str, float]:
    """value_mae (millimetres) and value_within_tol (share within 0.5 mm) over the lengths in the lines.

    Args:
        lines: the label line of each window; it has the true values, without buckets.
    """
    errors = []
    numbers: dict[int, list[tuple[str, float] | None]] = {}
    for position in np.flatnonzero(vocabulary.factor_table[forced.gold][:, 0] == PARAM_VALUE):
        window = int(forced.window[position])
        if window not in numbers:
            numbers[window] = _numbers(lines[window])
        letter_value = numbers[window][int(forced.step[position])]
        if letter_value is not None and letter_value[0] in LENGTHS:
            decoded = vocabulary.means[int(forced.param_value[position])]
            errors.append(abs(decoded - letter_value[1]) * MILLIMETRES)
    if not errors:
        return {"value_mae": 0.0, "value_within_tol": 1.0}
    array = np.array(errors)
    return {"value_mae": float(array.mean()), "value_within_tol": float((array <= TOLERANCE).mean())}


def exact_matches(decoded: Sequence[str], lines: Sequence[str]) -> np.ndarray:
    """(windows,) bool: the decoded line equals the label, token by token, in the 4-digit vocabulary."""
    memory: dict[str, tuple[str, ...]] = {}

    def tokens(line: str) -> tuple[str, ...]:
        if line not in memory:
            memory[line] = tuple(tokenize(line, EXACT_DIGITS))
        return memory[line]

    return np.array([tokens(a) == tokens(b) for a, b in zip(decoded, lines, strict=True)], dtype=bool)


def _numbers(line: str) -> list[tuple[str, float] | None]:
    """One entry per token of the line: letter and value at value tokens, None elsewhere."""
    out: list[tuple[str, float] | None] = []
    for word in canonical(line).split():
        if word[0] in "GMT":
            out.append(None)
        else:
            out.append(None)
            if len(word) > 1:
                out.append((word[0], float(word[1:])))
    return [*out, None]


def _mean(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else 1.0
