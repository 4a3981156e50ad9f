"""Which trial a free agent runs: a paused one, or a new one.

Freeze-thaw (Swersky et al., 2014): a trial runs to its next rung and pauses. One model of all curves
predicts how paused trials and new configurations go on. An agent takes the one that most probably beats the
best value by a random amount within a random number of epochs: the rule of ifBO (Rakotoarison et al., 2024).
Small amounts and short horizons finish what is good, large ones look for what is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from scipy.special import log_ndtr, ndtr

from tuner.base.words import chance
from tuner.search.freeze_thaw.candidates import Candidate, Candidates
from tuner.search.freeze_thaw.curves import Curve, Proposal, next_rung
from tuner.search.freeze_thaw.process import Hyperparameters, Pairs, Points, Process, fit
from tuner.search.freeze_thaw.targets import Targets
from tuner.search.points.cost import EpochCost
from tuner.search.points.cube import Cube

# the amount to exceed the best by: 10 to the power of a number between these, of what is left
GAINS = (-4.0, -1.0)
BEST = 5  # trials near which new configurations are looked at
MOST_OF_PRIOR = 100  # values of earlier studies
ENOUGH = 40  # values of this study, from which on it does without earlier ones
MOST_VALUES = 240  # that the model holds, so that a choice stays fast: the best trials' and the latest
REFIT = 1.25  # growth of the values after which the hyperparameters are fitted anew
TRUST = 0.7  # standard deviations that are added to the predicted end of a trusted trial
COST_POWER = 0.5  # of an epoch's seconds, by which the chance to win is divided
FEWEST = 3  # values, before a model is made

Params = dict[str, Any]
Array = NDArray[np.float64]


class FreezeThaw:
    """Chooses for one study. Another process that is given the same curves may choose as well.

    Args:
        distributions: of the searched parameters, as Optuna has them.
        length: epochs of a full run.
        rungs: epochs at which trials pause, ascending; the last one is `length`.
        starts: trials that are drawn at random before the model is asked.
        lead_after: started trials, from which on one of them is run to its end, until one has ended. Without
            that, a study of a few full runs starts many trials and finishes none.
        draw: gives a random configuration in which conditions and constraints hold.
        prior: curves of earlier studies of these parameters. The model takes from them what holds here too.
        mend: of a configuration near a good one, what exists; None where the space forbids it. Without it,
            all are taken to be allowed.
        seed: of this process; agents with different seeds look at different candidates.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        *,
        maximize: bool,
        length: int,
        rungs: Sequence[int],
        draw: Callable[[], Params],
        starts: int = 8,
        lead_after: int = 4,
        prior: Sequence[Curve] = (),
        mend: Callable[[Mapping[str, Any]], Params | None] | None = None,
        seed: int | None = None,
    ) -> None:
        if list(rungs) != sorted(set(rungs)) or not rungs or rungs[0] < 1 or rungs[-1] != length:
            raise ValueError(f"rungs: expected ascending epochs that end with {length}, got {list(rungs)}")
        self._cube = Cube(distributions)
        self._maximize, self._rungs, self._starts = maximize, list(rungs), starts
        self._lead_after, self._draw = lead_after, draw
        self._prior = _Data.of(prior, self._rungs, maximize=maximize, most=MOST_OF_PRIOR)
        self._prior_rows = self._cube.encode(
            [curve.params for curve in self._prior.curves] if self._prior else []
        )
        self._rng = np.random.default_rng(seed)
        self._hyperparameters = Hyperparameters.median(len(self._cube.axes))
        self._fitted_at = 0  # values in all, when the hyperparameters were fitted
        self._candidates = Candidates(self._cube, draw, mend, self._rng)
        self._rows: dict[int, Array] = {}  # of trials, by number

    def choose(self, curves: Sequence[Curve], *, may_start: bool = True) -> Proposal | None:
        """What a free agent does next; None if nothing is paused and nothing may start."""
        paused = [c for c in curves if c.state == "paused" and c.done < self._rungs[-1]]
        if not paused and not may_start:
            return None
        data = _Data.of(curves, self._rungs, maximize=self._maximize)
        starting = may_start and len(curves) < self._starts and (self._prior is None or len(curves) % 2 == 0)
        if data is not None and (leader := self._leader(curves, data)):
            return leader
        if data is None or len(data.targets) < FEWEST or starting:
            if may_start:
                return Proposal(None, self._draw(), self._rungs[0])
            return self._resumed(max(paused, key=lambda curve: curve.done))
        return self._by_model(data, paused, may_start=may_start)

    def explain(self, choice: Proposal) -> str:
        """Why this trial, in words; in brackets how probable it is to win."""
        if choice.leads:
            return "expected to end best; none has ended yet"
        if choice.chance is None and choice.number is None:
            return f"drawn at random, as the first {self._starts} are"
        if choice.chance is None:
            return "too few values to choose by"
        odds = f"{chance(choice.chance)} likely to beat {choice.threshold:.4g} by epoch {choice.horizon}"
        return f"the most promising ({odds})"

    def likeliest(self, curves: Sequence[Curve], *, gain: float = 0.0) -> float:
        """How probable it is that a paused trial ends better than the best by `gain`: that of the likeliest.

        1 where too little is known for a model.
        """
        data = _Data.of(curves, self._rungs, maximize=self._maximize)
        paused = [] if data is None else [c for c in data.curves if c.state == "paused"]
        if data is None or len(data.targets) < FEWEST:
            return 1.0
        if not paused:
            return 0.0
        process, rows = self._process(data)
        process = process.with_pending(data.pending)
        places = [place for place, curve in enumerate(data.curves) if curve.state == "paused"]
        ends = Points(np.arange(len(places)), np.full(len(places), math.log(self._rungs[-1])))
        mean, deviation = process.predict(ends, self._pairs(rows[places], rows, places, len(data.curves)))
        wanted = data.scale.back(data.best) + (gain if self._maximize else -gain)
        threshold = float(data.scale.to(np.array([wanted]))[0])
        return float(ndtr((mean - threshold) / deviation).max())

    def _leader(self, curves: Sequence[Curve], data: _Data) -> Proposal | None:
        """The paused trial whose end is predicted to be best, while no trial is on its way to its end.

        A trusted one goes first unless another is predicted to end clearly better, as beginnings mislead.
        None before enough trials are started, and once one has ended or goes on.
        """
        first, whole = self._rungs[0], self._rungs[-1]
        goes_on = any(c.done >= whole or (c.state == "running" and (c.until or 0) > first) for c in curves)
        places = [place for place, c in enumerate(data.curves) if c.state == "paused" and c.done < whole]
        if goes_on or len(curves) < self._lead_after or len(data.targets) < FEWEST or not places:
            return None
        process, rows = self._process(data)
        ends = Points(np.arange(len(places)), np.full(len(places), math.log(whole)))
        mean, deviation = process.predict(ends, self._pairs(rows[places], rows, places, len(data.curves)))
        trusted = np.array([data.curves[place].trusted for place in places])
        best = int(np.argmax(mean + TRUST * deviation * trusted))
        return replace(self._resumed(data.curves[places[best]]), leads=True)

    def _resumed(self, curve: Curve) -> Proposal:
        return Proposal(curve.number, None, next_rung(self._rungs, curve.done))

    def _by_model(self, data: _Data, paused: Sequence[Curve], *, may_start: bool) -> Proposal:
        process, rows = self._process(data)
        process = process.with_pending(data.pending)
        places = {curve.number: place for place, curve in enumerate(data.curves)}
        resumable = [curve for curve in paused if curve.number in places] or list(paused)
        new = self._new(data, process, rows) if may_start else []

        asked = np.concatenate([self._encoded(resumable), *(point[None] for _, point in new)])
        own = [places.get(curve.number) for curve in resumable]
        pairs = self._pairs(asked, rows, own, len(data.curves))
        more = int(self._rng.integers(1, self._rungs[-1] + 1))
        done = np.array([curve.done for curve in resumable] + [0] * len(new))
        horizons = np.minimum(done + more, self._rungs[-1])
        mean, deviation = process.predict(Points(np.arange(len(asked)), np.log(horizons)), pairs)
        threshold = data.scale.better_by(data.best, 10 ** self._rng.uniform(*GAINS))
        likely = (mean - threshold) / deviation
        seconds = [curve.seconds for curve in data.curves]
        cost = EpochCost(rows[: len(data.curves)], self._cube.choices, seconds).logs(asked)
        taken = int(np.argmax(log_ndtr(likely) - COST_POWER * cost))
        if taken < len(resumable):
            choice = self._resumed(resumable[taken])
        else:
            origin, point = new[taken - len(resumable)]
            choice = Proposal(None, self._cube.decode(point, origin), self._rungs[0])
        return replace(
            choice,
            chance=float(ndtr(likely[taken])),
            threshold=data.scale.back(threshold),
            horizon=int(horizons[taken]),
        )

    def _new(self, data: _Data, process: Process, rows: Array) -> list[Candidate]:
        """New configurations: anywhere, and near the trials whose ends are predicted to be best."""
        count = len(data.curves)
        ends = Points(np.arange(count), np.full(count, math.log(self._rungs[-1])))
        mean, _ = process.predict(ends, process.pairs)
        good = [(data.curves[place].params, rows[place]) for place in np.argsort(-mean)[:BEST]]
        return self._candidates.near(good, tried=rows[:count])

    def _pairs(self, asked: Array, rows: Array, own: Sequence[int | None], curves: int) -> Pairs:
        """How configurations that are `asked` about stand to those that the model holds, `rows`.

        Args:
            own: of the first of `asked`: the place in `rows` of the same trial, if it is held.
            curves: how many of `rows` are of this study.
        """
        same = np.zeros((len(asked), len(rows)))
        for row, place in enumerate(own):
            if place is not None:
                same[row, place] = 1.0
        together = np.zeros_like(same)
        together[:, :curves] = 1.0
        return Pairs(self._cube.distances(asked, rows), same, together)

    def _process(self, data: _Data) -> tuple[Process, Array]:
        """The model of all values, and its configurations: this study's, then those of earlier ones."""
        own = self._encoded(data.curves)
        rows, points, targets = own, data.points, data.targets
        if self._prior is not None and data.seen < ENOUGH:
            rows = np.concatenate([own, self._prior_rows])
            earlier = self._prior.points
            points = Points(
                np.concatenate([points.rows, len(own) + earlier.rows]),
                np.concatenate([points.logs, earlier.logs]),
            )
            targets = np.concatenate([targets, self._prior.targets])
        here = np.arange(len(rows)) < len(own)
        together = (here[:, None] == here[None, :]).astype(float)
        pairs = Pairs(self._cube.distances(rows, rows), np.eye(len(rows)), together)
        if data.seen >= REFIT * self._fitted_at:
            self._hyperparameters = fit(points, pairs, targets, self._hyperparameters)
            self._fitted_at = data.seen
        return Process.of(points, pairs, targets, self._hyperparameters), rows

    def _encoded(self, curves: Sequence[Curve]) -> Array:
        """Trials as points; each is encoded once."""
        if fresh := [curve for curve in curves if curve.number not in self._rows]:
            rows = self._cube.encode([curve.params for curve in fresh])
            self._rows.update(zip((curve.number for curve in fresh), rows, strict=True))
        empty = np.empty((0, len(self._cube.axes)))
        return np.stack([self._rows[curve.number] for curve in curves]) if curves else empty


