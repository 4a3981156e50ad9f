"""Judges the claims of studies: larger, as claimed, smaller, no difference that matters, opposite, or open.

The effect is estimated in one of three ways. A finding says which one was used:

- *matched pairs* run for the claim by the studies `hypotheses…`: pairs of runs on its opposite sides. Their
  interval holds however often one looks (`tuner/stats/anytime.py`).
- *matched pairs* of the study itself: trials that differ only in the claim's parameters (and in parameters
  that exist only on one side). The effect is the mean difference, with a t interval over pairs.
- *surrogate*: a ridge regression of the metric on the side and all other parameters, with a t interval from a
  bootstrap over trials. This is a model, not an experiment. Effects that it does not include can mislead it.

The interval and the difference that matters decide the verdict (`tuner/claims/verdict.py`). The finding of an
open claim names the command that would decide it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.claims import verdict as judgement
from tuner.claims.encoding import encode
from tuner.claims.evidence import Evidence, Paired
from tuner.claims.matching import Point, claim_names, matched, searchable
from tuner.claims.material import PAIRED, Material, Study
from tuner.claims.race import matters
from tuner.claims.verdict import Gain, Verdict
from tuner.definition.campaign_file import Claim
from tuner.definition.constraints import Hypothesis
from tuner.stats.intervals import student, t_interval
from tuner.stats.runs import paired

CAMPAIGN = "campaign"  # the study name in findings about the campaign
MIN_PAIRS = 3  # with fewer, the interval is too wide to be useful
MIN_SIDE = 3  # trials on each side for a surrogate
ENOUGH = 6  # with this many complete trials on each side, pruned trials are not used
RESAMPLES = 400
RIDGE = 1.0  # on standardised columns
LESS_IS_BETTER = ("loss", "nll", "mae", "ece", "brier", "seconds", "ms_per_window", "parameters")


@dataclass(frozen=True)
class Finding:
    """One claim with its verdict.

    Attributes:
        effect: improvement of the metric, in its unit (positive: as claimed). `low`, `high`: its interval.
        how: matched pairs, surrogate, retraining, the study's best, or none.
        basis: the data behind the verdict, as text.
        trials: numbers of the trials that were used.
        pairs_run: number of pairs of the studies `hypotheses…` that were used.
        pairs: number of pairs behind the verdict; 0 for a surrogate.
        next_run: the command that would decide the claim; "" if it is decided.
        gain: the claimed range; None: any improvement.
        matters: the largest difference that does not matter.
        sentence: verdict, effect and data as one sentence.
        note: how the pairs that were run differ from runs of the study; "" if they do not.
    """

    study: str
    claim: str
    metric: str
    verdict: Verdict
    how: str
    basis: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    trials: tuple[int, ...] = ()
    next_run: str = ""
    pairs_run: int = 0
    pairs: int = 0
    gain: Gain | None = None
    matters: float = 0.0
    sentence: str = ""
    note: str = ""

    @property
    def decided(self) -> bool:
        return self.verdict != "open"

    @property
    def words(self) -> str:
        """The verdict as it is shown: `no difference that matters`."""
        return judgement.WORDS[self.verdict]

    def interval(self) -> str:
        """`+0.031 [+0.012, +0.050]`, or a dash."""
        if self.effect is None or self.low is None or self.high is None:
            return "–"
        return " ".join((judgement.signed(self.effect), self.span()))

    def span(self) -> str:
        """`[+0.012, +0.050]`, or a dash."""
        if self.low is None or self.high is None:
            return "–"
        return f"[{judgement.signed(self.low)}, {judgement.signed(self.high)}]"


def findings(material: Material) -> list[Finding]:
    """Findings on all claims of all studies and of the campaign."""
    evidence = Evidence.of(material)
    found = [judge(study, claim, evidence) for study in material.studies for claim in study.file.hypotheses]
    return found + campaign_claims(material)


def judge(study: Study, hypothesis: Hypothesis, evidence: Evidence | None = None) -> Finding:
    """Judges a claim by pairs run for it, else by its study's matched pairs, else by a surrogate."""
    evidence = evidence or Evidence()
    metric, gain = hypothesis.metric or study.metric, hypothesis.gain
    least = matters(hypothesis, evidence.noise(study, metric))
    ran = evidence.effect(study, hypothesis, metric)
    how, basis, estimate, trials, run, pairs = _estimated(study, hypothesis, metric, ran)
    effect, low, high = estimate or (None, None, None)
    verdict: Verdict = "open"
    if low is not None and high is not None:
        verdict = judgement.decide(low, high, gain=gain, matters=least)
    said = judgement.sentence(verdict, effect, low, high, gain=gain, matters=least, metric=metric, data=basis)
    decide = "" if verdict != "open" else f"tuner study {PAIRED if study.done else study.name}"
    return Finding(study.name, hypothesis.claim, metric, verdict, how, basis, effect, low, high, trials,
                   decide, run, pairs, gain, least, said, ran.note if ran and run else "")  # fmt: skip


