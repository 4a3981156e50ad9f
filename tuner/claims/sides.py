"""The two sides of a claim as values: what a run as claimed has, and what a run against the claim has."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna

from tuner.claims.evidence import label
from tuner.claims.matching import active, claim_names, with_dependents
from tuner.claims.material import Study
from tuner.definition.constraints import Hypothesis
from tuner.definition.expressions import MISSING, lookup

DRAWS = 400  # configurations that are drawn to find values for a side


class NoPairs(Exception):
    """A claim cannot be tested by pairs. The message says why."""


@dataclass(frozen=True)
class Sides:
    """A claim with the values of its parameters on each side, by dotted name."""

    study: Study
    hypothesis: Hypothesis
    where: Mapping[str, Any]
    against: Mapping[str, Any]
    names: frozenset[str]

    @property
    def name(self) -> str:
        return label(self.study.name, self.hypothesis.claim)

    @property
    def metric(self) -> str:
        return self.hypothesis.metric or self.study.metric

    def exact(self) -> dict[str, str]:
        """The claim for the study file of its pairs, with the exact values of both sides as expressions."""
        return {"claim": self.name, "metric": self.metric, "where": _equals(self.where),
                "against": _equals(self.against)}  # fmt: skip


def sides_of(study: Study, hypothesis: Hypothesis, start: Mapping[str, Any]) -> Sides:
    """The values of both sides, for runs that otherwise have the configuration `start`.

    They differ in the claim's parameters, and in those that exist only on one side and that `start` does not
    have. `start` gives the values of its own side. Those of the other side come from the winner if it is on
    that side, else from the best trial there, else from the study's space. Whole numbers that were tried are
    as close to `start` as their side allows: what is larger often takes longer.

    Raises:
        NoPairs: no values of one side fit `start`.
    """
    about = claim_names(hypothesis)
    # what exists only on one side has its usual value there, if it has one
    names = frozenset(n for n in with_dependents(study, about) if n in about or lookup(n, start) is MISSING)
    if (study.file.seed or "seed") in names:
        raise NoPairs("the claim is about the seed")
    found: dict[str, Mapping[str, Any]] = {}
    for values in _candidates(study, names, start):
        side = _side(study, hypothesis, start, values)
        if side is not None and side not in found:
            first = next(iter(found.values()), {})
            found[side] = _nearest(study, hypothesis, start, values, first, side)
        if len(found) == 2:
            break
    for side, words in (("where", "as claimed"), ("against", "against it")):
        if side not in found:
            raise NoPairs(f"no values {words} fit the other values of the runs")
    return Sides(study, hypothesis, found["where"], found["against"], names)


def _side(
    study: Study, hypothesis: Hypothesis, start: Mapping[str, Any], values: Mapping[str, Any]
) -> Literal["where", "against"] | None:
    """The side of the configuration `start` with other `values`; None also where `requires` forbid it."""
    config = with_values(start, values)
    return None if study.file.space.violated(config) else hypothesis.side(active(study, config))


def _nearest(
    study: Study,
    hypothesis: Hypothesis,
    start: Mapping[str, Any],
    values: Mapping[str, Any],
    first: Mapping[str, Any],
    side: str,
) -> Mapping[str, Any]:
    """`values` with as many values of the `first` side as leave it on its own side."""
    for name in sorted(values.keys() & first.keys()):
        closer = {**values, name: first[name]}
        if _side(study, hypothesis, start, closer) == side:
            values = closer
    for name in sorted(values):
        now, here = values[name], lookup(name, start)
        if not _whole(now) or not _whole(here) or now == first.get(name):
            continue
        tried = {v for t in study.finished if _whole(v := lookup(name, t.config))}
        for value in sorted(tried, key=lambda v: abs(v - here)):
            closer = {**values, name: value}
            if _side(study, hypothesis, start, closer) == side:
                values = closer
                break
    return values


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def drawn_sides(sides: Sides, start: Mapping[str, Any], rng: np.random.Generator) -> Sides:
    """The same claim with other values on each side, drawn from the study's space.

    What both sides have and the claim's expressions do not read is the same on both.
    """
    study, hypothesis, names = sides.study, sides.hypothesis, sides.names
    found: dict[str, Mapping[str, Any]] = {}
    for values in _drawn(study, names, seed=int(rng.integers(2**31))):
        for other in found.values():
            values = {n: v if n in claim_names(hypothesis) else other.get(n, v) for n, v in values.items()}
        side = _side(study, hypothesis, start, values)
        if side is not None and side not in found:
            found[side] = values
        if len(found) == 2:
            return Sides(study, hypothesis, found["where"], found["against"], names)
    return sides


def _candidates(study: Study, names: frozenset[str], start: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    here = active(study, start)
    yield {n: v for n in sorted(names) if (v := lookup(n, here)) is not MISSING}
    searched = set(study.searched)
    best = [study.winner] if study.winner is not None else []
    for trial in (*best, *study.ranked, *(t for t in study.finished if not t.complete)):
        if trial is not None:
            known = {n: lookup(n, trial.config) for n in sorted(names)}
            yield {
                n: v
                for n, v in known.items()
                if v is not MISSING and (n in trial.params or n not in searched)
            }
    yield from _drawn(study, names, seed=0)


def _drawn(study: Study, names: frozenset[str], *, seed: int) -> Iterator[Mapping[str, Any]]:
    """Values of `names` in configurations that are drawn from the study's space."""
    source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(DRAWS):
        config = study.file.space.suggest(source.ask())
        yield {n: v for n in sorted(names) if (v := lookup(n, config)) is not MISSING}


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a (nested) configuration with values by dotted name."""
    made = copy.deepcopy(dict(config))
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if rest and isinstance(made.get(head, {}), dict):
            made[head] = with_values(made.get(head, {}), {rest: value})
        else:
            made[name] = value
    return made


def _equals(values: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} == {_literal(value)}" for name, value in sorted(values.items()))


def _literal(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