@dataclass(frozen=True)
class _Data:
    """A study's curves as the model sees them.

    Attributes:
        points, targets: values at rungs; where a trial that does not run stopped between two, that as well.
        pending: where running trials will be.
        best: the target of the best value.
        seen: values in all, also those that are left out for speed.
    """

    curves: list[Curve]
    points: Points
    targets: Array
    pending: Points
    scale: Targets
    best: float
    seen: int

    @classmethod
    def of(
        cls, curves: Sequence[Curve], rungs: Sequence[int], *, maximize: bool, most: int = MOST_VALUES
    ) -> _Data | None:
        """None while there is no finite value, or none at a rung."""
        finite = [v for curve in curves for v in curve.values.values() if math.isfinite(v)]
        if not finite:
            return None
        scale = Targets.of(np.array(finite), maximize=maximize)
        worst, best = (min(finite), max(finite)) if maximize else (max(finite), min(finite))
        at = {curve.number: _at_rungs(curve, rungs, worst) for curve in curves}
        kept = _kept(curves, at, most, sign=1.0 if maximize else -1.0)
        rows = [row for row, curve in enumerate(kept) for _ in at[curve.number]]
        known = [pair for curve in kept for pair in at[curve.number].items()]
        if not known:
            return None
        epochs, values = zip(*known, strict=True)
        sent = [(row, curve) for row, curve in enumerate(kept) if curve.state == "running"]
        ahead = [curve.until or next_rung(rungs, curve.done) for _, curve in sent]
        return cls(
            kept,
            Points(np.array(rows), np.log(epochs)),
            scale.to(np.array(values)),
            Points(np.array([row for row, _ in sent], dtype=int), np.log(ahead)),
            scale,
            float(scale.to(np.array([best]))[0]),
            sum(map(len, at.values())),
        )


