"""A race: retrains the best configurations of a study round by round, and spends runs where they matter.

In a round every configuration that is still in the race runs once, all with the same seed and (where the
workload has such) the same new split of the data outside test. So the differences between configurations are
free of what a round adds to all of them. After the first rounds, those leave that are more likely worse than
the default, or hardly the best of the others, and at each look at least half of the others (sequential
halving; Karnin et al., 2013). The default stays to the end, because the question is whether anything was
gained over it. The race ends when that is sure, when nothing is left beside the default, or when the rounds
that are left will hardly make it sure.

Configurations are compared as draws from one population (`tuner/stats/population.py`), because the best of
several looks better than it is. The scores that they had in the study are not used: they were chosen for
being high. The noise that earlier races of the campaign measured counts as well, up to a weight. The numbers
below were chosen on one half of the tasks of `benchmarks/bench_trust.py`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

from tuner.claims.retrain import Candidate
from tuner.definition.constraints import Hypothesis
from tuner.definition.study_file import StudyFile
from tuner.stats import population, two_way
from tuner.stats.comparison import Comparison
from tuner.stats.intervals import LEVEL, student
from tuner.stats.noise import UNKNOWN, Noise
from tuner.stats.population import Population

TOP = 3  # configurations beside the default
FIRST_ROUNDS = 2  # that all of them run; one tells nothing about noise
ROUNDS = 10  # of the leader and the default
WEIGHT_OF_KNOWN = 12  # degrees of freedom that the noise of earlier races counts for at most
ENOUGH_KNOWN = 6  # with as many, one first round is enough
FEW, ROUNDS_OF_FEW = 2, 2  # so few run two rounds at once: a known run of the default leaves an agent idle
LEAST_HOPE = 0.5  # of being better than the default; with less a configuration leaves
LEAST_RIVAL = 0.3  # … or with less of being better than the best of the others
CLEAR = 0.95  # without a default, the race ends when the leader is the best with this probability
SURE = 0.99  # with one, when the leader is better with this probability
HANDED_ON = 0.9  # what is better than the default with this probability takes its place at the end
LEAST_CHANCE = 0.3  # of a leader to come to that in the rounds that are left; with less the race is given up


def first_rounds(known: Noise) -> int:
    """How many rounds all configurations run."""
    return 1 if known.freedom >= ENOUGH_KNOWN else FIRST_ROUNDS


@dataclass(frozen=True)
class RaceState:
    """The state of a race.

    Attributes:
        leader: index of the configuration with the best estimate of those that are `allowed`.
        allowed: those that were not shown to violate the constraints more than another does.
        noise: standard deviation of a run around its configuration and round; nan if unknown.
        measured: the same from this race alone.
    """

    leader: int
    allowed: frozenset[int]
    noise: float
    measured: float
    _fit: Population

    @cached_property
    def chances(self) -> tuple[float, ...]:
        """The probability of each configuration to be the best."""
        count = len(self._fit.means)
        if self.noise == 0:
            return tuple(float(i == self.leader) for i in range(count))
        found = self._fit.best(self.allowed)
        return tuple(found.get(i, 0.0) for i in range(count))

    @property
    def means(self) -> tuple[float, ...]:
        """The estimate of each configuration, up to a constant; larger is better."""
        return self._fit.means

    def lead(self, index: int, over: int) -> Comparison:
        """The lead of one configuration over another."""
        found = self._fit.compare(index, over)
        return Comparison(0.0, -math.inf, math.inf) if found is None else found

    def better(self, index: int, over: int) -> float | None:
        """The probability that one configuration is better than another; None: nothing is known."""
        return self._fit.better(index, over)

    @property
    def runner_up(self) -> int | None:
        """The next best chance, or None if nobody else ran."""
        means = self.means
        others = [i for i in range(len(means)) if i != self.leader and not math.isinf(means[i])]
        return max(others, key=lambda i: (self.chances[i], means[i]), default=None)


def standing(found: Sequence[Candidate], file: StudyFile, known: Noise = UNKNOWN) -> RaceState:
    """The state of the race after the retrainings of `found`."""
    sign = 1.0 if file.metric.goal == "maximize" else -1.0
    runs = [(i, k, sign * score) for i, c in enumerate(found) for k, score in c.again.items()]
    fit = population.fit(runs, len(found), replace(known, freedom=min(known.freedom, WEIGHT_OF_KNOWN)))
    allowed = _allowed(found, file.matters or 0.0)
    able = sorted(allowed & {i for i, _, _ in runs})
    means = fit.means
    leader = min(able, key=lambda i: (-means[i], i)) if able else 0
    return RaceState(leader, allowed, fit.noise.deviation, fit.fit.noise, fit)


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
            if over(place, file, default=default) or given_up(place, number / most, default=default):
                break
            inside = staying(place, inside, default=default)
            if len(inside) < 2:
                break
        together = 1 if number < first or len(inside) > FEW else ROUNDS_OF_FEW
        rounds = range(number, min(number + together, most))
        made += [(i, n) for n in rounds for i in inside]
        number = rounds.stop
        if number >= min(first, most) and not set(made) <= set(tried):
            break  # these rounds have not been run
    return made


def over(place: RaceState, file: StudyFile, *, default: int | None) -> bool:
    """Whether further rounds would tell little: no noise, a clear leader, a decided gain over the default."""
    if place.noise == 0:
        return True
    if default is None or default not in place.allowed:
        return place.chances[place.leader] >= CLEAR
    if place.leader == default:
        return False
    sure = (place.better(place.leader, default) or 0.0) >= SURE
    if not sure and file.matters is None:
        return False
    found = place.lead(place.leader, default)
    return found.enough and (sure or found.verdict(file.matters or 0.0) == "no difference")


def given_up(place: RaceState, share: float, *, default: int | None) -> bool:
    """Whether the leader will hardly take the default's place, after this share of the rounds.

    With all rounds, the estimate of the lead is normal around that of now, and its error √share as large
    (predictive power with a flat prior; Spiegelhalter et al., 1986).
    """
    if default is None or place.leader == default or not 0 < share < 1:
        return False
    normal, better = NormalDist(), place.better(place.leader, default)
    if better is None or not 0 < better < 1:
        return False
    missing = normal.inv_cdf(HANDED_ON) * math.sqrt(share) - normal.inv_cdf(better)
    return normal.cdf(-missing / math.sqrt(1 - share)) < LEAST_CHANCE


def matters(told: StudyFile | Hypothesis, noise: float | None) -> float:
    """The largest difference that does not matter: as the study file says, else the noise of a run.

    0 where neither is known. Then no interval is so narrow that a difference does not matter.
    """
    return told.matters if told.matters is not None else noise if noise and noise > 0 else 0.0


def staying(place: RaceState, inside: Sequence[int], *, default: int | None) -> list[int]:
    """Those that go on: the default, the best of the others, and half of the rest that may be better than it.
    Only the default, if all others are more likely worse than it.
    """
    able = [i for i in inside if i != default]
    if default is not None and default in place.allowed:
        able = [i for i in able if i in place.allowed and _may_be(place, i, default, LEAST_HOPE)]
    able.sort(key=lambda i: (i not in place.allowed, -place.means[i]))
    others = [i for i in able[1:] if i in place.allowed and _may_be(place, i, able[0], LEAST_RIVAL)]
    kept = {default, *able[:1], *others[: max(1, (len(inside) - 1) // 2)]}
    return [i for i in inside if i in kept]


def _may_be(place: RaceState, index: int, over: int, least: float) -> bool:
    better = place.better(index, over)
    return better is None or better >= least


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

    `number` is the trial that won. `default`: nothing was better than the default with enough probability, so
    the next study starts from the default. `proposal`: the best estimate all the same, with the probability
    that it is better than the default and the gain to be expected (None where that is the default, or nothing
    is known).
    """
    place = standing(found, file, known)
    chosen, gain, better = place.leader, None, None
    keeps = default is not None and place.leader == default
    if default is not None and found[default].again and not keeps:
        gain = place.lead(place.leader, default)
        better = place.better(place.leader, default) if place.noise > 0 else None
        # one run each, or equal ones: there is nothing but the scores
        handed_on = gain.difference > 0 if better is None else better >= HANDED_ON
        keeps = default in place.allowed and not handed_on
    if keeps and default is not None and found[default].number >= 0:
        chosen = default
    second = place.runner_up
    leader = found[place.leader]
    sign = 1.0 if file.metric.goal == "maximize" else -1.0
    score = leader.score
    return {
        "number": next(c.number for c in (found[chosen], *found) if c.number >= 0),
        "mean": found[chosen].again_mean,
        "default": keeps,
        "leader": leader.number,
        "chance": place.chances[place.leader] if place.noise > 0 else None,
        "noise": None if math.isnan(place.measured) else place.measured,
        "known": [known.deviation, min(known.freedom, WEIGHT_OF_KNOWN)] if known.freedom else None,
        "gain": None if gain is None else _stored(gain),
        "proposal": {
            "number": leader.number, "better": better, "gain": None if gain is None else gain.difference
        },
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
