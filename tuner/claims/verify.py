"""`verify`: retrains the best configurations on new seeds and says how much of their lead is real."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tuner.base.errors import InputError
from tuner.claims import judge, retrain
from tuner.claims import material as materials
from tuner.claims.answer import Answer
from tuner.claims.retrain import Candidate
from tuner.definition.study_file import StudyFile
from tuner.run.events import View
from tuner.run.launch import run
from tuner.run.request import Request
from tuner.search import ranking
from tuner.storage.access import open_records
from tuner.storage.attributes import GRID_POINT, VERIFIED
from tuner.storage.study import load_study
from tuner.workloads.registry import workload_of

SUFFIX = "verify"


@dataclass(frozen=True)
class Verified:
    """The result of the retrainings.

    Attributes:
        candidates: in the order of the study. leads: the first one's comparison with each other one.
        answer: what the study's result is now.
    """

    metric: str
    goal: str
    candidates: tuple[Candidate, ...]
    leads: tuple[Answer, ...]
    answer: Answer

    @property
    def curse(self) -> float:
        """Winner's curse: how much better the candidates were in the study than retrained, on average."""
        return curse(self.candidates, self.goal)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        leads = [(lead, lead.to_dict()) for lead in self.leads]
        return {
            **_record(self.candidates, self.metric, self.curse),
            "leads": [
                {"over": lead.other.number, "mean": told["difference"], **told}
                for lead, told in leads
                if lead.other is not None
            ],
            "answer": self.answer.to_dict(),
        }


def verify(
    request: Request, view: View, *, top: int, seeds: int, numbers: Sequence[int] | None = None
) -> Verified:
    """Retrains the best `top` configurations on `seeds` new seeds, or those of the trials `numbers`.

    The workload decides what a new seed changes. For our model it also changes the split, so the scores are
    measured on other `select` recordings.

    Raises:
        InputError: the study has no complete trial, or repeated runs always give the same score.
        KeyboardInterrupt: the user stopped it. The same command continues.
    """
    study = load_study(open_records(request.url), request.study_file.name)
    file = study.file
    best = retrain.candidates(study, file, request.results, top=None if numbers else top)
    if numbers:
        best = _chosen(best, numbers, file.name)
    if not best:
        raise InputError(f"study '{file.name}' has no complete trial to verify")
    workload = workload_of(file)
    if workload.deterministic:
        raise InputError(f"study '{file.name}': repeated runs always give the same score: nothing to verify")
    points = [{**c.config, **workload.reseeded(c.config, n)} for c in best for n in range(1, seeds + 1)]
    again = retrain.study_of(file, points, suffix=SUFFIX)
    result = run(replace(request, study_file=again, base={}, trials=None), view)
    result.check(again.name)
    records = open_records(request.url)
    trials = load_study(records, again.name).get_trials(deepcopy=False)
    ended = {divmod(int(t.user_attrs[GRID_POINT]), seeds): t for t in trials if t.state.is_finished()}
    found = retrain.with_results(best, ended)
    study = load_study(records, file.name)
    study.set_user_attr(VERIFIED, _merged(study.attrs, found, file))
    material = materials.load(records, (), request.results, made=datetime.now())
    known = next((s for s in material.studies if s.name == file.name), None)
    if known is None:  # `load` leaves studies of retrainings out
        known = materials.read_study(study, request.results)
        material = replace(material, studies=(known,))
    names = [f"{file.name}/{candidate.number}" for candidate in found]
    leads = [judge.between(material, names[0], name) for name in names[1:]]
    answer = judge.of_study(known, material)
    return Verified(file.metric.name, file.metric.goal, tuple(found), tuple(leads), answer)


def _record(candidates: Sequence[Candidate], metric: str, curse: float) -> dict[str, Any]:
    rows = [
        {"number": c.number, "score": c.score, "again": list(c.again.values()), "rounds": list(c.again)}
        for c in candidates
    ]
    return {"metric": metric, "curse": curse, "candidates": rows}


def _merged(attrs: Mapping[str, Any], found: Sequence[Candidate], file: StudyFile) -> dict[str, Any]:
    """What is stored with the study: the runs of this call beside those of earlier ones on the same seeds."""
    earlier = {number: runs for _, number, runs in ranking.retrainings(attrs, VERIFIED)}
    merged = [replace(c, again=dict(sorted({**earlier.get(c.number, {}), **c.again}.items()))) for c in found]
    told = _record(merged, file.metric.name, curse(merged, file.metric.goal))
    numbers = {c.number for c in found}
    kept = [c for c in VERIFIED.of(attrs).get("candidates", ()) if c["number"] not in numbers]
    return {**told, "candidates": [*told["candidates"], *kept]}


def _chosen(known: Sequence[Candidate], numbers: Sequence[int], study: str) -> list[Candidate]:
    """The candidates of these trials. Trials that differ only in the seed count as the best of them."""
    by_number = {c.number: c for c in known}
    missing = [n for n in numbers if n not in by_number]
    if missing:
        raise InputError(
            f"study '{study}': trial {missing[0]} is not complete, or another seed of its configuration "
            "is better"
        )
    return [by_number[n] for n in dict.fromkeys(numbers)]


def curse(candidates: Sequence[Candidate], goal: str) -> float:
    """How much better candidates were in their study than retrained, on average; NaN without retrainings."""
    sign = 1.0 if goal == "maximize" else -1.0
    gaps = [sign * (c.score - statistics.fmean(c.again.values())) for c in candidates if c.again]
    return statistics.fmean(gaps) if gaps else math.nan