def _at_rungs(curve: Curve, rungs: Sequence[int], worst: float) -> dict[int, float]:
    """The values that the model is told of. What is not a number counts as the worst value of the study."""
    epochs = {rung for rung in rungs if rung in curve.values}
    if curve.state != "running" and curve.values:
        epochs.add(curve.done)
    found = {epoch: curve.values[epoch] for epoch in sorted(epochs)}
    if curve.state == "ended" and not curve.values:  # it failed before its first report
        found[rungs[0]] = worst
    return {epoch: value if math.isfinite(value) else worst for epoch, value in found.items()}


def _kept(
    curves: Sequence[Curve], at: Mapping[int, Mapping[int, float]], most: int, *, sign: float
) -> list[Curve]:
    """All curves while they have few values; then what runs, the best, and the latest of the others."""
    if sum(map(len, at.values())) <= most:
        return list(curves)
    kept = {curve.number for curve in curves if curve.state == "running"}
    by_value = sorted(
        (curve for curve in curves if at[curve.number]),
        key=lambda curve: -max(sign * value for value in at[curve.number].values()),
    )
    for order, share in ((by_value, 0.6), (sorted(curves, key=lambda curve: -curve.number), 1.0)):
        size = sum(len(at[number]) for number in kept)
        for curve in order:
            if curve.number in kept:
                continue
            size += len(at[curve.number])
            if size > share * most:
                break
            kept.add(curve.number)
    return [curve for curve in curves if curve.number in kept]
