"""Which trial runs next in a study whose trials are paused and resumed (`tuner: {sampler: freeze_thaw}`).

The model in `freeze_thaw` knows curves and configurations. Here a study's trials become such curves, and the
epochs that the study may use are kept: each trial that it wants can still have its first few.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.definition.study_file import StudyFile
from tuner.search import memory
from tuner.search.freeze_thaw import Curve, Earlier, FreezeThaw, draws_of, mends_of, rungs_of
from tuner.storage import optuna_private
from tuner.storage.allocate import Choice, is_paused
from tuner.storage.attributes import AGENT_LOST, DEFAULT, UNTIL, VIOLATION, WHY

UNLIKELY = 0.02  # once all trials are started: no other is resumed than one that may win so probably
BUDGET = 0.25  # of the epochs of whole trials, where the study file names no `epoch_budget`, …
WHOLE = 3  # … and no less than these whole trials beside the first epochs of all


def budget_of(file: StudyFile, length: int, total: int | None) -> int | None:
    """Epochs that all trials may use together; None: any number.

    The file's `epoch_budget` is for its own number of trials and their length. With others it grows and
    shrinks, but leaves the first epochs of all trials and WHOLE whole ones.
    """
    own = file.run_cap or total, file.max_epochs or length  # a study from Python names them in its call
    if file.epoch_budget is not None and (total or file.run_cap, length) == own:
        return file.epoch_budget
    if total is None:
        return None
    share = BUDGET
    if file.epoch_budget is not None:
        share = file.epoch_budget / ((file.run_cap or total) * (file.max_epochs or length))
    return max(math.ceil(share * total * length), total * rungs_for(file, length)[0] + WHOLE * length)


def rungs_for(file: StudyFile, length: int) -> list[int]:
    """The epochs after which trials may be paused, ascending; the last is their end."""
    return rungs_of(length, file.pruner.min_resource if file.pruner.halves else None)


def earlier_of(trials: Sequence[FrozenTrial], *, maximize: bool) -> Earlier:
    """A study that others learn from; a trial without reports has its final value alone."""
    distributions: dict[str, BaseDistribution] = {}
    curves: list[Curve] = []
    for trial in trials:
        values: Mapping[int, float] = trial.intermediate_values
        if not values and trial.values and len(trial.values) == 1:
            values = {1: trial.values[0]}
        if trial.params and values and trial.state.is_finished():
            distributions |= trial.distributions
            curves.append(Curve(len(curves), trial.params, values, "ended"))
    return Earlier(distributions, curves, maximize)


class Thawing:
    """A `Chooser` of `tuner.storage.allocate`.

    Args:
        given: values below and above those of the space, which `requires` may read.
        length: epochs of a whole trial.
        total: trials that the study wants; None: any number.
        earlier: the studies that this one learns from.
    """

    def __init__(
        self,
        file: StudyFile,
        *,
        given: tuple[Mapping[str, Any], Mapping[str, Any]],
        length: int,
        total: int | None,
        seed: int,
        earlier: Sequence[Earlier] = (),
    ) -> None:
        self._file = file
        self._length = length
        self._budget = budget_of(file, length, total)
        self._rungs = rungs_for(file, length)
        self._maximize = file.metric.goal == "maximize"
        self._model = FreezeThaw(
            file.space.distributions(),
            maximize=self._maximize,
            length=length,
            rungs=self._rungs,
            earlier_rung=not file.pruner.halves,
            draw=draws_of(file.space, seed, given=given),
            mend=mends_of(file.space, given=given),
            earlier=earlier,
            seed=seed,
        )
        self._rng = np.random.default_rng(seed)
        self._shifts: dict[int, float] = {}
        self._seen: tuple[Any, ...] = ()
        self._last: Choice | str = ""

    def choose(self, trials: Sequence[FrozenTrial], *, unstarted: int | None) -> Choice | str:
        seen = (unstarted, *((t.number, t.state, UNTIL.of(t), len(t.intermediate_values))
                             for t in trials))  # fmt: skip
        if seen != self._seen or isinstance(self._last, Choice):
            self._seen, self._last = seen, self._choose(trials, unstarted)
        return self._last

    def until(self, trial: FrozenTrial) -> int | None:
        """The default configuration is paused as all others are: it may be poor."""
        first = self._rungs[0]
        pauses = _is_default(trial) and UNTIL not in trial.user_attrs and first < self._length
        return first if pauses else None

    def _choose(self, trials: Sequence[FrozenTrial], unstarted: int | None) -> Choice | str:
        self._rungs = self._model.rungs(trial.intermediate_values for trial in trials)
        first = self._rungs[0]
        spent = sum(self._epochs(trial) for trial in trials)
        left = math.inf if self._budget is None else self._budget - spent
        for_resumes = left - first * (unstarted or 0) - sum(map(self._owed, trials))
        self._shifts = self._shifted(trials)
        curves = [
            self._curve(trial, for_resumes)
            for trial in trials
            if not AGENT_LOST.of(trial) and (trial.params or trial.intermediate_values)
        ]
        found = None
        if unstarted != 0 or self._model.likeliest(curves, gain=self._file.matters or 0.0) >= UNLIKELY:
            found = self._model.choose(curves, may_start=unstarted != 0)
        if found is not None:
            # not by its place: trials that do not fit since the study was changed are not among them
            ids = {trial.number: optuna_private.trial_id(trial) for trial in trials}
            paused = None if found.number is None else ids[found.number]
            until = None if found.until >= self._length else found.until
            return Choice(paused, self._fitting(found.params, trials), until, self._model.explain(found))
        return self._ended(trials, spent)

    def _fitting(
        self, params: Mapping[str, Any] | None, trials: Sequence[FrozenTrial]
    ) -> Mapping[str, Any] | None:
        """The parameters of a new trial, so that it fits into memory as far as that was learnt."""
        space = self._file.space
        limit = None if params is None else memory.learnt(trials, space.distributions())
        if limit is None or params is None:
            return params
        return limit.mended(params, self._rng, valid=space.allows)

    def _ended(self, trials: Sequence[FrozenTrial], spent: int) -> Choice | str:
        """Why nothing is chosen; but a paused trial that leads those that have ended is run to its end.

        So is the default configuration, because others are compared with it.
        """
        sign = 1.0 if self._maximize else -1.0
        paused = [trial for trial in trials if is_paused(trial)]
        lead = max(paused, key=lambda trial: _order(sign * self._placed(trial)), default=None)
        ended = [self._placed(trial) for trial in trials if trial.state is TrialState.COMPLETE]
        best = max((_order(sign * value) for value in ended), default=-math.inf)
        if lead is not None and (not ended or _order(sign * self._placed(lead)) > best):
            why = "to its end, because it is better than all that have ended"
            return Choice(optuna_private.trial_id(lead), None, None, why)
        for trial in paused:
            if _is_default(trial):
                why = "to its end, because others are compared with the default"
                return Choice(optuna_private.trial_id(trial), None, None, why)
        return f"the study ended after {spent} epochs; other trials promised more"

    def _placed(self, trial: FrozenTrial) -> float:
        """What a trial reached, lower where it misses the study's constraints; NaN where nothing is known."""
        return (trial.values[0] if trial.values else _latest(trial)) + self._shifts.get(trial.number, 0.0)

    def _epochs(self, trial: FrozenTrial) -> int:
        """The epochs that a trial has had, or will have had when it is paused or ends."""
        done = max(trial.intermediate_values, default=0)
        if trial.state is TrialState.RUNNING:
            return max(done, int(trial.user_attrs.get(UNTIL, self._length)))
        return done

    def _owed(self, trial: FrozenTrial) -> int:
        """The epochs that are kept for a trial: those to the end of the default configuration."""
        return self._length - self._epochs(trial) if is_paused(trial) and _is_default(trial) else 0

    def _curve(self, trial: FrozenTrial, for_resumes: float) -> Curve:
        done = max(trial.intermediate_values, default=0)
        if trial.state is TrialState.RUNNING:
            state, until = "running", self._epochs(trial)
        else:
            following = next((rung for rung in self._rungs if rung > done), self._length)
            affordable = is_paused(trial) and following - done <= for_resumes + self._owed(trial)
            state, until = "paused" if affordable else "ended", None
        shift = self._shifts.get(trial.number, 0.0)
        values = {step: value + shift for step, value in trial.intermediate_values.items()}
        return Curve(trial.number, trial.params, values, state, until, _is_default(trial))  # type: ignore[arg-type]

    def _shifted(self, trials: Sequence[FrozenTrial]) -> dict[int, float]:
        """By how much trials are placed lower because they miss the study's constraints.

        A trial that misses them by what is usual loses a standard deviation of the metric, one that misses
        twice as much loses two.
        """
        missed = {t.number: float(VIOLATION.of(t)) for t in trials}
        positive = [amount for amount in missed.values() if amount > 0]
        ends = [value for t in trials if math.isfinite(value := _latest(t))]
        if not positive or len(ends) < 2:
            return {}
        unit = statistics.pstdev(ends) / statistics.median(positive) * (-1.0 if self._maximize else 1.0)
        return {number: amount * unit for number, amount in missed.items() if amount > 0}


def _is_default(trial: FrozenTrial) -> bool:
    return WHY.of(trial) == DEFAULT


def _latest(trial: FrozenTrial) -> float:
    """The value that a trial last reported; NaN where there is none."""
    reports = trial.intermediate_values
    return reports[max(reports)] if reports else math.nan


def _order(value: float) -> float:
    return -math.inf if math.isnan(value) else value
