"""Reasons for a study to stop early: target reached, no gain any more, a clear lead, only failures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from optuna.trial import FrozenTrial, TrialState

from tuner.base.endings import OUT_OF_MEMORY, TrialTooLong, headline, kind_of
from tuner.definition.sampler import FREEZE_THAW
from tuner.definition.study_file import StudyFile
from tuner.search import ranking
from tuner.stats.runs import paired
from tuner.storage.attributes import AGENT_LOST, ERROR
from tuner.storage.study import LEAD, NO_GAIN, TARGET

SAME_FAILURES = 3  # the same error this often in a row: the next would be the same again
ANY_FAILURES = 20  # different errors this often in a row


def reason_to_stop(trials: Sequence[FrozenTrial], study_file: StudyFile) -> str | None:
    """Why no further trial should start; None while there is no reason."""
    return (
        _target(trials, study_file)
        or failures(trials)
        or clear_lead(trials, study_file)
        or no_gain(trials, study_file)
    )


def _target(trials: Sequence[FrozenTrial], study_file: StudyFile) -> str | None:
    metric = study_file.metric
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.values and metric.reached(trial.values[0]):
            return f"{TARGET}: trial {trial.number} has {metric.name} {trial.values[0]:g}"
    return None


def no_gain(trials: Sequence[FrozenTrial], study_file: StudyFile) -> str | None:
    """Why further trials are not expected to gain: none of the latest `stop: {no_gain: N}` did."""
    wanted, best = study_file.stop.no_gain, ranking.ranked(trials, study_file)[:1]
    if wanted is None or not best:
        return None
    finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    if study_file.sampler == FREEZE_THAW:  # the order of the numbers is another where trials were resumed
        finished.sort(key=lambda trial: trial.datetime_complete or datetime.min)
    since = len(finished) - 1 - [t.number for t in finished].index(best[0].number)
    if since < wanted:
        return None
    reached = f"{study_file.metric.name} {best[0].values[0]:.4g}"
    return f"{NO_GAIN}: none of the latest {since} trials beat trial {best[0].number} ({reached})"


def clear_lead(trials: Sequence[FrozenTrial], study_file: StudyFile) -> str | None:
    """Why the best trial is the best: its lead over each other one is not luck (`stop: {lead: 0.95}`).

    Trials of several runs are compared run by run, on the same seed and fold, which takes away what is harder
    on one of them for every trial. Their number is fixed before, so a t interval holds.
    """
    ranked = ranking.ranked(trials, study_file)
    finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    if study_file.stop.lead is None or len(ranked) < 2 or len(finished) < study_file.stop.after:
        return None
    best, *others = ranked
    metric, level = study_file.metric, study_file.stop.lead
    sign = 1.0 if metric.goal == "maximize" else -1.0
    own = ranking.runs_of(best, metric.name)
    leads = []
    for other in others:
        theirs = ranking.runs_of(other, metric.name)
        gaps = [sign * (value - theirs[name]) for name, value in own.items() if name in theirs]
        if not gaps or ranking.violation(best) < ranking.violation(other):
            continue  # nothing to compare, or it is behind by the constraints
        leads.append((paired(gaps, level=level, once=True), other.number))
    if not leads:
        return None
    closest, number = min(leads, key=lambda lead: lead[0].low)
    if closest.verdict() != "better":
        return None
    return (
        f"{LEAD}: trial {best.number} leads every other; closest is trial {number}, by "
        f"{closest.difference:.3g} ({level:.0%} interval {closest.low:.3g} to {closest.high:.3g} over "
        f"{closest.pairs} runs each)"
    )


def failures(trials: Sequence[FrozenTrial]) -> str | None:
    """Why the latest failures mean that nothing else will come; trials of lost agents do not count.

    The latest by number: wall clocks jump.
    """
    ended = [t for t in trials if t.state.is_finished() and not AGENT_LOST.of(t)]
    errors: list[str] = []
    for trial in reversed(ended):
        if trial.state is not TrialState.FAIL:
            break
        errors.append(ERROR.of(trial))
    same = [error for error in errors[:SAME_FAILURES] if kind_of(error) == kind_of(errors[0])]
    # others may be faster, or smaller
    differ = errors and errors[0].startswith((TrialTooLong.BEGIN, OUT_OF_MEMORY))
    if len(same) >= SAME_FAILURES and not differ:
        return f"{SAME_FAILURES} trials in a row failed with the same error: {headline(errors[0])}"
    if len(errors) >= ANY_FAILURES:
        return f"{ANY_FAILURES} trials in a row failed: {headline(errors[0])}"
    return None
