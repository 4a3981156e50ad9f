"""Studies of matched pairs: what would decide a claim that is undecided.

Each pair is a winner's configuration twice, once on each side of the claim, under the same seed: nothing else
differs. Claims of our model's studies share one study, `hypotheses` (`python -m tuner study hypotheses`): the
winner on its own side of several claims is one run for all of them. A study of a function or of a script gets
a file for each claim instead (`python -m tuner report NAME --pairs DIR`), for what it trains is its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.base.words import slug
from tuner.claims.matching import active, claim_names, with_dependents
from tuner.claims.material import PAIRED, Material, Study
from tuner.claims.retrain import parameter_of
from tuner.claims.verdicts import test
from tuner.definition.constraints import Hypothesis

PAIRS = 5
FIRST_SEED = 2000  # above the seeds that studies search and that confirmations retrain on


class NoPairs(Exception):
    """Why a claim cannot be tested by pairs, in words."""


@dataclass(frozen=True)
class Claim:
    """A claim and its two sides: values of what it is about (`where`, `against`)."""

    study: str
    claim: str
    where: Mapping[str, Any]
    against: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """The study `hypotheses`: `points` are whole configurations, the first pair of every claim first.

    `left_out`: undecided claims that no pair can be made for, `(study, claim, why)`.
    """

    points: tuple[Mapping[str, Any], ...]
    claims: tuple[Claim, ...]
    left_out: tuple[tuple[str, str, str], ...]

    def raw(self) -> dict[str, Any]:
        """The study file, as plain values: what all points share is its base. It has at least one point."""
        first, *others = self.points
        shared = {n: v for n, v in first.items() if all(n in p and p[n] == v for p in others)}
        points = [{n: v for n, v in point.items() if n not in shared} for point in self.points]
        names = sorted({name for point in points for name in point})
        studies = len({claim.study for claim in self.claims})
        return {
            "name": PAIRED,
            "method": "grid",
            "metric": {"name": "val/overall_acc", "goal": "maximize"},
            "parameters": {n: parameter_of([p[n] for p in points if n in p], points) for n in names},
            "tuner": {
                "purpose": f"Decide {len(self.claims)} claims of {studies} studies, {PAIRS} pairs each.",
                "max_epochs": max(int(point["epochs"]) for point in self.points),
                "base": shared,
                "points": points,
            },
        }


def plan(material: Material, *, overrides: Mapping[str, Any], defaults: Mapping[str, Any]) -> Plan:
    """`PAIRS` pairs for each undecided claim of the studies that are done.

    Args:
        overrides: values that hold in every run (`--set`).
        defaults: values of a configuration that the winners' do not name.
    """
    claims: list[Claim] = []
    left_out: list[tuple[str, str, str]] = []
    runs: list[Mapping[str, Any]] = []  # without a seed
    for study in material.studies:
        for hypothesis in study.file.hypotheses:
            if test(study, hypothesis, material.pairs).verdict != "undecided":
                continue
            try:
                claim, two = _claim(study, hypothesis, fixed=overrides)
            except NoPairs as reason:
                left_out.append((study.name, hypothesis.claim, str(reason)))
                continue
            claims.append(claim)
            runs += [{**defaults, **side, **overrides} for side in two]
    seeds = [
        t.config["seed"] for s in material.pairs for t in s.trials if isinstance(t.config.get("seed"), int)
    ]
    first = max([FIRST_SEED - 1, *seeds]) + 1
    points = [{**run, "seed": first + k} for k in range(PAIRS) for run in _distinct(runs)]
    return Plan(tuple(points), tuple(claims), tuple(left_out))


def _claim(
    study: Study, hypothesis: Hypothesis, *, fixed: Mapping[str, Any]
) -> tuple[Claim, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The claim's two sides, and the configurations that differ in them alone."""
    if study.file.on == "bundle":
        raise NoPairs("its trials train nothing: give the study more of them")
    if study.file.external or study.file.objective:
        raise NoPairs(f"not of the model: python -m tuner report {study.name} --pairs pairs/")
    if not study.done:
        raise NoPairs(f"the study is not finished: python -m tuner study {study.name}")
    clash = sorted(claim_names(hypothesis) & fixed.keys())
    if clash:
        raise NoPairs(f"--set fixes {clash[0]}")
    base, sides = sides_of(study, hypothesis)
    claim = Claim(study.name, hypothesis.claim, sides["where"], sides["against"])
    return claim, ({**base, **claim.where}, {**base, **claim.against})


def sides_of(study: Study, hypothesis: Hypothesis) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    """The winner's values that a claim is not about, and those that it is about, on each side.

    The winner stands for its side; the other's values are those of the best trial on it that fits the winner.

    Raises:
        NoPairs: no trial completed, or none has values for one of the sides.
    """
    winner = study.winner
    if winner is None:
        raise NoPairs("no trial completed")
    free = with_dependents(study, claim_names(hypothesis))
    if "seed" in free:
        raise NoPairs("it is about the seed")
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
            raise NoPairs(f"no trial has values {words} that go with the winner's others")
    return base, found


def write(material: Material, folder: Path) -> list[Path]:
    """Writes a study file for each undecided claim whose two sides are known; returns the files."""
    written = []
    for study in material.studies:
        for number, claim in enumerate(study.file.hypotheses, 1):
            if test(study, claim, material.pairs).verdict != "undecided" or study.file.on == "bundle":
                continue
            try:
                raw = pairs_of(study, claim)
            except NoPairs:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{slug(study.name)}_claim{number}.yaml"
            path.write_text(json.dumps(raw, indent=1), encoding="utf-8")  # JSON is YAML
            written.append(path)
    return written


def pairs_of(study: Study, claim: Hypothesis) -> dict[str, Any]:
    """The study file of `PAIRS` pairs for one claim, which it states, so that its own ledger tests it.

    Raises:
        NoPairs: as `sides_of`.
    """
    base, sides = sides_of(study, claim)
    assert study.winner is not None
    first = int(study.winner.config.get("seed") or 0) + 1
    points = [{**sides[side], "seed": first + k} for k in range(PAIRS) for side in ("where", "against")]
    names = sorted({name for point in points for name in point})
    tuner = study.file.raw.get("tuner", {})
    stated = {
        key: value
        for key, value in (("claim", claim.claim), ("where", claim.where), ("against", claim.against),
                           ("metric", claim.metric), ("gain", list(claim.gain) if claim.gain else None))
        if value is not None
    }  # fmt: skip
    return {
        **{key: study.file.raw[key] for key in ("program", "command") if key in study.file.raw},
        "name": f"{slug(study.name)}.pairs-{slug(claim.claim)[:40]}",
        "method": "grid",
        "metric": {"name": study.metric, "goal": study.file.metric.goal},
        "parameters": {n: {"values": _distinct([p[n] for p in points if n in p])} for n in names},
        "tuner": {
            **{key: tuner[key] for key in ("objective", "max_epochs") if key in tuner},
            "purpose": f"Decide: {claim.claim}.",
            "base": base,
            "points": points,
            "hypotheses": [stated],
        },
    }


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())
