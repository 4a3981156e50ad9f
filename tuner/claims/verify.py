"""`verify`: retrains the best configurations on new seeds and says how much of their lead is real."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.base.errors import InputError
from tuner.base.statistics import t_interval
from tuner.claims import retrain
from tuner.claims.retrain import Candidate
from tuner.definition.study_file import StudyFile
from tuner.run.events import View
from tuner.run.launch import run
from tuner.run.request import Request
from tuner.storage.access import open_records, storage_errors
from tuner.storage.stored import load_study, stored_file
from tuner.workloads.registry import workload_of

SUFFIX = "verify"


@dataclass(frozen=True)
class Lead:
    """The first candidate's lead over another on the same seeds. Positive: the first is better.

    `low` and `high`: paired t interval, infinite for a single seed.
    """

    over: int
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "holds"
        return "reversed" if self.high < 0 else "not decided"


@dataclass(frozen=True)
class Verified:
    """The result of the retrainings, in the order of the study."""

    metric: str
    goal: str
    candidates: tuple[Candidate, ...]
    leads: tuple[Lead, ...]

    @property
    def curse(self) -> float:
        """Winner's curse: how much better the candidates were in the study than retrained, on average."""
        sign = 1.0 if self.goal == "maximize" else -1.0
        gaps = [sign * (c.score - statistics.fmean(c.again.values())) for c in self.candidates if c.again]
        return statistics.fmean(gaps) if gaps else math.nan

    def to_dict(self) -> dict[str, Any]:
        """For `--json` and reports."""
        return {
            "metric": self.metric,
            "curse": self.curse,
            "candidates": [
                {"number": c.number, "score": c.score, "again": list(c.again.values())}
                for c in self.candidates
            ],
            "leads": [{**vars(lead), "verdict": lead.verdict} for lead in self.leads],
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
    with storage_errors(request.url):
        study = load_study(open_records(request.url), request.study_file.name)
        file = stored_file(study)
        best = retrain.candidates(study, file, request.results, top=None if numbers else top)
        if numbers:
            best = _chosen(best, numbers, file.name)
    if not best:
        raise InputError(f"study '{file.name}' has no complete trial to verify")
    workload = workload_of(file)
    if workload.deterministic:
        raise InputError(f"study '{file.name}': repeated runs always give the same score: nothing to verify")
    again = retrain.study_of(file, best, range(1, seeds + 1), workload.reseeded, suffix=SUFFIX)
    result = run(replace(request, study_file=again, base={}, trials=None), view)
    result.check(again.name)
    with storage_errors(request.url):
        records = open_records(request.url)
        found = retrain.with_results(best, seeds, load_study(records, again.name), file)
        verified = Verified(file.metric.name, file.metric.goal, tuple(found), tuple(leads(found, file)))
        load_study(records, file.name).set_user_attr("verified", verified.to_dict())
    return verified


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


def leads(found: Sequence[Candidate], study_file: StudyFile) -> list[Lead]:
    """The first candidate's lead over each other one, paired by the seeds that both finished."""
    sign = 1.0 if study_file.metric.goal == "maximize" else -1.0
    first, results = found[0], []
    for other in found[1:]:
        shared = sorted(set(first.again) & set(other.again))
        gaps = [sign * (first.again[k] - other.again[k]) for k in shared]
        if not gaps:
            continue
        results.append(Lead(other.number, *t_interval(gaps)))
    return results
