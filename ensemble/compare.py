"""Compares ensembles of K = 1, 5, 10, 20 members: accuracy and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table as RichTable

from ensemble.candidates import Candidate, Skipped, find
from ensemble.choose import Choice, choose
from ensemble.pool import PartPredictions, part_scores, pooled_predictions, read_part
from ensemble.predictions import part_file
from ensemble.select import MAX_CORRELATION, Taken, take
from ensemble.show import percent, plain_table
from ensemble.tables import Tables
from ensemble.weights import Weighting, fit
from model.run_files import WEIGHTS
from tuner.base.errors import InputError

AXES = {"exact": "exact lines on test", "ms": "milliseconds a window, members one after another"}


@dataclass(frozen=True)
class Row:
    """One ensemble: its scores on held-out recordings and on `test`, and its cost.

    Attributes:
        k: number of members asked for. members: those with a weight.
        exact, nll: cross-validated over the recordings of `calibrate`, with `exact_low` and `exact_high`.
        test: `exact`, `overall`, `nll` on `test`; empty if a run has no predictions of it.
        ms: sum of the milliseconds per window of the members; None if one is unknown.
    """

    k: int
    weights: str
    members: int
    exact: float
    exact_low: float | None
    exact_high: float | None
    nll: float
    test: dict[str, float]
    parameters: int
    megabytes: float
    ms: float | None


@dataclass(frozen=True)
class Comparison:
    """The rows, and each single member (score on `test`, milliseconds) for the plot."""

    rows: tuple[Row, ...]
    singles: tuple[dict[str, Any], ...]
    skipped: Skipped

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "singles": list(self.singles),
            "skipped": self.skipped.to_json(),
        }


def compare(
    results: Path,
    *,
    ks: Sequence[int],
    studies: Sequence[str] = (),
    metric: str | None = None,
    max_correlation: float = MAX_CORRELATION,
    measure: bool = False,
) -> Comparison:
    """For each K: the pool with uniform weights and, if K > 1, with the best learned weights.

    Args:
        measure: times the networks on this machine instead of adding up what their runs measured.

    Raises:
        InputError: no usable runs, or a K below 1.
    """
    if not ks or min(ks) < 1:
        raise InputError(f"k: expected numbers from 1, got {', '.join(map(str, ks)) or 'none'}")
    ranked, skipped = find(results, studies=studies, metric=metric)
    taken = take(ranked, k=max(ks), skipped=skipped, max_correlation=max_correlation)
    tables = Tables.of(taken.layout, taken.log_p)
    if measure:
        taken = _timed(taken)
    test = _read_test(taken)
    rows = []
    for k in sorted({min(k, len(taken.candidates)) for k in ks}):
        first = tables.of_members(range(k))
        choice = choose(first, rule="learned")
        methods = ["uniform"] if k == 1 else ["uniform", choice.weighting.method]
        for method in methods:
            weighting = fit(method, first) if method == "uniform" else choice.weighting
            rows.append(_row(k, weighting, choice, taken, test))
    singles = [_single(i, candidate, taken, test) for i, candidate in enumerate(taken.candidates)]
    return Comparison(tuple(rows), tuple(singles), skipped)


def _timed(taken: Taken) -> Taken:
    """The same members, with milliseconds measured on this machine."""
    from ensemble.latency import milliseconds_per_window  # imports torch: a second

    each = milliseconds_per_window([candidate.folder for candidate in taken.candidates])
    candidates = tuple(
        replace(candidate, result={**candidate.result, "ms_per_window": ms})
        for candidate, ms in zip(taken.candidates, each, strict=True)
    )
    return replace(taken, candidates=candidates)


def _read_test(taken: Taken) -> PartPredictions | None:
    runs = [candidate.folder for candidate in taken.candidates]
    if not all(part_file(run, "test").is_file() for run in runs):
        return None
    return read_part(runs, taken.vocabulary, part="test")


def _row(k: int, weighting: Weighting, choice: Choice, taken: Taken, test: PartPredictions | None) -> Row:
    used = weighting.used
    members = [taken.candidates[i] for i in used]
    score = choice.score_of(weighting.method)
    exact = score.exact.to_json()
    return Row(
        k=k,
        weights=weighting.method,
        members=len(members),
        exact=score.exact.mean,
        exact_low=exact["low"],
        exact_high=exact["high"],
        nll=score.nll.mean,
        test=_test_scores(used, weighting.of_members(used), taken, test),
        parameters=sum(int(member.result.get("parameters") or 0) for member in members),
        megabytes=sum((member.folder / WEIGHTS).stat().st_size for member in members) / 1e6,
        ms=_milliseconds(members),
    )


def _single(i: int, candidate: Candidate, taken: Taken, test: PartPredictions | None) -> dict[str, Any]:
    alone = np.ones(1)
    weighting = Weighting("single", "mixture", dict.fromkeys(taken.layout.groups, alone), alone)
    scores = _test_scores(np.array([i]), weighting, taken, test)
    return {"name": candidate.name, "ms": _milliseconds([candidate]), "test": scores}


def _test_scores(
    members: np.ndarray, weighting: Weighting, taken: Taken, test: PartPredictions | None
) -> dict[str, float]:
    if test is None:
        return {}
    chosen = test.of_members([int(i) for i in members])
    scores = part_scores(pooled_predictions(chosen, weighting), taken.vocabulary)
    return {name: scores[name] for name in ("exact", "overall", "nll")}


def _milliseconds(members: Sequence[Candidate]) -> float | None:
    each = [member.result.get("ms_per_window") for member in members]
    return None if any(ms is None for ms in each) else float(sum(ms for ms in each if ms is not None))


# -- what is printed and drawn


def comparison_table(comparison: Comparison) -> RichTable:
    """One row per ensemble."""
    table = plain_table("exact lines in %, by size")
    for column in ("K", "weights", "calibrate", "nats", "test", "tokens", "nats", "size", "ms"):
        table.add_column(column, justify="left" if column == "weights" else "right")
    if any(row.exact_low == 0 or row.exact_high == 1 for row in comparison.rows):
        table.caption = "[…]: 95 % intervals; cut at 0 and 100 %, where there are too few recordings for more"
        table.caption_justify = "left"
    for row in comparison.rows:
        table.add_row(
            str(row.k),
            row.weights,
            _exact_words(row),
            f"{row.nll:.3f}",
            percent(row.test["exact"]) if row.test else "–",
            percent(row.test["overall"]) if row.test else "–",
            f"{row.test['nll']:.3f}" if row.test else "–",
            f"{row.parameters / 1e6:.2f} M",
            "–" if row.ms is None else f"{row.ms:.2f}",
        )
    return table


def _exact_words(row: Row) -> str:
    """`94.0 [91.2–96.8]`."""
    if row.exact_low is None or row.exact_high is None:
        return f"{100 * row.exact:.1f}"
    return f"{100 * row.exact:.1f} [{100 * row.exact_low:.1f}–{100 * row.exact_high:.1f}]"


def draw_frontier(comparison: Comparison, path: Path) -> Path | None:
    """Plots exact lines on `test` against milliseconds per window, with the Pareto front.

    Returns:
        `path`, or None if latencies or test predictions are missing.
    """
    rows = [
        (row.ms, 100 * row.test["exact"], row) for row in comparison.rows if row.ms is not None and row.test
    ]
    if not rows:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    singles = [s for s in comparison.singles if s["ms"] is not None and s["test"]]
    axes.scatter(
        [s["ms"] for s in singles],
        [100 * s["test"]["exact"] for s in singles],
        s=14,
        color="0.75",
        label="members alone",
    )
    for label, marker, uniform in (("uniform weights", "o", True), ("learned weights", "^", False)):
        chosen = [(ms, exact) for ms, exact, row in rows if (row.weights == "uniform") == uniform]
        if chosen:
            axes.scatter(*zip(*chosen, strict=True), marker=marker, label=label)
    for ms, exact, row in rows:
        axes.annotate(f"{row.k}", (ms, exact), textcoords="offset points", xytext=(5, 4))
    front = frontier([(ms, exact) for ms, exact, _ in rows])
    axes.plot([x for x, _ in front], [y for _, y in front], color="0.4", linewidth=1, zorder=0)
    axes.set_xlabel(AXES["ms"])
    axes.set_ylabel(f"{AXES['exact']} (%)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=140)
    return path


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The Pareto front of points (cost, value), by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front
