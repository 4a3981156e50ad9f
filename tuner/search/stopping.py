"""Reasons for a study to stop before its last trial: its target is reached, or everything fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuner.base.errors import TrialTooLong
from tuner.definition.study_file import StudyFile
from tuner.storage import optuna_private
from tuner.storage.allocate import STOPPED, TARGET
from tuner.storage.records import Records

SAME_FAILURES = 3  # the same error this often in a row: the next would be the same again
ANY_FAILURES = 20  # different errors this often in a row


def check(study: optuna.Study, records: Records, study_file: StudyFile) -> str | None:
    """Stops the study when there is a reason to; returns it."""
    trials = study.get_trials(deepcopy=False)
    reason = _target(trials, study_file) or failures(trials)
    if reason:
        records.set_study_user_attr(optuna_private.study_id(study), STOPPED, reason)
    return reason


def _target(trials: Sequence[FrozenTrial], study_file: StudyFile) -> str | None:
    metric = study_file.metric
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.values and metric.reached(trial.values[0]):
            return f"{TARGET}: trial {trial.number} has {metric.name} {trial.values[0]:g}"
    return None


def failures(trials: Sequence[FrozenTrial]) -> str | None:
    """Why the latest failures mean that nothing else will come; trials of lost agents do not count."""
    ended = [t for t in trials if t.state.is_finished() and not t.user_attrs.get("agent_lost")]
    ended.sort(key=lambda trial: trial.datetime_complete or datetime.min)
    errors: list[str] = []
    for trial in reversed(ended):
        if trial.state is not TrialState.FAIL:
            break
        errors.append(str(trial.user_attrs.get("error", "")))
    same = [error for error in errors[:SAME_FAILURES] if _kind(error) == _kind(errors[0])]
    if len(same) >= SAME_FAILURES and not errors[0].startswith(TrialTooLong.BEGIN):  # others may be faster
        return f"{SAME_FAILURES} trials in a row failed alike: {errors[0]}"
    if len(errors) >= ANY_FAILURES:
        return f"{ANY_FAILURES} trials in a row failed, the last with: {errors[0]}"
    return None


def _kind(error: str) -> str:
    """An error without its numbers, which differ by trial."""
    return re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", error)
