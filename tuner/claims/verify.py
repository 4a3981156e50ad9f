"""`verify`: trains a study's best again on new seeds and says what of their lead survives."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from tuner.base.errors import InputError
from tuner.claims import retrain
from tuner.claims.retrain import Candidate
from tuner.definition.study_file import StudyFile
from tuner.run.launch import Request, launch
from tuner.show.live import View
from tuner.storage.access import open_records, storage_errors
from tuner.storage.stored import load_study, stored_file

LEVEL = 0.95  # of the interval of a paired difference
SUFFIX = "verify"


@dataclass(frozen=True)
class Lead:
    """The first candidate's lead over another on the same seeds, positive where the first is better.

    `low` and `high`: paired t interval; infinite where there is one seed alone.
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
    """What retraining found, the study's order kept."""

    metric: str
    goal: str
    candidates: tuple[Candidate, ...]
    leads: tuple[Lead, ...]

    @property
    def curse(self) -> float:
        """Winner's curse: by how much the study flattered its candidates, on average."""
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


def verify(request: Request, view: View, *, top: int, seeds: int) -> Verified:
    """Retrains the best `top` configurations on `seeds` new seeds.

    Our model's runs also get another split of the recordings each time, so that the scores rest on other
    `select` recordings; nothing is chosen from them, which is why this may look at recordings of `test`.

    Raises:
        InputError: the study has no complete trial.
        KeyboardInterrupt: stopped by the user; started again it goes on.
    """
    with storage_errors(request.url):
        study = load_study(open_records(request.url), request.study_file.name)
        file = stored_file(study)
        best = retrain.candidates(study, file, request.results, top=top)
    if not best:
        raise InputError(f"study '{file.name}' has no complete trial to verify")
    changes = [_change(file, best[0].config, k) for k in range(1, seeds + 1)]
    again = retrain.study_of(file, best, changes, suffix=SUFFIX)
    result = launch(replace(request, study_file=again, base={}, trials=None), view)
    result.check(again.name)
    with storage_errors(request.url):
        records = open_records(request.url)
        found = retrain.with_results(best, seeds, load_study(records, again.name), file)
        verified = Verified(file.metric.name, file.metric.goal, tuple(found), tuple(leads(found, file)))
        load_study(records, file.name).set_user_attr("verified", verified.to_dict())
    return verified


def leads(found: Sequence[Candidate], study_file: StudyFile) -> list[Lead]:
    """Paired differences between the first candidate and each other, over the seeds that both finished."""
    from scipy.special import stdtrit

    sign = 1.0 if study_file.metric.goal == "maximize" else -1.0
    first, results = found[0], []
    for other in found[1:]:
        shared = sorted(set(first.again) & set(other.again))
        gaps = [sign * (first.again[k] - other.again[k]) for k in shared]
        if not gaps:
            continue
        mean, half = statistics.fmean(gaps), math.inf
        if len(gaps) > 1:
            spread = statistics.stdev(gaps) / math.sqrt(len(gaps))
            half = float(stdtrit(len(gaps) - 1, 0.5 + LEVEL / 2)) * spread
        results.append(Lead(other.number, mean, mean - half, mean + half))
    return results


def show(verified: Verified, console: Console) -> None:
    """The table and what follows from it, in words."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("trial", "in the study", "retrained", "spread", "first's lead", ""):
        table.add_column(heading, justify="left" if heading in ("", "first's lead") else "right")
    by_number = {lead.over: lead for lead in verified.leads}
    for candidate in verified.candidates:
        again = list(candidate.again.values())
        lead = by_number.get(candidate.number)
        table.add_row(
            str(candidate.number),
            f"{candidate.score:.4f}",
            f"{statistics.fmean(again):.4f}" if again else "failed",
            f"{statistics.stdev(again):.4f}" if len(again) > 1 else "",
            "" if lead is None else f"{lead.mean:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}]",
            "" if lead is None else lead.verdict,
        )
    console.print(table)
    curse = verified.curse
    if not math.isnan(curse):
        console.print(
            f"winner's curse: the study flattered them by {curse:+.4f} {verified.metric}", markup=False
        )
    holding = sum(lead.verdict == "holds" for lead in verified.leads)
    if verified.leads:
        console.print(
            f"the first's lead holds against {holding} of {len(verified.leads)} ({LEVEL:.0%} intervals)",
            markup=False,
        )


def _change(study_file: StudyFile, config: Mapping[str, Any], k: int) -> dict[str, Any]:
    """What retraining number k changes: the seed where the objective has one, and our model's split."""
    if study_file.external:
        return {"seed": 2000 + k} if "seed" in config else {}
    changes = {"seed": 2000 + k}
    if not study_file.objective:
        changes["split_seed"] = int(config.get("split_seed", 42)) + k
    return changes
