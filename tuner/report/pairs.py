"""Studies of matched pairs: what would decide a claim that is undecided.

Each pair is the winner's configuration twice, once on each side of the claim, under the same seed: nothing
else differs. The file is a grid with a point a run, and `python -m tuner study FILE` runs it. It states its
claim, so the ledger of the new study tests it with matched pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner import expressions
from tuner.constraints import Hypothesis
from tuner.report.data import Material, Study
from tuner.report.ledger import claim_names, test
from tuner.study_file import slug

PAIRS = 5


def write(material: Material, folder: Path) -> list[Path]:
    """Writes a study file for each undecided claim whose two sides are known; returns the files."""
    written = []
    for study in material.studies:
        for number, claim in enumerate(study.file.hypotheses, 1):
            if test(study, claim).verdict != "undecided":
                continue
            raw = pairs_of(study, claim)
            if raw is not None:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{slug(study.name)}_claim{number}.yaml"
                path.write_text(json.dumps(raw, indent=1), encoding="utf-8")  # JSON is YAML
                written.append(path)
    return written


def pairs_of(study: Study, claim: Hypothesis) -> dict[str, Any] | None:
    """The study file of `PAIRS` pairs, or None where no value of one side is known from any trial.

    The values of the claim's parameters are those of the best trial on each side.
    """
    winner = study.winner
    if winner is None or study.file.on == "bundle":
        return None
    about = claim_names(claim)
    sides: dict[str, Mapping[str, Any]] = {}
    best_first = [*study.ranked, *(t for t in study.finished if not t.complete)]
    for trial in best_first:
        side = claim.side({n: v for n, v in trial.config.items() if n not in _absent(study, trial.params)})
        if side is not None and side not in sides:
            sides[side] = {n: trial.config[n] for n in _with_dependents(study, about) if n in trial.params}
    if set(sides) != {"where", "against"}:
        return None
    base = {n: v for n, v in winner.config.items() if n not in _with_dependents(study, about) | {"seed"}}
    first = int(winner.config.get("seed") or 0) + 1
    points = [{**values, "seed": first + k} for k in range(PAIRS) for values in sides.values()]
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
        "parameters": {
            n: {"values": list({json.dumps(p[n]): p[n] for p in points if n in p}.values())} for n in names
        },
        "tuner": {
            **{key: tuner[key] for key in ("objective", "max_epochs") if key in tuner},
            "purpose": f"Decide: {claim.claim}.",
            "base": base,
            "points": points,
            "hypotheses": [stated],
        },
    }


def _absent(study: Study, params: Mapping[str, Any]) -> set[str]:
    return {name for name in study.searched if name not in params}


def _with_dependents(study: Study, about: set[str]) -> set[str]:
    """The claim's parameters and those that exist only for some of their values."""
    found = set(about)
    for parameter in study.file.space.searched:
        if parameter.when and expressions.names(parameter.when) & found:
            found.add(parameter.name)
    return found
