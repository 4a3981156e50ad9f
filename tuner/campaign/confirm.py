"""Confirms a winner before the next study starts from it: retrains the best configurations on other seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tuner.base.errors import WorkFailed
from tuner.claims import retrain
from tuner.run import launch
from tuner.run.events import View
from tuner.run.request import Request
from tuner.storage.access import open_records, waiting
from tuner.storage.stored import CONFIRMED, load_study
from tuner.workloads.registry import workload_of

FIRST_SEED = 1000  # higher than the seeds that studies search
TOP = 3  # number of configurations to retrain
SUFFIX = "confirm"


def confirm(request: Request, view: View, say: Callable[[str], None]) -> None:
    """Retrains the best configurations of a study on other seeds. Stores the one with the best mean.

    Raises:
        KeyboardInterrupt: the user stopped it.
        WorkFailed: no trial completed, or the retraining failed.
    """
    file = request.study_file

    def candidates() -> list[retrain.Candidate] | None:
        study = load_study(open_records(request.url), file.name)
        confirmed = study.user_attrs.get(CONFIRMED)
        return None if confirmed else retrain.candidates(study, file, request.results, top=TOP)

    best = waiting(request.url, candidates, say)
    if best is None:
        return
    if not best:
        raise WorkFailed(f"{file.name}: no trial completed, so there is no winner to continue from")
    seeds = [FIRST_SEED + seed for seed in file.seeds]
    again = retrain.study_of(file, best, seeds, workload_of(file).seeded, suffix=SUFFIX)
    asked = replace(request, study_file=again, base={}, trials=None, fresh=False)
    launch.run(asked, view).check(again.name)

    def record() -> tuple[list[retrain.Candidate], retrain.Candidate]:
        records = open_records(request.url)
        found = retrain.with_results(best, len(seeds), load_study(records, again.name), file)
        chosen = retrain.winner(found, file)
        content = {
            "number": chosen.number,
            "mean": chosen.mean,
            "candidates": [
                {"number": c.number, "score": c.score, "again": list(c.again.values()), "mean": c.mean}
                for c in found
            ],
        }
        load_study(records, file.name).set_user_attr(CONFIRMED, content)
        return found, chosen

    found, chosen = waiting(request.url, record, say)
    say(
        f"confirmed winner of {file.name}: trial {chosen.number}, {file.metric.name} {chosen.mean:.4f} on "
        f"average (in the study {chosen.score:.4f}; {len(found)} were retrained)"
    )