def _estimated(
    study: Study, hypothesis: Hypothesis, metric: str, run: Paired | None
) -> tuple[str, str, tuple[float, float, float] | None, tuple[int, ...], int, int]:
    """How the effect of a claim was estimated, and what comes next in a `Finding`: the data in words, effect
    with its interval, the trials that were used, pairs that were run for it, and all pairs.
    """
    sign = 1.0 if _more_is_better(metric, study) else -1.0
    if run is not None and (run.pairs >= MIN_PAIRS or run.effect.exact):
        low, high = sorted((sign * run.effect.low, sign * run.effect.high))
        estimate = (sign * run.effect.difference, low, high)
        return "matched pairs", run.in_words(), estimate, (), run.pairs, run.pairs
    points = points_of(study, hypothesis, metric)
    complete = [p for p in points if p.trial.complete]
    own = matched(study, hypothesis, complete)
    if len(own) >= MIN_PAIRS:
        used = tuple(sorted({n for _, numbers in own for n in numbers}))
        basis = f"{len(own)} matched pairs of {len(used)} trials"
        found = paired([sign * gap for gap, _ in own], once=True)
        return "matched pairs", basis, (found.difference, found.low, found.high), used, 0, len(own)
    points = complete if min(_sides(complete)) >= ENOUGH else points
    where, against = _sides(points)
    used = tuple(sorted(p.trial.number for p in points))
    if min(where, against) < MIN_SIDE:
        return "none", f"{where} trials as claimed, {against} against: too few on one side", None, used, 0, 0
    basis = f"a regression (a model) on {where} trials as claimed and {against} against"
    return "surrogate", basis, surrogate(study, hypothesis, points, sign=sign), used, 0, 0


def points_of(study: Study, hypothesis: Hypothesis, metric: str) -> list[Point]:
    """The finished trials that are on one of the sides and have the metric."""
    found = []
    for trial in study.finished:
        value = trial.metric(metric)
        if value is None and metric == study.metric:
            value = trial.value
        side = hypothesis.side(searchable(study, trial))
        if side is not None and value is not None and math.isfinite(value):
            found.append(Point(trial, side, value))
    return found


