"""Plans the next round of pairs of runs for the claims that are still open.

A round is an ordinary grid study: `hypotheses`, then `hypotheses.round2` and so on. Studies that run the same
program share it. Its runs lie around the default configuration (where that is not known, around the winner).
Two consecutive points are a pair (`tuner/claims/design.py`), so a round that was left early is of use, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tuner.base.errors import InputError
from tuner.claims import design
from tuner.claims.evidence import Evidence, family_of
from tuner.claims.material import PAIRED, Material, Study
from tuner.claims.retrain import study_at
from tuner.claims.sides import NoPairs, Sides, drawn_sides, sides_of, with_values
from tuner.claims.verdicts import Finding, judge
from tuner.definition import expressions
from tuner.definition.constraints import Hypothesis
from tuner.definition.study_file import StudyFile
from tuner.storage.attributes import ORIGIN
from tuner.workloads.workload import Shorter, Workload

FIRST_SEED = 2000  # higher than the seeds of studies and of confirmations
ENOUGH_TRIED = 6  # pairs without a value of the claim's metric: more would have none either
LARGE = 5.0  # times what matters: a claim that seems to have so large an effect is varied alone, …
ALONE = 2  # … in so many pairs a round, as it would drown or change what other claims do in the same runs
MOST_PAIRS = 64  # of one claim; what is open then is close to the limit of what matters
Points = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Round:
    """A round of pairs for studies that run the same program.

    Attributes:
        name: name of the study.
        like: one of the claims' studies. The pairs use its program, metric and inputs.
        points: complete configurations; points 2r and 2r + 1 are a pair.
        claims: the open claims that are tested, with the values of both sides.
        left_out: open claims without pairs, as `(study, claim, reason)`.
        notes: what the verdicts say about the runs of this round (shorter ones, for example).
        drawn: the values of the sides are other ones in each pair.
    """

    name: str
    like: Study
    points: Points
    claims: tuple[Sides, ...]
    left_out: tuple[tuple[str, str, str], ...]
    notes: str = ""
    drawn: bool = False

    def file(self) -> StudyFile:
        """The study file. Its base has the values that all points share. Needs at least one point."""
        first, *others = self.points
        shared = {n: v for n, v in first.items() if all(n in p and p[n] == v for p in others)}
        points = [{n: v for n, v in point.items() if n not in shared} for point in self.points]
        names = sorted({name for point in points for name in point}) or sorted(shared)
        if not any(points):  # nothing differs that the configuration tells
            shared, points = {}, [dict(point) for point in self.points]
        when = self._conditions(points, names)
        # a parameter without a condition needs a value in each point
        spare = {n: next(p[n] for p in points if n in p) for n in names if n not in when}
        points = [{**spare, **point} for point in points]
        file, length = self.like.file, self.like.workload.length
        longest = max((int(point[length]) for point in self.points if length in point), default=None)
        return study_at(
            file,
            points,
            name=self.name,
            path=Path(file.path).with_name(f"{self.name}.yaml"),
            top={"name": self.name, "description": self.notes},
            own={
                "max_epochs": longest or file.max_epochs,
                "constraints": None,
                "purpose": f"Decide {len(self.claims)} claims with {len(self.points) // 2} pairs of runs.",
                "base": shared,
                "when": when or None,
                "hypotheses": [self._stated(claim) for claim in self.claims],
            },
        )

    def _conditions(self, points: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str]:
        """The conditions of parameters that not all points have, if the parameters they read vary."""
        known = {p.name: p.when for c in self.claims for p in c.study.file.space.parameters if p.when}
        absent = {name for name in names if not all(name in point for point in points)}
        return {n: t for n, t in known.items() if n in absent and expressions.names(t) <= set(names)}

    def _stated(self, claim: Sides) -> dict[str, str]:
        exact = claim.exact()
        if not self.drawn:
            return exact
        against = claim.hypothesis.against or f"not ({claim.hypothesis.where})"
        return {**exact, "where": claim.hypothesis.where, "against": against}


def open_claims(material: Material, evidence: Evidence) -> list[tuple[Study, Finding]]:
    """The claims of studies that are open, with their findings."""
    found = [(s, judge(s, h, evidence)) for s in material.studies for h in s.file.hypotheses]
    return [(study, finding) for study, finding in found if not finding.decided]


def next_rounds(material: Material, *, overrides: Mapping[str, Any]) -> list[Round]:
    """The next round of each group of studies that run the same program; empty points: nothing to run.

    Args:
        overrides: values for every run (`--set`).
    """
    evidence = Evidence.of(material)
    alike: dict[str, list[Study]] = {}
    for study in material.studies:
        if study.file.hypotheses:
            alike.setdefault(_runs(study), []).append(study)
    return [
        _round(studies, material, evidence, PAIRED if not i else f"{PAIRED}.{studies[0].name}", overrides)
        for i, studies in enumerate(alike.values())
    ]


def _runs(study: Study) -> str:
    """Identifies what a study's trials run. Studies with equal results can share runs of pairs."""
    told = study.file.raw.get("tuner", {})
    own = [study.file.raw.get(key) for key in ("program", "command")] + [told.get("objective")]
    folder = str(Path(study.file.path).parent) if any(own) else ""
    deterministic = [study.workload.deterministic, study.metric if study.workload.deterministic else ""]
    return json.dumps([*own, folder, type(study.workload).__name__, *deterministic])


