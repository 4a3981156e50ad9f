"""Confusion matrices, with the most frequent mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tuner.show.report.blocks import Block, Table
from tuner.show.report.charts import Chart, Matrix

MOST_CLASSES = 12  # rows and columns of a matrix; all other classes are in "other"
MOST_MISTAKES = 10
OTHER = "other"
Pairs = Sequence[tuple[str, str, int]]  # true class, predicted class, count; the most frequent first


def confusions(key: str, caption: str, heads: Mapping[str, Pairs]) -> list[Block]:
    """A matrix for each head, and a table of the most frequent mistakes. [] if no head has pairs."""
    heads = {title: pairs for title, pairs in heads.items() if pairs}
    if not heads:
        return []
    matrices = [confusion(pairs, title=title) for title, pairs in heads.items()]
    chart = Chart(f"{key}_confusion", "Confusion", caption, matrices)
    rows = [
        [title, true, guess, str(n)]
        for title, pairs in heads.items()
        for true, guess, n in [p for p in pairs if p[0] != p[1]][:MOST_MISTAKES]
    ]
    if not rows:
        return [chart]
    return [chart, Table(["head", "true", "taken for", "times"], rows, "The most frequent mistakes.")]


def confusion(pairs: Sequence[tuple[str, str, int]], *, title: str = "") -> Matrix:
    """`(true, predicted, count)` as a matrix. If there are many classes: those with the most mistakes."""
    times: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for true, guess, n in pairs:
        times[true] += n
        if true != guess:
            wrong[true] += n
            wrong[guess] += n
    every = {*times, *(guess for _, guess, _ in pairs)}
    few = len(every) <= MOST_CLASSES
    kept = list(every) if few else [c for c, _ in (wrong or times).most_common(MOST_CLASSES)]
    kept.sort(key=_natural)
    rows = [c for c in kept if times[c]]
    columns = [*kept, OTHER] if any(b not in kept for a, b, _ in pairs if a in rows) else kept
    counts = [[0] * len(columns) for _ in rows]
    for true, guess, n in pairs:
        if true in rows:
            counts[rows.index(true)][columns.index(guess if guess in kept else OTHER)] += n
    return Matrix(rows, columns, counts, "taken for", "true", title=title)


def _natural(text: str) -> tuple[str, float]:
    """Sort key: by letters, then by number."""
    try:
        return text[:1], float(text[1:])
    except ValueError:
        return text, 0.0