def surrogate(
    study: Study, hypothesis: Hypothesis, points: Sequence[Point], *, sign: float
) -> tuple[float, float, float]:
    """The coefficient of the side in a ridge regression with all other parameters, and its interval."""
    about = claim_names(hypothesis)
    coded = encode(study, [p.trial for p in points])
    columns: list[np.ndarray] = []
    for j, name in enumerate(coded.names):
        column = coded.x[:, j]
        if name in about:
            continue
        if name in coded.words:
            columns += [(column == level).astype(float) for level in np.unique(column)[1:]]
        else:
            columns += [column, (column - column.mean()) ** 2]
    epochs = np.array([p.trial.epochs for p in points])
    columns += [(epochs == level).astype(float) for level in np.unique(epochs)[1:]]
    others = np.array(columns, dtype=float).reshape(len(columns), len(points)).T
    spread = others.std(axis=0)
    others = (others - others.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    side = np.array([p.side == "where" for p in points], dtype=float)
    design = np.column_stack([np.ones(len(points)), side, others])  # (trial, column)
    y = sign * np.array([p.value for p in points])
    penalty = np.diag([1e-9, 1e-9] + [RIDGE] * others.shape[1])
    whole = _solve(design[None], y[None], penalty)[0, 1]
    draws = _resample(side, np.random.default_rng(0))
    effects = _solve(design[draws], y[draws], penalty)[:, 1]
    freedom = max(1, len(points) - design.shape[1])
    half = student(freedom) * float(effects.std(ddof=1))
    return float(whole), float(whole) - half, float(whole) + half


def _resample(side: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap indices `(resample, trial)`. Each side is drawn separately, so that none is empty."""
    parts = [np.flatnonzero(side == kind) for kind in (0.0, 1.0)]
    return np.concatenate([rng.choice(part, size=(RESAMPLES, len(part))) for part in parts], axis=1)


def _solve(design: np.ndarray, y: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Ridge coefficients, batched: `(batch, trial, column)`, `(batch, trial)` → `(batch, column)`."""
    turned = design.transpose(0, 2, 1)
    return np.linalg.solve(turned @ design + penalty, turned @ y[..., None])[..., 0]


def _retrained_most(study: Study, metric: str) -> tuple[float, int]:
    """Sort key: the winner's metric, then its retrainings. (A study that starts from it may have as much.)"""
    assert study.winner is not None
    return study.winner.metric(metric) or 0.0, len(study.retrained(study.winner.number))


def campaign_claims(material: Material) -> list[Finding]:
    """Findings on the campaign's claims: a metric of the best winner is at least a bound.

    Only retrainings of the best confirmed or verified configuration can confirm a claim. The best score
    within a study is too high on average, because it is the best of many.
    """
    campaign = material.campaign
    if campaign is None:
        return []
    own = [s for s in material.studies if s.name in campaign.studies and not s.workload.deterministic]
    found = []
    for claim in campaign.claims:
        having = [s for s in own if s.winner and s.winner.metric(claim.metric) is not None]
        if having:
            found.append(_campaign_claim(claim, max(having, key=lambda s: _retrained_most(s, claim.metric))))
    return found


def _campaign_claim(claim: Claim, best: Study) -> Finding:
    """Judges a claim of the campaign by its best study: as claimed, or smaller than claimed, or open."""
    winner, bound = best.winner, claim.at_least
    assert winner is not None
    value = winner.metric(claim.metric) or 0.0
    again = best.retrained(winner.number) if best.metric == claim.metric else []
    basis = f"trial {winner.number} of {best.name}: {value:.4f} on select"
    verdict: Verdict
    found: tuple[float | None, float | None, float | None] = (None, None, None)
    if len(again) < 2:
        how, verdict = "the study's best", "smaller" if value < bound else "open"
        basis += ", the best of its study" + (", which is still too low" if value < bound else "")
    else:
        mean, low, high = t_interval(again)
        how, found = "retraining", (mean - bound, low - bound, high - bound)
        verdict = "as claimed" if low >= bound else "smaller" if high < bound else "open"
        basis += f"; retrained {len(again)} times: {mean:.4f} [{low:.4f}, {high:.4f}]"
    said = {"as claimed": "As claimed", "smaller": "Smaller than claimed"}.get(verdict, "Open")
    next_run = f"tuner verify {best.name} --top 1 --seeds 5" if verdict == "open" else ""
    return Finding(CAMPAIGN, claim.claim, claim.metric, verdict, how, basis, *found, (winner.number,),
                   next_run, sentence=f"{said}: {basis}; at least {bound:g} was claimed.")  # fmt: skip


def _more_is_better(metric: str, study: Study) -> bool:
    if metric == study.metric:
        return study.maximize
    return not metric.rpartition("/")[2].startswith(LESS_IS_BETTER) and not metric.endswith(LESS_IS_BETTER)


def _sides(points: Sequence[Point]) -> tuple[int, int]:
    where = sum(p.side == "where" for p in points)
    return where, len(points) - where