@dataclass(frozen=True)
class _Tested:
    """An open claim that pairs can decide: its sides, the pairs it has had, whether it is varied alone."""

    sides: Sides
    pairs: int
    alone: bool


def _round(
    studies: Sequence[Study], material: Material, evidence: Evidence, name: str, overrides: Mapping[str, Any]
) -> Round:
    start, shorter = start_of(studies, overrides)
    tested, left_out = [], []
    for study, finding in open_claims(replace(material, studies=tuple(studies)), evidence):
        try:
            tested.append(_tested(study, finding, start, evidence, fixed=overrides))
        except NoPairs as reason:
            left_out.append((study.name, finding.claim, str(reason)))
    number = 1 + sum("@" not in s.name and family_of(s.name) == name for s in material.pairs)
    round_name = name if number == 1 else f"{name}.round{number}"
    notes, workload = "" if shorter is None else shorter.words, studies[0].workload
    if not tested:
        return Round(round_name, studies[0], (), (), tuple(left_out), notes)
    seeded = not workload.deterministic and bool(workload.seeded(start, FIRST_SEED))
    claims = [one.sides for one in tested]
    if shorter is not None:
        start = {**shorter.fitted({**start, **shorter.values}), **overrides}
        claims = [
            replace(c, where=shorter.fitted(c.where), against=shorter.fitted(c.against)) for c in claims
        ]
    rng = np.random.default_rng([number, len(material.pairs)])
    seed, each = _next_seed(material, studies), studies[0].file.repeats.seeds
    pairs: list[list[dict[str, Any]]] = []
    for row, members in _turns(tested, evidence.slower(name), rng, workload=workload, seeded=seeded):
        two = _pair(studies, claims, members, start, None if seeded else rng)
        if two is None:
            continue
        pair = [{**c, **workload.seeded(c, seed + row * each)} if seeded else c for c in two]
        if not seeded or pair not in pairs:  # once for claims with the same sides
            pairs.append(pair)  # without a seed, an equal pair is a new one
    points = tuple(point for pair in pairs for point in pair)
    return Round(round_name, studies[0], points, tuple(claims), tuple(left_out), notes, not seeded)


def _turns(
    tested: Sequence[_Tested], slower: Mapping[str, float], rng: np.random.Generator,
    *, workload: Workload, seeded: bool,
) -> list[tuple[int, Mapping[int, int]]]:  # fmt: skip
    """The pairs of a round: the place of its seed, and its claims (by their place) with their signs.

    Claims that are varied alone come first. They share seeds, and so the default configuration's runs.
    """
    groups = design.groups_of([one.sides.names for one in tested])
    new = [i for i, one in enumerate(tested) if one.pairs == 0]
    scouting = seeded and len(groups) >= design.FEW and len(new) > len(tested) / 2
    alone = new if scouting else [i for i, one in enumerate(tested) if one.alone]
    pairs_alone = 1 if scouting else ALONE
    turns: list[tuple[int, Mapping[int, int]]] = [(k, {i: 1}) for k in range(pairs_alone) for i in alone]
    together = [i for i in range(len(tested)) if i not in alone]
    if not together or scouting:
        return turns
    had = [tested[i].pairs for i in together]
    groups = design.groups_of([tested[i].sides.names for i in together])
    rows = design.rows_of(groups, max(had) <= 1)
    if workload.deterministic:  # nothing is trained: starting takes longer than the runs
        rows = max(rows, design.WHOLE_ROWS)
    costs = [slower.get(tested[i].sides.name, 1.0) for i in together]
    planned = design.turns(groups, rows, rng, pairs=had, costs=costs)
    mixed = [{together[place]: sign for place, sign in members.items()} for members in planned]
    return turns + list(enumerate(mixed, len(turns)))


