"""Which trial a free agent runs: a paused one, or a new one.

Freeze-thaw (Swersky et al., 2014): a trial runs to its next rung and pauses. One model of all curves
predicts how paused trials and new configurations go on. An agent takes the one that most probably beats the
best value by a random amount within a random number of epochs: the rule of ifBO (Rakotoarison et al., 2024).
Small amounts and short horizons finish what is good, large ones look for what is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from scipy.special import ndtr

from tuner.base.words import chance
from tuner.search.freeze_thaw.candidates import Candidate, Candidates
from tuner.search.freeze_thaw.curves import Curve, Proposal, next_rung, with_earlier
from tuner.search.freeze_thaw.data import Data
from tuner.search.freeze_thaw.history import Earlier, History
from tuner.search.freeze_thaw.process import Hyperparameters, Pairs, Points, Process, fit
from tuner.search.points.cube import Cube

# the amount to exceed the best by: 10 to the power of a number between these, of what is left
GAINS = (-4.0, -1.0)
DRAWN, NEIGHBOURS = 60, 10  # new configurations that are looked at, anywhere and near each good trial
PREDICTED = 30  # trials with the best values, of which …
BEST = 5  # … those that are predicted to end best are the ones near which new configurations are looked at
NEW = 0.5  # of the epochs, at most, are first ones of trials: of many new ones, one always looks promising
FROM_HISTORY = 4  # first trials that earlier studies would choose
REFIT = 1.25  # growth of the values after which the hyperparameters are fitted anew
TRUST = 0.7  # standard deviations that are added to the predicted end of a trusted trial
FEWEST = 3  # values, before a model is made

Params = dict[str, Any]
Array = NDArray[np.float64]


class FreezeThaw:
    """Chooses for one study. Another process that is given the same curves may choose as well.

    Args:
        distributions: of the searched parameters, as Optuna has them.
        length: epochs of a full run.
        rungs: epochs at which trials pause, ascending; the last one is `length`.
        earlier_rung: whether later trials may pause before the first rung, if it is seen to say as much.
        starts: trials that are drawn at random before the model is asked.
        lead_after: started trials, from which on one of them is run to its end, until one has ended. Without
            that, a study of a few full runs starts many trials and finishes none.
        draw: gives a random configuration in which conditions and constraints hold.
        earlier: studies that share parameters. The model takes from them what holds here too.
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
        earlier_rung: bool = True,
        starts: int = 8,
        lead_after: int = 4,
        earlier: Sequence[Earlier] = (),
        mend: Callable[[Mapping[str, Any]], Params | None] | None = None,
        seed: int | None = None,
    ) -> None:
        if list(rungs) != sorted(set(rungs)) or not rungs or rungs[0] < 1 or rungs[-1] != length:
            raise ValueError(f"rungs: expected ascending epochs that end with {length}, got {list(rungs)}")
        self._cube = Cube(distributions)
        self._maximize, self._starts = maximize, starts
        self._planned, self._earlier_rung = list(rungs), earlier_rung
        self._rungs = self._planned
        self._lead_after, self._draw = lead_after, draw
        self._rng = np.random.default_rng(seed)
        self._history = History(earlier, self._cube, self._rng)
        self._hyperparameters = Hyperparameters.median(len(self._cube.axes))
        self._fitted_at = 0  # values in all, when the hyperparameters were fitted
        self._candidates = Candidates(self._cube, draw, mend, self._rng, drawn=DRAWN, neighbours=NEIGHBOURS)
        self._rows: dict[int, Array] = {}  # of trials, by number

    def choose(self, curves: Sequence[Curve], *, may_start: bool = True) -> Proposal | None:
        """What a free agent does next; None if nothing is paused and nothing may start."""
        self._rungs = self.rungs(curve.values for curve in curves)
        paused = [c for c in curves if c.state == "paused" and c.done < self._rungs[-1]]
        if not paused and not may_start:
            return None
        data = Data.of(curves, self._rungs, maximize=self._maximize)
        starting = may_start and len(curves) < self._starts and (not self._history or len(curves) % 4 == 1)
        if data is not None and (leader := self._leader(curves, data)):
            return leader
        if may_start and self._history and len(curves) < FROM_HISTORY and not starting:
            return self._by_history(len(curves))
        if data is None or len(data.targets) < FEWEST or starting:
            if may_start:
                return Proposal(None, self._draw(), self._rungs[0])
            return self._resumed(max(paused, key=lambda curve: curve.done))
        spent = sum(max(curve.done, curve.until or 0) for curve in curves)
        goes_on = bool(paused) and len(curves) * self._rungs[0] > NEW * spent
        return self._by_model(data, paused, may_start=may_start and not goes_on)

    def rungs(self, trials: Iterable[Mapping[int, float]]) -> list[int]:
        """The epochs at which trials pause from now on.

        Args:
            trials: their values (epochs done → value), in the order of their numbers.
        """
        if not self._earlier_rung:
            return self._planned
        return with_earlier(self._planned, trials, maximize=self._maximize)

    def explain(self, choice: Proposal) -> str:
        """Why this trial, in words; in brackets how probable it is to win."""
        if choice.leads:
            return "expected to end best; none has ended yet"
        if choice.earlier:
            return "what an earlier study would choose"
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
        self._rungs = self.rungs(curve.values for curve in curves)
        data = Data.of(curves, self._rungs, maximize=self._maximize)
        paused = [] if data is None else [c for c in data.curves if c.state == "paused"]
        if data is None or len(data.targets) < FEWEST:
            return 1.0
        if not paused:
            return 0.0
        process, rows = self._process(data)
        process = process.with_pending(data.pending)
        places = [place for place, curve in enumerate(data.curves) if curve.state == "paused"]
        mean, deviation = self._ends(process, rows, places)
        wanted = data.scale.back(data.best) + (gain if self._maximize else -gain)
        threshold = float(data.scale.to(np.array([wanted]))[0])
        return float(ndtr((mean - threshold) / deviation).max())

    def _leader(self, curves: Sequence[Curve], data: Data) -> Proposal | None:
        """The paused trial whose end is predicted to be best, while no trial is on its way to its end.

        A trusted one goes first unless another is predicted to end clearly better, as beginnings mislead.
        None before enough trials are started, and once one has ended or goes on.
        """
        first, whole = self._rungs[0], self._rungs[-1]
        goes_on = any(c.done >= whole or (c.state == "running" and (c.until or 0) > first) for c in curves)
        places = [place for place, c in enumerate(data.curves) if c.state == "paused" and c.done < whole]
        if goes_on or len(curves) < self._lead_after or len(data.targets) < FEWEST or not places:
            return None
        mean, deviation = self._ends(*self._process(data), places)
        trusted = np.array([data.curves[place].trusted for place in places])
        best = int(np.argmax(mean + TRUST * deviation * trusted))
        return replace(self._resumed(data.curves[places[best]]), leads=True)

    def _by_history(self, place: int) -> Proposal:
        """A new trial that one of the earlier studies would choose: each in turn."""
        found = self._candidates.near(self._history.good(place), tried=np.empty((0, len(self._cube.axes))))
        points = np.stack([point for _, point in found])
        origin, point = found[int(np.argmax(self._history.features(points)[:, place % len(self._history)]))]
        return Proposal(None, self._cube.decode(point, origin), self._rungs[0], earlier=True)

    def _resumed(self, curve: Curve) -> Proposal:
        return Proposal(curve.number, None, next_rung(self._rungs, curve.done))

    def _by_model(self, data: Data, paused: Sequence[Curve], *, may_start: bool) -> Proposal:
        process, rows = self._process(data)
        process = process.with_pending(data.pending)
        places = {curve.number: place for place, curve in enumerate(data.curves)}
        resumable = [curve for curve in paused if curve.number in places] or list(paused)
        new = self._new(data, process, rows) if may_start else []

        asked = np.concatenate([self._encoded(resumable), *(point[None] for _, point in new)])
        own = [places.get(curve.number) for curve in resumable]
        pairs = self._pairs(asked, rows, own)
        more = int(self._rng.integers(1, self._rungs[-1] + 1))
        done = np.array([curve.done for curve in resumable] + [0] * len(new))
        horizons = np.minimum(done + more, self._rungs[-1])
        mean, deviation = process.predict(Points(np.arange(len(asked)), np.log(horizons)), pairs)
        threshold = data.scale.better_by(data.best, 10 ** self._rng.uniform(*GAINS))
        likely = (mean - threshold) / deviation
        taken = int(np.argmax(likely))
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

    def _new(self, data: Data, process: Process, rows: Array) -> list[Candidate]:
        """New configurations: anywhere, and near the trials whose ends are predicted to be best."""
        count = len(data.curves)
        reached = np.full(count, -np.inf)
        np.maximum.at(reached, data.points.rows, data.targets)
        places = np.argsort(-reached, kind="stable")[:PREDICTED]
        mean, _ = self._ends(process, rows, places.tolist())
        good = [(data.curves[place].params, rows[place]) for place in places[np.argsort(-mean)[:BEST]]]
        if self._history:
            good += self._history.good(int(self._rng.integers(len(self._history))))
        return self._candidates.near(good, tried=rows[:count])

    def _ends(self, process: Process, rows: Array, places: Sequence[int]) -> tuple[Array, Array]:
        """What the trials at these places of `rows` are predicted to end with: mean, standard deviation."""
        ends = Points(np.arange(len(places)), np.full(len(places), math.log(self._rungs[-1])))
        return process.predict(ends, self._pairs(rows[places], rows, places))

    def _pairs(self, asked: Array, rows: Array, own: Sequence[int | None]) -> Pairs:
        """How configurations that are `asked` about stand to those that the model holds, `rows`.

        Args:
            own: of the first of `asked`: the place in `rows` of the same trial, if it is held.
        """
        same = np.zeros((len(asked), len(rows)))
        for row, place in enumerate(own):
            if place is not None:
                same[row, place] = 1.0
        before = self._history.features(asked), self._history.features(rows)
        return Pairs(self._cube.distances(asked, rows), same, before)

    def _process(self, data: Data) -> tuple[Process, Array]:
        """The model of all values, and its configurations."""
        rows = self._encoded(data.curves)
        before = self._history.features(rows)
        pairs = Pairs(self._cube.distances(rows, rows), np.eye(len(rows)), (before, before))
        if data.seen >= REFIT * self._fitted_at:
            # from the medians: from earlier ones, a wrong guess of the first trials may stay for good
            start = Hyperparameters.median(len(self._cube.axes))
            self._hyperparameters = fit(data.points, pairs, data.targets, start)
            self._fitted_at = data.seen
        return Process.of(data.points, pairs, data.targets, self._hyperparameters), rows

    def _encoded(self, curves: Sequence[Curve]) -> Array:
        """Trials as points; each is encoded once."""
        if fresh := [curve for curve in curves if curve.number not in self._rows]:
            rows = self._cube.encode([curve.params for curve in fresh])
            self._rows.update(zip((curve.number for curve in fresh), rows, strict=True))
        empty = np.empty((0, len(self._cube.axes)))
        return np.stack([self._rows[curve.number] for curve in curves]) if curves else empty
