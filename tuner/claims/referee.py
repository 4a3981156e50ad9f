"""Says whether one configuration is better than another: by how much, how sure, how many more runs to know.

The answer rests on retrainings (`verify`, the campaign's races): runs on other seeds, paired by seed. The
score of the best trial in its study does not count, because it was chosen for being high. Where both
configurations ran only once, the noise between seeds of other runs says how sure one can be.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from tuner.base import anytime
from tuner.base.errors import InputError
from tuner.base.statistics import LEVEL
from tuner.claims import verdict as judgement
from tuner.claims.material import Material, Study, Trial
from tuner.claims.noise import noise_and_freedom
from tuner.claims.verdict import Verdict
from tuner.storage.stored import CONFIRMED

MOST_RUNS = 200  # more would hardly be run
BETTER = {"as claimed": True, "no difference": False, "opposite": False, "open": None}
SAID = {
    "as claimed": "is better than",
    "no difference": "does not differ from",
    "opposite": "is worse than",
    "open": "is not shown to differ from",
}


@dataclass(frozen=True)
class Answer:
    """Whether `trial` is better than `against`.

    Attributes:
        verdict: as claimed (it is better), no difference, opposite, or open.
        better: True, False, or None while it is open.
        difference: improvement of the metric (positive: better). `low`, `high`: its interval. That of pairs
            holds however often one looks.
        sure: probability that it is better at all.
        pairs: pairs of runs with one seed; 0: single runs were compared.
        more_runs: further runs of each until it is known, about; 0: it is known; None: not to be foreseen.
        next_run: the command that would run them.
    """

    study: str
    trial: str
    against: str
    metric: str
    verdict: Verdict
    better: bool | None
    difference: float | None
    low: float | None
    high: float | None
    sure: float | None
    matters: float
    pairs: int
    more_runs: int | None
    next_run: str
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Side:
    study: Study
    name: str
    number: int
    runs: Mapping[tuple[str, int], float]
    score: float | None


def verdict(material: Material, what: str, against: str | None) -> Answer:
    """Compares two configurations.

    Args:
        what: `STUDY` (its winner) or `STUDY/NUMBER` (a trial).
        against: the same; None: the default configuration of the study, else its second best trial.

    Raises:
        InputError: there is no such study or trial, or they cannot be compared.
    """
    side = _side(material, what)
    other = _side(material, against) if against is not None else _usual(side)
    if side.study.metric != other.study.metric or side.study.maximize != other.study.maximize:
        raise InputError(
            f"{side.name} and {other.name} have different metrics "
            f"({side.study.metric}, {other.study.metric}): they cannot be compared"
        )
    if (side.study.name, side.number) == (other.study.name, other.number):
        raise InputError(f"{side.name} is compared with itself: name another trial after 'against'")
    return _answer(side, other, material)


def _side(material: Material, what: str) -> _Side:
    name, slash, number = what.rpartition("/") if "/" in what else (what, "", "")
    study = next((s for s in material.studies if s.name == name), None)
    if study is None:
        known = ", ".join(s.name for s in material.studies)
        raise InputError(f"no study named '{name}' (studies here: {known})")
    if not slash:
        winner = study.winner
        if winner is None:
            raise InputError(f"study '{name}': no trial has completed yet")
        return _of(study, winner, f"the winner of {name} (trial {winner.number})")
    if not number.isdigit():
        raise InputError(f"'{what}': expected STUDY or STUDY/NUMBER")
    trial = next((t for t in study.trials if t.number == int(number)), None)
    if trial is None or not trial.complete:
        state = (
            "there is no such trial" if trial is None else f"trial {number} is {trial.state}, not complete"
        )
        raise InputError(f"study '{name}': {state}")
    return _of(study, trial, f"trial {number} of {name}")


def _of(study: Study, trial: Trial, name: str) -> _Side:
    return _Side(study, name, trial.number, _runs(study, trial.number), trial.value)


def _runs(study: Study, number: int) -> dict[tuple[str, int], float]:
    """The retrainings of a configuration, by the seed that they share with those of others."""
    found: dict[tuple[str, int], float] = {}
    for key in (CONFIRMED, "verified"):
        for candidate in (study.attrs.get(key) or {}).get("candidates", ()):
            if candidate["number"] == number:
                rounds = candidate.get("rounds") or range(len(candidate["again"]))
                found |= {(key, k): v for k, v in zip(rounds, candidate["again"], strict=True)}
    return found


def _usual(side: _Side) -> _Side:
    """What a study's winner is compared with: the default configuration, else the next best trial."""
    study = side.study
    default = study.default
    if default is not None and default.number != side.number:
        return _of(study, default, f"the default configuration (trial {default.number})")
    if default is None and _runs(study, -1):  # no trial of the study, but in the race
        return _Side(study, "the default configuration", -1, _runs(study, -1), None)
    others = [t for t in study.ranked if t.number != side.number]
    if not others:
        raise InputError(f"{side.name}: there is no other complete trial to compare it with")
    return _of(study, others[0], f"trial {others[0].number} of {study.name}")