def _is_large(study: Study, finding: Finding, hypothesis: Hypothesis, evidence: Evidence) -> bool:
    """Whether the claim's sides seem to differ so much that no other claim is to be varied with it."""
    gaps = [evidence.alone(study, hypothesis, metric) for metric in {finding.metric, study.metric}]
    if gaps == [None] * len(gaps):
        gaps = [finding.effect]
    return any(gap is not None and abs(gap) >= LARGE * finding.matters > 0 for gap in gaps)


def start_of(studies: Sequence[Study], overrides: Mapping[str, Any]) -> tuple[dict[str, Any], Shorter | None]:
    """The configuration that all runs of a round share, for whole trials, and what makes them shorter.

    The default configuration of the workload; if it is not known, the winners', the latest first.
    """
    workload = studies[0].workload
    try:
        start = dict(workload.defaults() or {})
    except InputError:  # the code that ran is not here any more
        start = {}
    if not start:
        for study in studies:
            if study.winner is not None:
                start |= study.winner.config
        start.pop(studies[0].file.seed or "seed", None)
    lengths = [study.file.max_epochs for study in studies if study.file.max_epochs]
    shorter = None
    for study in studies:
        start |= study.file.base.config
        start |= ORIGIN.of(study.attrs).get("overrides") or {}
    if lengths:
        start |= workload.whole_trial(min(lengths))
        shorter = workload.shorter(min(lengths)) if workload.length not in overrides else None
    return start | dict(overrides), shorter


def _tested(
    study: Study, finding: Finding, start: Mapping[str, Any], evidence: Evidence, *, fixed: Mapping[str, Any]
) -> _Tested:
    """An open claim with the values of its two sides.

    Raises:
        NoPairs: it cannot be tested by pairs, or was often enough.
    """
    if not study.done:
        raise NoPairs(f"the study is not finished: tuner study {study.name}")
    if finding.pairs_run >= MOST_PAIRS:
        raise NoPairs(
            f"{finding.pairs_run} pairs have not decided it: its effect is close to the difference that "
            "matters"
        )
    hypothesis = next(h for h in study.file.hypotheses if h.claim == finding.claim)
    tried = evidence.tried(study, hypothesis)
    if tried >= ENOUGH_TRIED and finding.pairs_run == 0:
        raise NoPairs(f"{tried} pairs have run, and none logged {finding.metric} on both sides")
    sides = sides_of(study, hypothesis, start)
    clash = sorted(sides.names & fixed.keys())
    if clash:
        raise NoPairs(f"--set fixes {clash[0]}")
    # the runs of work that repeats exactly lie anywhere in the space, so none is varied alone
    large = not study.workload.deterministic and _is_large(study, finding, hypothesis, evidence)
    return _Tested(sides, tried, large)


def _pair(
    studies: Sequence[Study],
    claims: Sequence[Sides],
    members: Mapping[int, int],
    start: Mapping[str, Any],
    rng: np.random.Generator | None,
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The two configurations of a pair; claims are taken out until both are allowed.

    Args:
        rng: draws other values for each pair, for work whose repeated runs always give the same score.
    """
    if rng is not None:
        claims = [drawn_sides(claim, start, rng) if i in members else claim for i, claim in enumerate(claims)]
    left = dict(members)
    while left:
        two = []
        for direction in (1, -1):
            config = dict(start)
            for index, sign in left.items():
                claim = claims[index]
                config = with_values(config, claim.where if sign * direction > 0 else claim.against)
            two.append(config)
        if not any(study.file.space.violated(config) for study in studies for config in two):
            return two[0], two[1]
        left.popitem()
    return None


def _next_seed(material: Material, studies: Sequence[Study]) -> int:
    """The first seed that no pair has had; a trial may take several from there."""
    name = studies[0].file.seed or "seed"
    used = [t.config[name] for s in material.pairs for t in s.trials if isinstance(t.config.get(name), int)]
    return max([FIRST_SEED - 1, *used]) + studies[0].file.repeats.seeds
