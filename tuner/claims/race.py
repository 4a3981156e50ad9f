"""A race: retrains the best configurations of a study round by round, and spends runs where they matter.

In a round every configuration that is still in the race runs once, all with the same seed and (where the
workload has such) the same new split of the data outside test. So the differences between configurations are
free of what a round adds to all of them. After the first rounds, those leave that are almost surely not the
best, or that will hardly be shown to be better than the default, and at each look at least half of the others
(sequential halving; Karnin et al., 2013). The default stays to the end, because the question is whether
anything was gained over it. Where no gain is likely to be shown any more, the race ends (stochastic
curtailment; Lan, Simon and Halperin, 1982).

Model: score = configuration + round + noise, fitted by least squares. The scores that the configurations had
in the study are not used: they were chosen for being high. The noise that earlier races of the campaign
measured counts as well, up to a weight.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tuner.claims.retrain import Candidate
from tuner.definition.study_file import StudyFile
from tuner.stats import two_way
from tuner.stats.anytime import RUNS, critical
from tuner.stats.comparison import Comparison
from tuner.stats.intervals import LEVEL, student
from tuner.stats.noise import UNKNOWN, Noise, pooled
from tuner.stats.two_way import TwoWay

TOP = 4  # configurations beside the default
FIRST_ROUNDS = 2  # that all of them run; one tells nothing about noise
ROUNDS = 6  # of the leader and the default
WEIGHT_OF_KNOWN = 12  # degrees of freedom that the noise of earlier races counts for at most
ENOUGH_KNOWN = 6  # with as many, one first round is enough
FEW, ROUNDS_OF_FEW = 2, 2  # so few run two rounds at once: a known run of the default leaves an agent idle
LEAST_CHANCE = 0.05  # of being the best; with less a configuration leaves
LEAST_GAIN = 0.15  # … or with a smaller expected gain over the leader, in standard deviations of a run
LEAST_SHOWN = 0.1  # chance of a gain over the default that is shown at the end; with less it leaves, too
UNDECIDED = ("open", "too few runs")
CLEAR = 0.95  # without a default, the race ends when the leader is the best with this probability
DRAWS = 20_000


def first_rounds(known: Noise) -> int:
    """How many rounds all configurations run."""
    return 1 if known.freedom >= ENOUGH_KNOWN else FIRST_ROUNDS


@dataclass(frozen=True)
class Standing:
    """The state of a race.

    Attributes:
        leader: index of the configuration with the best mean of those that are `allowed`.
        allowed: those that were not shown to violate the constraints more than another does.
        chances: probability of each configuration to be the best.
        noise: standard deviation of a run around its configuration and round; nan if unknown.
        measured: the same from this race alone.
    """

    leader: int
    allowed: frozenset[int]
    chances: tuple[float, ...]
    noise: float
    measured: float
    _fit: TwoWay
    _known: Noise
    _freedom: int

    def lead(self, index: int, over: int) -> Comparison:
        """The lead of one configuration over another."""
        found = self._fit.compare(index, over, known=self._known)
        return Comparison(0.0, -math.inf, math.inf) if found is None else found

    def expected_gain(self, index: int) -> float:
        """By how much the configuration is expected to be better than the leader, 0 where it is worse, in
        standard deviations of a run: what it can be worth at most to run it again.
        """
        from scipy.special import ndtr

        leader = self.leader
        spread = math.sqrt(max(0.0, self._fit.variance_of_difference(index, leader)))
        if math.isnan(self.noise) or self.noise == 0 or spread == 0:
            return math.inf
        z = (self._fit.means[index] - self._fit.means[leader]) / self.noise / spread
        return spread * (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) + z * float(ndtr(z)))

    def chance_to_show(self, index: int, default: int, rounds: int) -> float:
        """The chance that the configuration is shown to be better than the default after so many rounds of
        both, by what is known now; 1 where the noise is not known.
        """
        from scipy.special import stdtr

        if index not in self.allowed:
            return 0.0
        variance = self._fit.variance_of_difference(index, default)
        at_end = 2 / rounds
        if self._freedom < 1 or self.noise == 0 or not variance > at_end:
            return 1.0
        gain = (self._fit.means[index] - self._fit.means[default]) / self.noise
        needed = critical(rounds, self._freedom + rounds, looks=RUNS) * math.sqrt(at_end)
        return float(stdtr(self._freedom, (gain - needed) / math.sqrt(variance - at_end)))

    @property
    def runner_up(self) -> int | None:
        """The next best chance, or None if nobody else ran."""
        means = self._fit.means
        others = [i for i in range(len(self.chances)) if i != self.leader and not math.isinf(means[i])]
        return max(others, key=lambda i: (self.chances[i], means[i]), default=None)


def standing(found: Sequence[Candidate], file: StudyFile, known: Noise = UNKNOWN) -> Standing:
    """The state of the race after the retrainings of `found`."""
    sign = 1.0 if file.metric.goal == "maximize" else -1.0
    runs = [(i, k, sign * score) for i, c in enumerate(found) for k, score in c.again.items()]
    fit = two_way.fit(runs, len(found))
    known = replace(known, freedom=min(known.freedom, WEIGHT_OF_KNOWN))
    own = Noise(fit.noise, fit.freedom)
    both = own if own.deviation == 0 else pooled([own, known])
    noise, freedom = both.deviation, both.freedom
    allowed = _allowed(found, file.matters or 0.0)
    able = sorted(allowed & {i for i, _, _ in runs})
    leader = min(able, key=lambda i: (-fit.means[i], i)) if able else 0
    chances = np.zeros(len(found))
    if freedom >= 1 and noise > 0:
        rng = np.random.default_rng(0)
        block = fit.covariance[np.ix_(able, able)]
        spread = np.sqrt(freedom / rng.chisquare(freedom, DRAWS))[:, None]
        draws = np.array(fit.means)[able] + spread * rng.multivariate_normal(
            np.zeros(len(able)), noise**2 * block, DRAWS, method="eigh"
        )
        chances[able] = np.bincount(draws.argmax(axis=1), minlength=len(able)) / DRAWS
    elif runs and noise == 0:
        chances[leader] = 1.0
    else:
        chances[able] = 1 / max(1, len(able))
    return Standing(leader, allowed, tuple(map(float, chances)), noise, fit.noise, fit, known, freedom)


def _allowed(found: Sequence[Candidate], matters: float) -> frozenset[int]:
    """The configurations that were not shown to violate the constraints more than the one that does least.

    What a constraint bounds has noise, as the score has: by the means alone, luck in it would decide before
    the score does. Where every configuration violates them, an excess of up to `matters` counts for nothing.
    """
    runs = [(i, k, -amount) for i, c in enumerate(found) for k, amount in c.violation_again.items()]
    present = sorted({i for i, _, _ in runs})
    if not present:
        return frozenset(range(len(found)))
    fit = two_way.fit(runs, len(found))
    means, freedom = fit.means, fit.freedom
    least = max(present, key=lambda i: means[i])
    each = 1 - (1 - LEVEL) / max(1, len(present) - 1)  # all comparisons with the least hold together
    reach = student(freedom, each) * fit.noise if freedom >= 1 else 0.0
    rounding = two_way.ROUNDING * max(abs(amount) for _, _, amount in runs)
    margin = rounding + (matters if means[least] < -rounding else 0.0)

    def excess_shown(i: int) -> bool:
        variance = max(0.0, fit.variance_of_difference(i, least))
        return means[least] - means[i] > margin + reach * math.sqrt(variance)

    return frozenset(i for i in present if i == least or not excess_shown(i))


def entries(
    found: Sequence[Candidate],
    file: StudyFile,
    *,
    default: int | None,
    first: int,
    most: int,
    tried: Collection[tuple[int, int]],
    known: Noise = UNKNOWN,
) -> list[tuple[int, int]]:
    """The runs of the race so far and of its next round, as `(configuration, round)`.

    It is worked out from the results of earlier rounds, so a race that was left goes on in the same way. The
    race is over when no entry is added.

    Args:
        found: the candidates with the results so far.
        default: index of the default configuration among them.
        first: rounds that all run.
        most: rounds of the leader and the default.
        tried: the runs that have ended, failed ones included.
        known: the noise of a run by earlier races.
    """
    inside = list(range(len(found)))
    made: list[tuple[int, int]] = []
    number = 0
    while number < most:
        if number >= first:
            so_far = [_until(candidate, number) for candidate in found]
            place = standing(so_far, file, known)
            if over(place, file, default=default):
                break
            inside = staying(place, inside, default=default, most=most)
            if len(inside) < 2:
                break
        together = 1 if number < first or len(inside) > FEW else ROUNDS_OF_FEW
        rounds = range(number, min(number + together, most))
        made += [(i, n) for n in rounds for i in inside]
        number = rounds.stop
        if number >= min(first, most) and not set(made) <= set(tried):
            break  # these rounds have not been run
    return made


def over(place: Standing, file: StudyFile, *, default: int | None) -> bool:
    """Whether further rounds would tell little: no noise, a clear leader, a decided gain over the default."""
    if place.noise == 0:
        return True
    if default is None or default not in place.allowed:
        return place.chances[place.leader] >= CLEAR
    found = place.lead(place.leader, default)
    return place.leader != default and found.verdict(matters(file, place.noise)) not in UNDECIDED


def matters(file: StudyFile, noise: float | None) -> float:
    """The largest difference that does not matter: as the study file says, else the noise of a run."""
    return file.matters if file.matters is not None else noise if noise and noise > 0 else 0.0


def staying(place: Standing, inside: Sequence[int], *, default: int | None, most: int) -> list[int]:
    """Those that go on: the leader, the default, and half of the others that may be better by enough. Only
    the default, if none of them is likely to be shown to be better after `most` rounds.
    """
    able = [i for i in inside if i != default]
    if default is not None and default in place.allowed:
        able = [i for i in able if place.chance_to_show(i, default, most) >= LEAST_SHOWN]
    others = [
        i
        for i in able
        if i != place.leader and place.chances[i] >= LEAST_CHANCE and place.expected_gain(i) >= LEAST_GAIN
    ]
    others.sort(key=lambda i: -place.chances[i])
    kept = {default, *(i for i in able if i == place.leader), *others[: max(1, (len(inside) - 1) // 2)]}
    return [i for i in inside if i in kept]


def _until(candidate: Candidate, number: int) -> Candidate:
    return replace(
        candidate,
        again={k: v for k, v in candidate.again.items() if k < number},
        violation_again={k: v for k, v in candidate.violation_again.items() if k < number},
    )


def record(
    found: Sequence[Candidate], file: StudyFile, *, default: int | None, known: Noise = UNKNOWN
) -> dict[str, Any]:
    """The result of a race, as it is stored with the study.

    `number` is the trial that won. `default`: no gain over the default configuration was shown, so the next
    study starts from the default.
    """
    place = standing(found, file, known)
    chosen, gain = place.leader, None
    keeps = default is not None and place.leader == default
    if default is not None and found[default].again and not keeps:
        gain = place.lead(place.leader, default)
        if not place.noise > 0:  # one run each, or equal ones: there is nothing but the scores
            better = gain.difference > 0
        else:
            better = gain.verdict(matters(file, place.noise)) == "better"
        keeps = default in place.allowed and not better
    if keeps and default is not None and found[default].number >= 0:
        chosen = default
    second = place.runner_up
    leader = found[place.leader]
    sign = 1.0 if file.metric.goal == "maximize" else -1.0
    score = leader.score
    return {
        "number": found[chosen].number if found[chosen].number >= 0 else _best_trial(found),
        "mean": found[chosen].again_mean,
        "default": keeps,
        "leader": leader.number,
        "chance": place.chances[place.leader] if place.noise > 0 else None,
        "noise": None if math.isnan(place.measured) else place.measured,
        "known": [known.deviation, min(known.freedom, WEIGHT_OF_KNOWN)] if known.freedom else None,
        "gain": None if gain is None else _stored(gain),
        "lead": None if second is None else _stored(place.lead(place.leader, second)),
        "runner_up": None if second is None else found[second].number,
        "drop": None if math.isnan(score) or not leader.again else sign * (score - leader.again_mean),
        "candidates": [
            {"number": c.number, "score": None if math.isnan(c.score) else c.score,
             "again": list(c.again.values()), "rounds": list(c.again), "mean": c.again_mean,
             "chance": chance, "default": i == default}
            for i, (c, chance) in enumerate(zip(found, place.chances, strict=True))
        ],
    }  # fmt: skip


def _stored(found: Comparison) -> dict[str, float | None]:
    low, high = found.interval or (None, None)
    return {"mean": found.difference, "low": low, "high": high}


def noise_of(record: Mapping[str, Any]) -> Noise:
    """The noise of a run as a stored race measured it alone, without what each round adds to all its runs."""
    if record.get("noise") is None:
        return UNKNOWN
    runs = [len(candidate["again"]) for candidate in record["candidates"]]
    return Noise(record["noise"], sum(runs) - sum(count > 0 for count in runs) - max(runs) + 1)


def _best_trial(found: Sequence[Candidate]) -> int:
    return next(c.number for c in found if c.number >= 0)