def _answer(side: _Side, other: _Side, material: Material) -> Answer:
    sign = 1.0 if side.study.maximize else -1.0
    known = noise_and_freedom(side.study) or noise_and_freedom(material.studies, side.study.metric)
    matters = _matters(side.study, None if known is None else known[0])
    shared = sorted(side.runs.keys() & other.runs.keys()) if side.study is other.study else []
    found: anytime.Effect | None
    if side.study.workload.deterministic:
        found = _exact(side, other, sign)
    elif len(shared) >= 2:
        gaps = np.array([sign * (side.runs[k] - other.runs[k]) for k in shared])
        found = anytime.effects(np.ones((len(gaps), 1)), gaps, prior=anytime.FEW)[0]
    else:
        found = _unpaired(side, other, sign, known)
    single = not side.runs or not other.runs
    if found is None:
        verdict: Verdict = "open"
        text = f"{_cap(side.name)} {SAID[verdict]} {other.name}: the noise between seeds is not known."
        return _made(side, other, verdict, None, matters, 0, None, text)
    verdict = judgement.decide(found.low, found.high, gain=None, matters=matters)
    chosen = side.study.winner is not None and side.number == side.study.winner.number
    if single and chosen and not side.runs and not side.study.workload.deterministic:
        verdict = "open"  # its score is the best of many
    more = 0 if verdict != "open" else _more(found, matters, len(shared))
    data = f"{len(shared)} pairs of runs" if len(shared) >= 2 else "single runs and the noise between seeds"
    if side.study.workload.deterministic:
        data = "the recorded scores, which repeated runs would give again"
    text = (
        f"{_cap(side.name)} {SAID[verdict]} {other.name}: {judgement.signed(found.mean)} {side.study.metric} "
        f"[{judgement.signed(found.low)}, {judgement.signed(found.high)}] from {data}"
    )
    if verdict == "open" and single and chosen:
        text += "; its score in the study is the best of many, so only new runs can show it"
    if verdict == "no difference":
        text += f"; differences up to {matters:g} do not matter"
    return _made(side, other, verdict, found, matters, len(shared), more, text + ".")


def _exact(side: _Side, other: _Side, sign: float) -> anytime.Effect:
    assert side.score is not None and other.score is not None
    gap = sign * (side.score - other.score)
    return anytime.Effect(gap, gap, gap, 0.0, math.inf, 0.0)


def _unpaired(
    side: _Side, other: _Side, sign: float, known: tuple[float, int] | None
) -> anytime.Effect | None:
    """The difference of means, with a t interval from the noise between seeds of all runs there are."""
    if known is None:
        return None
    noise, freedom = known
    ours, theirs = list(side.runs.values()), list(other.runs.values())
    ours = ours or ([] if side.score is None else [side.score])
    theirs = theirs or ([] if other.score is None else [other.score])
    if not ours or not theirs:
        return None
    gap = sign * (statistics.fmean(ours) - statistics.fmean(theirs))
    information = 1 / (1 / len(ours) + 1 / len(theirs))
    error = noise / math.sqrt(information)
    half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error
    return anytime.Effect(gap, gap - half, gap + half, error, freedom, noise * math.sqrt(2))


def _more(found: anytime.Effect, matters: float, pairs: int) -> int | None:
    """Further runs of each until the interval excludes 0, or lies within what does not matter."""
    for count in range(max(3, pairs + 1), MOST_RUNS):
        half = anytime.critical(count, count - 1, prior=anytime.FEW) * found.noise / math.sqrt(count)
        if half < abs(found.mean) or half <= matters - abs(found.mean):
            return count - pairs
    return None


def _made(
    side: _Side, other: _Side, verdict: Verdict, found: anytime.Effect | None, matters: float, pairs: int,
    more: int | None, text: str,
) -> Answer:  # fmt: skip
    sure = None
    if found is not None:
        ratio = found.mean / found.error if found.error else math.copysign(math.inf, found.mean)
        sure = 0.5 if found.mean == 0 else float(stdtr(min(found.freedom, 1e6), ratio))
    return Answer(
        study=side.study.name, trial=side.name, against=other.name, metric=side.study.metric, verdict=verdict,
        better=BETTER[verdict], difference=None if found is None else found.mean,
        low=None if found is None else found.low, high=None if found is None else found.high, sure=sure,
        matters=matters, pairs=pairs, more_runs=more,
        next_run="" if verdict != "open" else _next(side, other, pairs, more), sentence=text,
    )  # fmt: skip


def _next(side: _Side, other: _Side, pairs: int, more: int | None) -> str:
    """The command that runs both on further seeds; "" where none can (trials of two studies)."""
    if side.study is not other.study or other.number < 0 or side.study.workload.deterministic:
        return ""
    seeds = min(pairs + (more or 5), 20)
    return (
        f"python -m tuner verify {side.study.name} --trial {side.number} --trial {other.number} "
        f"--seeds {max(3, seeds)}"
    )


def _matters(study: Study, noise: float | None) -> float:
    """What does not matter on the study's own metric: as its file says, else the noise between seeds."""
    return study.file.matters if study.file.matters is not None else noise or 0.0


def _cap(text: str) -> str:
    return text[0].upper() + text[1:]
