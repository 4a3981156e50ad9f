"""Chooses the weighting by cross-validation over recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from ensemble.tables import Tables
from ensemble.weights import METHODS, UNIFORM, Weighting, fit, fit_all
from tuner.base.errors import InputError

FOLDS = 5
Rule = Literal["auto", "uniform", "learned"]
RULES: tuple[Rule, ...] = ("auto", "uniform", "learned")


@dataclass(frozen=True)
class Interval:
    """A mean over windows with its 95 % interval over recordings (infinite for one recording)."""

    mean: float
    low: float
    high: float

    def within(self, least: float, most: float) -> Interval:
        """Cut at what the figure can be: with few recordings, Student's t reaches beyond."""
        if not np.isfinite(self.low):  # one recording
            return self
        return Interval(self.mean, max(self.low, least), min(self.high, most))

    def to_json(self) -> dict[str, float | None]:
        """Plain values; infinite bounds become null."""
        return {
            name: value if np.isfinite(value) else None
            for name, value in (("mean", self.mean), ("low", self.low), ("high", self.high))
        }


@dataclass(frozen=True)
class Score:
    """The cross-validated score of a method, and its paired gain over uniform (positive is better).

    The intervals of the gains are corrected for the number of methods (Bonferroni).
    """

    method: str
    exact: Interval
    nll: Interval  # nats per line
    exact_gain: Interval
    nll_gain: Interval

    @property
    def beats_uniform(self) -> bool:
        """Significantly more exact lines, or no fewer and a significantly better likelihood."""
        return self.exact_gain.low > 0 or (self.exact_gain.mean >= 0 and self.nll_gain.low > 0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `bundle.json`."""
        return {
            "method": self.method,
            "exact": self.exact.to_json(),
            "nll": self.nll.to_json(),
            "exact_gain": self.exact_gain.to_json(),
            "nll_gain": self.nll_gain.to_json(),
        }


@dataclass(frozen=True)
class Choice:
    """The chosen weighting, fitted on all of `calibrate`, and the cross-validated scores of all methods."""

    weighting: Weighting
    scores: tuple[Score, ...]
    reason: str
    folds: int

    def score_of(self, method: str) -> Score:
        """The score of a method that was compared."""
        return next(score for score in self.scores if score.method == method)


def choose(tables: Tables, *, rule: Rule = "auto", methods: Sequence[str] = tuple(METHODS)) -> Choice:
    """Compares `methods` by cross-validation over the recordings in `tables` and picks one by `rule`.

    `auto` keeps uniform unless another method beats it beyond chance; `learned` takes the best of the fitted
    ones; `uniform` takes uniform. The scores are computed in every case.

    Raises:
        InputError: an unknown rule.
    """
    if rule not in RULES:
        raise InputError(f"weights: expected one of {', '.join(RULES)}, got {rule!r}")
    if tables.members == 1:
        scores = cross_validate(tables, [UNIFORM])
        return Choice(fit(UNIFORM, tables), scores, "one member: nothing to weigh", 1)
    scores = cross_validate(tables, methods)
    name, reason = _decide(scores, rule)
    return Choice(fit(name, tables), scores, reason, _folds(tables.recordings))


def cross_validate(tables: Tables, methods: Sequence[str]) -> tuple[Score, ...]:
    """The score of each method on held-out recordings (on all windows, if there is only one recording).

    Recordings go to the `FOLDS` folds in turn, by index. As names are sorted, neighbours share an operation,
    so every fold has every operation.
    """
    recordings = tables.recordings
    order = {recording: i for i, recording in enumerate(np.unique(recordings))}
    folds = _folds(recordings)
    fold = np.array([order[recording] % folds for recording in recordings])
    exact = {method: np.zeros(len(recordings)) for method in methods}
    nll = {method: np.zeros(len(recordings)) for method in methods}
    for held_out in range(folds):
        inside = fold == held_out
        seen = tables.subset(tables.windows[~inside]) if folds > 1 else tables
        new = tables.subset(tables.windows[inside])
        for method, weighting in fit_all(methods, seen).items():
            exact[method][inside] = new.exact(weighting.heads, pooling=weighting.pooling)
            nll[method][inside] = new.nll(weighting.heads, pooling=weighting.pooling)
    reference = UNIFORM if UNIFORM in methods else methods[0]
    comparisons = max(1, len(methods) - 1)
    return tuple(
        Score(
            method=method,
            exact=over_recordings(exact[method], recordings).within(0, 1),
            nll=over_recordings(nll[method], recordings),
            exact_gain=over_recordings(exact[method] - exact[reference], recordings, comparisons=comparisons),
            nll_gain=over_recordings(nll[reference] - nll[method], recordings, comparisons=comparisons),
        )
        for method in methods
    )


def over_recordings(values: np.ndarray, recordings: np.ndarray, *, comparisons: int = 1) -> Interval:
    """Mean of `values` (w,) over windows with a 95 % interval over recordings (windows are not independent).

    The mean is a ratio of sums over R recordings. Its variance is the linearised one for clusters (Cochran,
    Sampling Techniques, §6.4), with Student's t of R − 1 degrees of freedom.

    Args:
        comparisons: number of intervals that must hold together (Bonferroni).
    """
    _, index = np.unique(recordings, return_inverse=True)
    clusters = int(index.max(initial=-1)) + 1
    mean = float(values.mean()) if len(values) else 0.0
    if clusters < 2:
        return Interval(mean, -np.inf, np.inf)
    residual = np.bincount(index, weights=values - mean, minlength=clusters)
    variance = clusters / (clusters - 1) * float((residual**2).sum()) / len(values) ** 2
    half = float(stats.t.ppf(1 - 0.025 / comparisons, clusters - 1)) * variance**0.5
    return Interval(mean, mean - half, mean + half)


def _folds(recordings: np.ndarray) -> int:
    return min(FOLDS, len(np.unique(recordings)))


def _decide(scores: Sequence[Score], rule: Rule) -> tuple[str, str]:
    """The name of the method, and the reason in words."""
    by_name: Mapping[str, Score] = {score.method: score for score in scores}
    fitted = [score for score in scores if score.method != UNIFORM]
    if rule == "uniform" or not fitted:
        return UNIFORM, "asked for"
    if rule == "learned":
        best = max(fitted, key=_rank)
        return best.method, f"asked for learned weights; the best of them {_gain_text(best)}"
    better = [score for score in fitted if score.beats_uniform]
    if better:
        best = max(better, key=_rank)
        return best.method, f"is significantly better than uniform: {_gain_text(best)}"
    best = max(fitted, key=_rank)
    assert UNIFORM in by_name
    return UNIFORM, f"no other is significantly better; the closest, {best.method}, {_gain_text(best)}"


def _rank(score: Score) -> tuple[float, float]:
    return score.exact.mean, -score.nll.mean


def _gain_text(score: Score) -> str:
    gain, nll = score.exact_gain, score.nll_gain
    return (
        f"gains {100 * gain.mean:+.2f} points of lines [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}] "
        f"and {nll.mean:+.3f} nats a line [{nll.low:+.3f}, {nll.high:+.3f}]"
    )
