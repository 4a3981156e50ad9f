"""Queues a configuration of a study that was begun: it is run next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from tuner.base.errors import InputError, nearest
from tuner.base.words import in_words
from tuner.definition.distributions import Constant
from tuner.definition.study_file import StudyFile
from tuner.storage.attributes import GRID_POINT, WHY
from tuner.storage.records import Records
from tuner.storage.study import finished, load_study

BY_HAND = "queued by hand"


@dataclass(frozen=True)
class Queued:
    """A trial that waits.

    Attributes:
        ahead: trials that wait before it.
        total: the number of trials that the study wants, if that many are finished, running or waiting
            already, so that nothing runs this one. needs: the number with which it is run.
    """

    number: int
    ahead: int
    total: int | None = None
    needs: int | None = None


def enqueue(records: Records, name: str, values: Mapping[str, Any]) -> Queued:
    """Queues a trial of study `name` with `values`, by dotted name. What they leave out is drawn.

    Raises:
        InputError: there is no such study, a name or a value is not of its space, or the values together are
            ruled out. The message says what was expected.
    """
    study = load_study(records, name)
    file = study.file
    fixed = _params(file, values, study.origin)
    with records.locked():
        counts = study.counts()
        attrs: dict[str, Any] = {WHY: BY_HAND}
        if file.method == "grid":
            point = _point(file, fixed)
            if point in study.points_taken():
                raise InputError(
                    f"study '{name}': this point of the grid has been tried or is queued: {in_words(values)}"
                )
            return Queued(records.enqueue(study.id, fixed, {**attrs, GRID_POINT: point}), 0)
        number = records.enqueue(study.id, fixed, attrs)
    total, ahead = study.total, counts[TrialState.WAITING]
    taken = finished(counts, study.attrs) + counts[TrialState.RUNNING] + ahead
    if total is None or taken < total:
        return Queued(number, ahead)
    return Queued(number, ahead, total, taken + 1)


def _params(file: StudyFile, values: Mapping[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    """The values as Optuna parameters, every one of them checked."""
    known = {parameter.name: parameter for parameter in file.space.parameters}
    for name in () if file.space.open else values:
        if name not in known:
            raise InputError(
                f"study '{file.name}' has no parameter '{name}'{nearest(name, known)} "
                f"(parameters: {', '.join(p.name for p in file.space.searched)})"
            )
        if isinstance(known[name].distribution, Constant):
            raise InputError(f"'{name}' is {known[name].distribution.describe()} in study '{file.name}'")
    params = file.space.params_for(values)
    for name in values:
        if name not in params:
            raise InputError(f"'{name}' exists only if {known[name].when}: give those values too")
    config = {**(origin.get("base") or {}), **file.space.config_of(params), **(origin.get("overrides") or {})}
    broken = file.space.violated(config)
    if broken:
        raise InputError(f"{in_words(values)}: breaks requires '{broken[0]}' of study '{file.name}'")
    return params


def _point(file: StudyFile, params: Mapping[str, Any]) -> int:
    """The place in the grid of the point that has these parameters."""
    for index, config in enumerate(file.grid()):
        if file.space.params_for(config) == params:
            return index
    raise InputError(
        f"study '{file.name}' is a grid: expected one of its points, with a value for each of "
        f"{', '.join(p.name for p in file.space.searched)}"
    )
