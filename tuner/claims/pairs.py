"""Makes studies of matched pairs to decide undecided claims.

A pair is the winner's configuration run twice with the same seed, once on each side of the claim. Nothing
else differs. Studies that run the same program share one study of pairs, `hypotheses`. If the winner is on
the claimed side of several claims, one run serves all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.claims.matching import active, claim_names, with_dependents
from tuner.claims.material import PAIRED, Material, Study
from tuner.claims.retrain import RUNS, parameter_of
from tuner.claims.verdicts import judge
from tuner.definition.constraints import Hypothesis
from tuner.definition.loading import from_plain
from tuner.definition.study_file import StudyFile

PAIRS = 5
FIRST_SEED = 2000  # higher than the seeds of studies and of confirmations


class NoPairs(Exception):
    """A claim cannot be tested by pairs. The message says why."""


@dataclass(frozen=True)
class Claim:
    """A claim, and the values of its parameters on each side (`where`, `against`)."""

    study: str
    claim: str
    where: Mapping[str, Any]
    against: Mapping[str, Any]


@dataclass(frozen=True)
class Pairs:
    """A study of matched pairs for studies that run the same program.

    Attributes:
        name: name of the study.
        like: one of the claims' studies. The pairs use its program, metric and length.
        points: complete configurations: the first pair of every claim, then the second pairs, and so on.
        left_out: undecided claims without pairs, as `(study, claim, reason)`.
    """

    name: str
    like: Study
    points: tuple[Mapping[str, Any], ...]
    claims: tuple[Claim, ...]
    left_out: tuple[tuple[str, str, str], ...]

    def file(self) -> StudyFile:
        """The study file. Its base has the values that all points share. Needs at least one point."""
        first, *others = self.points
        shared = {n: v for n, v in first.items() if all(n in p and p[n] == v for p in others)}
        points = [{n: v for n, v in point.items() if n not in shared} for point in self.points]
        names = sorted({name for point in points for name in point}) or sorted(shared)
        if not any(points):  # a script without a seed, with one run on each side
            shared, points = {}, [dict(point) for point in self.points]
        studies = len({claim.study for claim in self.claims})
        file, length = self.like.file, self.like.workload.length
        longest = max((int(point[length]) for point in self.points if length in point), default=None)
        told = file.raw.get("tuner", {})
        raw = {
            **{key: file.raw[key] for key in ("program", "command") if key in file.raw},
            "name": self.name,
            "method": "grid",
            "metric": {"name": file.metric.name, "goal": file.metric.goal},
            "parameters": {n: parameter_of([p[n] for p in points if n in p], points) for n in names},
            "tuner": {
                **{
                    key: told[key] for key in RUNS if key in told and key not in ("max_epochs", "constraints")
                },
                **({"max_epochs": longest or file.max_epochs} if longest or file.max_epochs else {}),
                "purpose": f"Decide {len(self.claims)} claims of {studies} studies with {PAIRS} pairs each.",
                "base": shared,
                "points": points,
            },
        }
        made = from_plain(raw, name=self.name, path=Path(file.path).with_name(f"{self.name}.yaml"))
        return replace(made, function=file.function)


def pairs_for(material: Material, *, overrides: Mapping[str, Any]) -> list[Pairs]:
    """Makes `PAIRS` pairs for each undecided claim of finished studies: one study per program or model.

    Args:
        overrides: values for every run (`--set`).
    """
    alike: dict[str, list[Study]] = {}
    for study in material.studies:
        if study.file.hypotheses:
            alike.setdefault(_runs(study), []).append(study)
    seeds = [
        t.config["seed"] for s in material.pairs for t in s.trials if isinstance(t.config.get("seed"), int)
    ]
    first = max([FIRST_SEED - 1, *seeds]) + max((s.file.repeats.seeds for s in material.studies), default=1)
    return [
        _pairs(studies, material, PAIRED if not index else f"{PAIRED}.{studies[0].name}", overrides, first)
        for index, studies in enumerate(alike.values())
    ]


def _runs(study: Study) -> str:
    """Identifies what a study's trials run. Studies with equal results can share runs of pairs."""
    told = study.file.raw.get("tuner", {})
    own = [study.file.raw.get(key) for key in ("program", "command")] + [told.get("objective")]
    folder = str(Path(study.file.path).parent) if any(own) else ""
    return json.dumps([*own, folder, type(study.workload).__name__, study.workload.deterministic])


def _pairs(
    studies: Sequence[Study], material: Material, name: str, overrides: Mapping[str, Any], first: int
) -> Pairs:
    claims: list[Claim] = []
    left_out: list[tuple[str, str, str]] = []
    runs: list[Mapping[str, Any]] = []  # without a seed
    workload = studies[0].workload
    for study in studies:
        for hypothesis in study.file.hypotheses:
            if judge(study, hypothesis, material.pairs).verdict != "undecided":
                continue
            try:
                claim, two = _claim(study, hypothesis, fixed=overrides)
            except NoPairs as reason:
                left_out.append((study.name, hypothesis.claim, str(reason)))
                continue
            claims.append(claim)
            runs += [{**(workload.defaults() or {}), **side, **overrides} for side in two]
    each = studies[0].file.repeats.seeds
    points = [
        {**run, **workload.seeded(run, first + k * each)} for k in range(PAIRS) for run in _distinct(runs)
    ]
    return Pairs(name, studies[0], tuple(points), tuple(claims), tuple(left_out))


def _claim(
    study: Study, hypothesis: Hypothesis, *, fixed: Mapping[str, Any]
) -> tuple[Claim, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The claim's two sides, and configurations that differ only in them."""
    if study.workload.deterministic:
        raise NoPairs("repeated runs always give the same score: give the study more trials")
    if not study.done:
        raise NoPairs(f"the study is not finished: python -m tuner study {study.name}")
    clash = sorted(claim_names(hypothesis) & fixed.keys())
    if clash:
        raise NoPairs(f"--set fixes {clash[0]}")
    base, sides = sides_of(study, hypothesis)
    claim = Claim(study.name, hypothesis.claim, sides["where"], sides["against"])
    return claim, ({**base, **claim.where}, {**base, **claim.against})


def sides_of(study: Study, hypothesis: Hypothesis) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    """Splits the winner's configuration: the values that both sides share, and the claim's values per side.

    The winner gives the values of its own side. The values of the other side come from the best trial on that
    side that fits the winner.

    Raises:
        NoPairs: no trial completed, or no trial has values for one of the sides.
    """
    winner = study.winner
    if winner is None:
        raise NoPairs("no trial completed")
    free = with_dependents(study, claim_names(hypothesis))
    if "seed" in free:
        raise NoPairs("the claim is about the seed")
    searched = set(study.searched)
    base = {n: v for n, v in winner.config.items() if n not in free | {"seed"}}
    found: dict[str, Mapping[str, Any]] = {}
    pruned = (t for t in study.finished if not t.complete)
    for trial in (winner, *study.ranked, *pruned):
        values = {
            n: trial.config[n] for n in free if n in trial.config and (n in trial.params or n not in searched)
        }
        config = {**base, **values}
        side = hypothesis.side(active(study, config))
        if side is not None and side not in found and not study.file.space.violated(config):
            found[side] = values
    for side, words in (("where", "as claimed"), ("against", "against it")):
        if side not in found:
            raise NoPairs(f"no trial has values {words} that fit the winner's other values")
    return base, found


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())
