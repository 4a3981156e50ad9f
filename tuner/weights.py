"""Keeps the disk from filling: network weights stay for the best trials and the front alone."""

from __future__ import annotations

from pathlib import Path

import optuna

from model.run_folder import WEIGHTS
from tuner import ranking
from tuner.study_file import StudyFile


def tidy(study: optuna.Study, study_file: StudyFile, results: Path, *, keep: int) -> list[int]:
    """Removes the weights of every trial that is neither among the `keep` best nor on the front.

    The small files and the predictions, which ensembles read, stay. Returns the trials' numbers.
    """
    trials = study.get_trials(deepcopy=False)
    best = ranking.ranked(trials, study_file)
    if len(best) <= keep:
        return []
    kept = {trial.number for trial in best[:keep]}
    kept.update(trial.number for trial in ranking.front(trials, study_file))
    removed = []
    for trial in best[keep:]:
        path = results / "runs" / study.study_name / str(trial.number) / WEIGHTS
        if trial.number not in kept and path.exists():
            path.unlink(missing_ok=True)
            removed.append(trial.number)
    return removed
