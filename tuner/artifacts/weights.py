"""Saves disk space: only the best trials, and those on the Pareto front, keep their weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from tuner.definition.study_file import StudyFile
from tuner.search import ranking

KEEP = 20  # number of best trials of a study that keep their weights


def kept(trials: Sequence[FrozenTrial], study_file: StudyFile, *, keep: int = KEEP) -> set[int]:
    """Numbers of the trials that keep their weights: the `keep` best, and those on the Pareto front.

    All of them, where no metric says which are better.
    """
    if not study_file.metric.declared:
        return {trial.number for trial in trials}
    best = ranking.ranked(trials, study_file)[:keep]
    return {trial.number for trial in (*best, *ranking.front(trials, study_file))}


def tidy(
    study: optuna.Study, study_file: StudyFile, results: Path, *, keep: int, patterns: Sequence[str]
) -> list[int]:
    """Removes the weights of trials that are neither among the `keep` best nor on the Pareto front.

    Small files, and the predictions that ensembles read, stay. Returns the numbers of the trials.
    """
    trials = study.get_trials(deepcopy=False)
    worse = ranking.ranked(trials, study_file)[keep:]
    stay = kept(trials, study_file, keep=keep) if worse else set()
    removed = []
    for trial in worse:
        if trial.number in stay:
            continue
        found = files(results / "runs" / study.study_name / str(trial.number), patterns)
        for path in found:
            path.unlink(missing_ok=True)
        removed += [trial.number] if found else []
    return removed


def files(run_folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The weights in a run folder: plain files that match the patterns, also in subfolders."""
    found = {path for pattern in patterns for path in run_folder.rglob(pattern)}
    return sorted(path for path in found if path.is_file() and not path.is_symlink())
