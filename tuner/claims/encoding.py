"""Encodes the parameters of trials as a table of numbers, for surrogates and importances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.claims.material import Study, Trial

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Encoded:
    """Trials as numbers. Column j of `x` is the parameter `names[j]`. `words[name]`: the words, by code.

    An inactive conditional parameter has the code -1 (words) or the smallest value (numbers).
    """

    names: tuple[str, ...]
    x: Floats
    words: Mapping[str, tuple[str, ...]]
    log: frozenset[str]


def encode(study: Study, trials: Sequence[Trial]) -> Encoded:
    """The searched parameters of `trials` that vary, as an array `(trial, parameter)`."""
    names, columns, words, logs = [], [], {}, set()
    conditional = {p.name for p in study.file.space.searched if p.when}
    for name in study.searched:
        values = [t.params.get(name) for t in trials]
        told = [v for v in values if v is not None]
        numbers = told and all(isinstance(v, int | float) and not isinstance(v, bool) for v in told)
        if not numbers or (None in values and name not in conditional):
            kinds = tuple(sorted({word(v) for v in values}, key=_word_order))
            words[name] = kinds
            column = [float(kinds.index(word(v))) for v in values]
        else:
            least = float(min(told))
            column = [least if v is None else float(v) for v in values]
            if least > 0 and max(column) / least > 30:
                logs.add(name)
                column = [math.log10(v) for v in column]
        if len(set(column)) > 1:
            names.append(name)
            columns.append(column)
    x = np.array(columns, dtype=float).T if columns else np.empty((len(trials), 0))
    return Encoded(tuple(names), x, words, frozenset(logs))


def word(value: Any) -> str:
    """The value of a parameter as short text."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _word_order(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)
