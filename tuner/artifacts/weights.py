"""Keeps the disk from filling: network weights stay for the best trials and the front alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from model.run_files import WEIGHTS
from tuner.definition.study_file import StudyFile
from tuner.search import ranking

KEEP = 20  # best trials of a study whose weights stay


def kept(trials: Sequence[FrozenTrial], study_file: StudyFile, *, keep: int = KEEP) -> set[int]:
    """The numbers of the trials whose weights stay: the `keep` best, and those on the front."""
    best = ranking.ranked(trials, study_file)[:keep]
    return {trial.number for trial in (*best, *ranking.front(trials, study_file))}


def tidy(study: optuna.Study, study_file: StudyFile, results: Path, *, keep: int) -> list[int]:
    """Removes the weights of every trial that is neither among the `keep` best nor on the front.

    The small files and the predictions, which ensembles read, stay. Returns the trials' numbers.
    """
    trials = study.get_trials(deepcopy=False)
    best = ranking.ranked(trials, study_file)
    if len(best) <= keep:
        return []
    stay = kept(trials, study_file, keep=keep)
    removed = []
    for trial in best[keep:]:
        path = results / "runs" / study.study_name / str(trial.number) / WEIGHTS
        if trial.number not in stay and path.exists():
            path.unlink(missing_ok=True)
            removed.append(trial.number)
    return removed
