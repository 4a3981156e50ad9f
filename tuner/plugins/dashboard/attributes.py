"""The attributes that the dashboard shows: those that people read, in words.

The tuner keeps its own in the same place (study file, leases, digests). The dashboard would show them first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial

from tuner.base.words import number
from tuner.claims.answer import Answer
from tuner.claims.material import Study
from tuner.show.report import words
from tuner.storage.attributes import METRICS, OF_STUDY, STOPPED
from tuner.storage.optuna_private import CONSTRAINT
from tuner.storage.study_store import RETRAINED

LONGEST = 300  # letters of a text
NOT_MEASURED = 1e9  # the value of a constraint whose metric was not logged (see tuner.run.agent.trial)
OF_TRIAL = frozenset({"checkpoint", "traceback", "violation"})


def title(study: Study, answer: Answer) -> str:
    """The line of a study in the dashboard's list, which is short: name, state, best value."""
    if study.name.endswith(RETRAINED):
        return f"{study.name}: retrainings"
    text = f"{study.name}: {'done' if study.done else words.progress(study)}"
    if answer.best is not None and answer.best.score is not None:
        return f"{text}, {study.metric} {number(answer.best.score)}"
    return f"{text}, none feasible" if study.ranked else text


def of_study(study: Study, answer: Answer) -> dict[str, Any]:
    """The attributes of a study."""
    found = {"state": words.progress(study), "result": answer.headline}
    if study.file.constraints and study.ranked:
        met = len(study.feasible)
        found["feasibility"] = (
            f"{met} of {len(study.ranked)} complete trials meet {', '.join(map(str, study.file.constraints))}"
            + ("" if met else ", so no trial is drawn grey")
        )
    if STOPPED.of(study.attrs):
        found["stopped"] = study.attrs[STOPPED]
    return {**found, **_readable(study.attrs, OF_STUDY)}


def of_trial(trial: FrozenTrial) -> dict[str, Any]:
    """The attributes of a trial; its metrics are numbers that the dashboard can sort by and draw."""
    metrics = METRICS.of(trial)
    found: dict[str, Any] = {**metrics} if isinstance(metrics, Mapping) else {}
    constraints = constraints_of(trial)
    if constraints:
        missed = [f"{name} {said}" for name, said in constraints.items() if said != "met"]
        found["feasible"] = f"no: {', '.join(missed)}" if missed else "yes"
    return {**found, **_readable(trial.user_attrs, OF_TRIAL)}


def constraints_of(trial: FrozenTrial) -> dict[str, str]:
    """Constraint → `met`, `missed by 0.2` or `not measured`."""
    found = {}
    for key, value in trial.system_attrs.items():
        if key.startswith(CONSTRAINT):
            missed = f"missed by {value:.3g}" if value < NOT_MEASURED else "not measured"
            found[key.removeprefix(CONSTRAINT)] = "met" if value <= 0 else missed
    return found


def _readable(attrs: Mapping[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """Numbers and short texts that are not ours."""
    return {
        name: value
        for name, value in attrs.items()
        if name not in hidden and isinstance(value, str | int | float) and len(str(value)) <= LONGEST
    }
