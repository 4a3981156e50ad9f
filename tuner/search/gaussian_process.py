"""The sampler `gp`: a Gaussian process of a study's complete trials proposes the next configuration.

The model is that of freeze-thaw search, with one value a trial. It proposes the configuration with the
highest expected improvement, times the probability that the study's constraints are met. With several
objectives, each proposal weighs them anew (ParEGO, Knowles 2006).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.linalg import cho_solve
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr

from tuner.definition.space import Space
from tuner.search import ranking
from tuner.search.freeze_thaw import draws_of, mends_of
from tuner.search.freeze_thaw.candidates import Candidate, Candidates
from tuner.search.freeze_thaw.process import ROOT5, Hyperparameters, Pairs, Points, Process, fit
from tuner.search.freeze_thaw.targets import Targets
from tuner.search.points.cube import Cube
from tuner.storage import optuna_private

MOST_MODELLED = 100  # complete trials that the model holds: half are the best, half the latest
GOOD = 5  # best trials near which candidates lie
CLIMBS = 3  # candidates from which the numbers are optimised
EVEN = 0.05  # of the sum of all objectives beside the one farthest behind (ParEGO's rho)
STEPS = 20  # of an optimisation
REFIT = 1.1  # growth of the trials after which the hyperparameters are fitted anew, …
MOST_UNFITTED = 20  # … and trials after which they are in any case
AIM = "the aim"  # as a target, beside constraints
LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)

Params = dict[str, Any]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class TargetModel:
    """The model of one target over configurations.

    Attributes:
        rows: the known configurations, (configuration, parameter).
        threshold: what is to be exceeded.
        gains: whether it counts by how much. (Of a constraint it does not.)
    """

    cube: Cube
    rows: Array
    process: Process
    threshold: float
    gains: bool

    def score(self, points: Array) -> Array:
        """(point,): the logarithm of the expected gain or, of a constraint, of the chance that it is met."""
        u, deviation, *_ = self._predicted(points)
        return np.log(deviation) + log_gain(u) if self.gains else np.asarray(log_ndtr(u))

    def slope(self, point: Array) -> tuple[float, Array]:
        """The score at one point, and its gradient along each parameter; 0 along choices."""
        (u,), (deviation,), (r,), (explained,) = self._predicted(point[None])
        logs = self.process.hyperparameters.logs
        a, b = np.exp(logs[:2])
        decay = -5.0 / 3.0 * (a + b) * (1.0 + ROOT5 * r) * np.exp(-ROOT5 * r)
        apart = np.where(self.cube.choices, 0.0, np.nan_to_num(point - self.rows))
        covariance = decay[:, None] * apart * np.exp(-2.0 * logs[9:])
        widens = -(explained @ covariance) / deviation
        rises = (self.process.weights @ covariance - u * widens) / deviation
        if self.gains:
            gain = float(log_gain(u))
            return math.log(deviation) + gain, widens / deviation + math.exp(log_ndtr(u) - gain) * rises
        chance = float(log_ndtr(u))
        return chance, math.exp(-0.5 * u * u - LOG_ROOT_2PI - chance) * rises

    def _predicted(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """At each point: standard deviations from the threshold up to the mean, the standard deviation,
        scaled distances from the known configurations, and these configurations' weights.
        """
        logs = self.process.hyperparameters.logs
        a, b, c, _, _, f = np.exp(logs[:6])
        r = np.sqrt(np.tensordot(np.exp(-2.0 * logs[9:]), self.cube.distances(points, self.rows), 1))
        k = (a + b) * (1.0 + ROOT5 * r + 5.0 / 3.0 * r**2) * np.exp(-ROOT5 * r) + c + f
        explained = cho_solve((self.process.lower, True), k.T, check_finite=False).T
        deviation = np.sqrt(np.maximum(a + b + c + f - (k * explained).sum(1), 1e-12))
        return (k @ self.process.weights - self.threshold) / deviation, deviation, r, explained


def log_gain(u: Array) -> Array:
    """log(E max(0, u + z)) for a standard normal z, exact where u is far below 0 (Ament et al., 2023)."""
    density = -0.5 * np.square(u) - LOG_ROOT_2PI
    tail = 1.0 + u * math.sqrt(math.pi / 2) * erfcx(-u / math.sqrt(2))
    near = np.exp(density) + u * np.exp(log_ndtr(u))
    return np.where(u > -1.0, np.log(np.maximum(near, 1e-300)), density + np.log(np.maximum(tail, 1e-16)))


class GP(BaseSampler):
    """Proposes whole configurations, with choices, conditional parameters and constraints.

    Args:
        seed: of this process; agents with different seeds look at different candidates.
        startup_trials: complete trials, before which all are drawn at random.
    """

    def __init__(self, space: Space, seed: int, *, startup_trials: int) -> None:
        self._startup_trials = startup_trials
        self._distributions = space.distributions()
        self._cube = Cube(self._distributions)
        self._mend = mends_of(space)
        self._rng = np.random.default_rng(seed)
        self._candidates = Candidates(self._cube, draws_of(space, seed), self._mend, self._rng)
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._fitted: dict[str, tuple[int, Hyperparameters]] = {}  # by target, with the number of trials

    def reseed_rng(self) -> None:
        self._rng.bit_generator.state = np.random.default_rng().bit_generator.state
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {name: self._distributions[name] for name in self._cube.axes}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
        complete = [t for t in trials if t.state is TrialState.COMPLETE]
        if len(complete) < self._startup_trials or not self._cube.axes:
            return {}
        running = [
            t for t in trials if t.state is TrialState.RUNNING and t.params and t.number != trial.number
        ]
        known = best_and_latest(complete, study.directions)
        rows = self._cube.encode([t.params for t in (*known, *running)])
        surfaces = [
            self._surface(name, rows, targets, threshold, seen=len(complete))
            for name, targets, threshold in self._targets(known, study.directions)
        ]
        best = np.argsort(-surfaces[0].process.targets[: len(known)])[:GOOD]
        found = self._candidates.near([(known[place].params, rows[place]) for place in best], tried=rows)
        return self._best(surfaces, found, trial.system_attrs.get(optuna_private.FIXED_PARAMS, {}))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _targets(
        self, trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]
    ) -> list[tuple[str, Array, float]]:
        """What is modelled: a name, its values with mean 0 and deviation 1, and what is to be exceeded.

        First the aim, then the constraints; while no trial meets them, only these.
        """
        amounts = _amounts(trials)
        targets = []
        for name, missed in amounts.items():
            sizes = np.abs(missed[missed != 0])
            met = -np.arcsinh(missed / (np.median(sizes) if len(sizes) else 1.0))
            mean, deviation = met.mean(), met.std() or 1.0
            targets.append((name, (met - mean) / deviation, float(-mean / deviation)))
        allowed = np.all([missed <= 0 for missed in amounts.values()], axis=0) if amounts else slice(None)
        aim = self._aim(np.array([t.values for t in trials], dtype=float), directions)
        if len(aim[allowed]):
            targets.insert(0, (AIM, aim, float(aim[allowed].max())))
        return targets

    def _aim(self, values: Array, directions: Sequence[StudyDirection]) -> Array:
        """(trial,): the objective, or several objectives as one, weighed at random."""
        columns = np.stack([
            _standardised(column, maximize=direction is StudyDirection.MAXIMIZE)
            for column, direction in zip(values.T, directions, strict=True)
        ])  # fmt: skip
        if len(columns) == 1:
            return columns[0]
        behind = (columns.max(1) - columns.T) / np.maximum(np.ptp(columns, axis=1), 1e-12)
        weighed = behind * self._rng.dirichlet(np.ones(len(columns)))
        whole = -(weighed.max(1) + EVEN * weighed.sum(1))
        return np.asarray((whole - whole.mean()) / (whole.std() or 1.0))

    def _surface(self, name: str, rows: Array, targets: Array, threshold: float, *, seen: int) -> TargetModel:
        """The model of one target, where running trials come as they are predicted."""
        count, every = len(targets), len(rows)
        points = Points(np.arange(count), np.zeros(count))
        pairs = Pairs(
            self._cube.distances(rows, rows), np.zeros((every, every)), (np.zeros((every, 0)),) * 2
        )  # without "the same": all that one value is beside its configuration's is noise
        fitted_at, hyperparameters = self._fitted.get(name, (0, Hyperparameters.median(rows.shape[1])))
        if seen >= min(REFIT * fitted_at, fitted_at + MOST_UNFITTED):
            # from the medians: from earlier ones, a wrong guess of the first trials may stay for good
            hyperparameters = fit(points, pairs, targets, Hyperparameters.median(rows.shape[1]))
            self._fitted[name] = seen, hyperparameters
        process = Process.of(points, pairs, targets, hyperparameters)
        process = process.with_pending(Points(np.arange(count, every), np.zeros(every - count)))
        if name == AIM:  # what running trials will reach is to be exceeded as well
            threshold = max([threshold, *process.targets[count:]])
        return TargetModel(self._cube, rows, process, threshold, gains=name == AIM)

    def _best(
        self, surfaces: Sequence[TargetModel], candidates: Sequence[Candidate], fixed: Mapping[str, Any]
    ) -> Params:
        """The best of the candidates, and of those that lie uphill of the first few."""
        points = np.stack([point for _, point in candidates])
        names = list(self._cube.axes)
        held = self._cube.choices | np.isin(names, list(fixed))
        for name in fixed.keys() & set(names):
            points[:, names.index(name)] = self._cube.encode([fixed])[0, names.index(name)]
        order = np.argsort(-_score(surfaces, points))
        found = [(candidates[place][0], points[place]) for place in order[:CLIMBS]]
        for origin, point in found.copy():
            climbed = _uphill(surfaces, point, ~held & ~np.isnan(point))
            climbed = self._cube.snapped(climbed[None])[0]
            params = {**self._cube.decode(climbed, origin), **fixed}
            if self._mend is None or self._mend(params) == params:
                found.append((origin, climbed))
        tried = {row.tobytes() for row in surfaces[0].rows}
        found = [one for one in found if one[1].tobytes() not in tried] or found
        scores = _score(surfaces, np.stack([point for _, point in found]))
        origin, point = found[int(np.argmax(scores))]
        params = self._cube.decode(point, origin)
        return {name: value for name, value in params.items() if name in self._cube.axes}


def best_and_latest(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """MOST_MODELLED of these complete trials, in order. With several objectives the best by each are kept."""
    if len(trials) <= MOST_MODELLED:
        return list(trials)
    half = MOST_MODELLED // 2
    kept = {t.number for t in trials[-half:]}
    for place, direction in enumerate(directions):
        sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
        order = sorted(trials, key=lambda t: (ranking.violation(t), sign * t.values[place]))
        kept |= {t.number for t in order[: half // len(directions)]}
    return [t for t in trials if t.number in kept]


def _amounts(trials: Sequence[FrozenTrial]) -> dict[str, Array]:
    """By how much trials miss the constraints that all of them have; below 0 where they are met."""
    constraints = [t.constraints for t in trials]
    names = sorted(set.intersection(*(set(found) for found in constraints)))
    return {name: np.array([found[name] for found in constraints], dtype=float) for name in names}


def _standardised(values: Array, *, maximize: bool) -> Array:
    """An objective as the model sees it; what is infinite counts as the worst value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros_like(values)
    values = np.where(np.isfinite(values), values, finite.min() if maximize else finite.max())
    return Targets.of(values, maximize=maximize).to(values)


def _score(surfaces: Sequence[TargetModel], points: Array) -> Array:
    """(point,): the expected gain times the chances to meet the constraints, as a logarithm."""
    return np.sum([surface.score(points) for surface in surfaces], axis=0)


def _uphill(surfaces: Sequence[TargetModel], point: Array, free: NDArray[np.bool_]) -> Array:
    """A point of a higher score that differs along the parameters `free` only, all numbers."""
    if not free.any():
        return point

    def loss(numbers: Array) -> tuple[float, Array]:
        at = point.copy()
        at[free] = numbers
        values, slopes = zip(*(surface.slope(at) for surface in surfaces), strict=True)
        return -sum(values), -np.sum(slopes, axis=0)[free]

    bounds = [(0.0, 1.0)] * int(free.sum())
    found = minimize(
        loss, point[free], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
    )
    climbed = point.copy()
    climbed[free] = found.x
    return climbed
