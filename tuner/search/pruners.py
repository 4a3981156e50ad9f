"""Stopping rules: from the values that trials reported, whether one should go on, and why not, in words.

A decision depends on reported values alone: nothing is written to the storage, so a retried trial starts
clean, and several objectives are pruned by the first. A value reported at step s (from 1) is what epoch s
reached. A rule serves one study in one process and keeps summaries of what it has read (`summaries`):
reading everything again at every report took 23 ms at 10,000 values a trial, 230 s a trial.
"""

from __future__ import annotations

import binascii
import bisect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tuner.base.words import counted
from tuner.definition import scheduler
from tuner.definition.pruner_settings import PrunerSettings, bracket_budgets, rung_steps, wandb_bands
from tuner.search.summaries import Summaries

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


class Pruner(Protocol):
    """A stopping rule of one study. `trial` runs: it is the live trial, or a frozen one with its reports."""

    def should_prune(self, study: optuna.Study, trial: optuna.trial.BaseTrial | FrozenTrial) -> bool:
        """Whether the trial should stop now, after its latest report."""
        ...

    def explain(self, study: optuna.Study, trial: optuna.trial.BaseTrial | FrozenTrial) -> str:
        """The rule's view of the trial, in words: what it reached and what was asked of it."""
        ...

    def judges(self, number: int, step: int) -> bool:
        """Whether the rule reads what trial `number` reaches at `step`."""
        ...


def make(
    settings: PrunerSettings, study_name: str, *, given: optuna.pruners.BasePruner | None = None
) -> Pruner:
    """The rule that `settings` describe; `study_name` decides Hyperband's brackets.

    Args:
        given: the pruner of the study that a function makes.
    """
    if settings.arguments is not None:
        given = scheduler.made("pruner", settings.kind, settings.arguments)
    named = settings.kind == scheduler.OPTIMIZER or settings.arguments is not None
    rule = Optunas(given) if named and given is not None else _by_kind(settings, study_name)
    return rule if settings.patience is None else PatienceRule(rule, settings.patience)


def _by_kind(settings: PrunerSettings, study_name: str) -> Pruner:
    match settings.kind:
        case "hyperband":
            return Rungs(settings, study_name, bracketed=True)
        case "successive_halving":
            return Rungs(settings, study_name, bracketed=False)
        case "median":
            return Median(settings)
        case "wandb_hyperband":
            return WandbHyperband(settings)
        case "limits":
            return Limits(settings)
    return Never()


class Never:
    """No trial is stopped."""

    def should_prune(self, study: optuna.Study, trial: Any) -> bool:
        return False

    def explain(self, study: optuna.Study, trial: Any) -> str:
        return "this study stops no trial early"

    def judges(self, number: int, step: int) -> bool:
        return False


class Optunas:
    """A pruner of Optuna's, as it is. It judges studies of one objective."""

    def __init__(self, pruner: optuna.pruners.BasePruner) -> None:
        self._pruner = pruner

    def should_prune(self, study: optuna.Study, trial: Any) -> bool:
        return len(study.directions) == 1 and self._pruner.prune(study, _frozen(study, trial))

    def explain(self, study: optuna.Study, trial: Any) -> str:
        reported = _frozen(study, trial).intermediate_values
        step = max(reported, default=0)
        value = f": {reported[step]:.4g}" if reported else ""
        return f"epoch {step}{value}; decided by Optuna's {type(self._pruner).__name__}"

    def judges(self, number: int, step: int) -> bool:
        return True


@dataclass(frozen=True)
class _Verdict:
    """What a rule found at the rung that a trial has just reached."""

    step: int
    value: float
    needed: float
    among: str
    rule: str
    worse: bool

    def __str__(self) -> str:
        return (
            f"epoch {self.step}: {self.value:.4g}; {self.rule} of {self.among}: {self.needed:.4g} or better"
        )


class _ByVerdict(ABC):
    """The two methods of a pruner, from one `_verdict`."""

    def should_prune(self, study: optuna.Study, trial: optuna.trial.BaseTrial | FrozenTrial) -> bool:
        verdict = self._verdict(study, _frozen(study, trial))
        return verdict is not None and verdict.worse

    def explain(self, study: optuna.Study, trial: optuna.trial.BaseTrial | FrozenTrial) -> str:
        frozen = _frozen(study, trial)
        verdict = self._verdict(study, frozen)
        return str(verdict) if verdict else f"epoch {len(frozen.intermediate_values)}: not compared here"

    @abstractmethod
    def _verdict(self, study: optuna.Study, trial: FrozenTrial) -> _Verdict | None:
        """What the rule finds after the latest report; None where it does not compare."""


class Rungs(_ByVerdict):
    """Asynchronous successive halving, or Hyperband: the same with a bracket a trial.

    Decides as Optuna's SuccessiveHalvingPruner and HyperbandPruner do (the tests compare), from the
    reported values alone: Optuna's write `completed_rung_*` attributes, which a copied trial inherits, so
    it skips rungs.

    A sampler that learns proposes ever better trials. Among all since the start more than 1 in eta of them
    then look good, and half of an hour's trials run to their end. With `recent` a trial is also compared with
    the latest alone, which keeps to 1 in eta, and never lets anything pass that Optuna's rule stops.
    """

    def __init__(self, settings: PrunerSettings, study_name: str, *, bracketed: bool) -> None:
        self.settings = settings
        self.study_name = study_name
        self.bracketed = bracketed
        self._reached = Summaries(lambda number: _Reached(settings, self.bracket(number)))

    def bracket(self, number: int) -> int:
        """The bracket of trial `number`: crc32 of the study's name and the number, as Optuna's Hyperband."""
        if not self.bracketed:
            return 0
        budgets = bracket_budgets(self.settings)
        place = binascii.crc32(f"{self.study_name}_{number}".encode()) % sum(budgets)
        for bracket, budget in enumerate(budgets):
            place -= budget
            if place < 0:
                return bracket
        raise AssertionError("place is below the sum of the budgets")

    def judges(self, number: int, step: int) -> bool:
        return step in rung_steps(self.settings, self.bracket(number), up_to=step)

    def _verdict(self, study: optuna.Study, trial: FrozenTrial) -> _Verdict | None:
        own = self._reached.after_report(trial)
        if not own.steps or own.steps[-1] != own.last:
            return None
        rung, step = len(own.steps) - 1, own.last
        value = trial.intermediate_values[step]
        best_in = f"best {_fraction(self.settings.eta)}"
        if math.isnan(value):
            return _Verdict(step, value, math.nan, counted(0, "trial"), best_in, worse=True)
        others = []
        for other in study.get_trials(deepcopy=False):  # in the order of their numbers
            if other.number == trial.number:
                continue
            reached = self._reached.of(other)
            if reached.bracket == own.bracket and rung < len(reached.steps):
                at_rung = other.intermediate_values[reached.steps[rung]]
                if not math.isnan(at_rung):
                    others.append(at_rung)
        sign = _sign(study)
        needed, among = self._last_to_pass([*others, value], sign), counted(len(others) + 1, "trial")
        if self.settings.recent is not None and len(others) >= self.settings.recent:
            of_late = self._last_to_pass([*others[1 - self.settings.recent :], value], sign)
            if sign * of_late < sign * needed:
                needed, among = of_late, f"the latest {self.settings.recent} trials"
        return _Verdict(step, value, needed, among, best_in, worse=sign * value > sign * needed)

    def _last_to_pass(self, values: list[float], sign: float) -> float:
        """The worst of the best 1 in eta; of fewer than eta values the best."""
        ordered = sorted(values, key=lambda v: sign * v)
        return ordered[max(0, len(ordered) // int(self.settings.eta) - 1)]


class _Reached:
    """The steps at which a trial came to the rungs of its bracket: its first report at each, or later."""

    def __init__(self, settings: PrunerSettings, bracket: int) -> None:
        self.bracket = bracket
        self.steps: list[int] = []
        self.last = 0
        self._eta = int(settings.eta)
        self._rung = settings.min_resource * self._eta**bracket

    def add(self, step: int, value: float) -> None:
        self.last = step
        while step >= self._rung:
            self.steps.append(step)
            self._rung *= self._eta


class Median(_ByVerdict):
    """Stops a trial whose best value so far is worse than the median of finished trials at the same epoch.

    Google Vizier's rule (2017), as Optuna's MedianPruner.
    """

    def __init__(self, settings: PrunerSettings) -> None:
        self.settings = settings
        self._own = Summaries(lambda number: _Extremes())

    def judges(self, number: int, step: int) -> bool:
        return True  # a trial is compared by its best value so far

    def _verdict(self, study: optuna.Study, trial: FrozenTrial) -> _Verdict | None:
        from optuna.trial import TrialState

        own = self._own.after_report(trial)
        step = own.last
        if not step or step < self.settings.warmup:
            return None
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < self.settings.startup_trials:
            return None
        there = [t.intermediate_values[step] for t in finished if step in t.intermediate_values]
        there = sorted(v for v in there if not math.isnan(v))
        if not there:
            return None
        sign = _sign(study)
        best, _ = own.best(sign)
        middle = (there[(len(there) - 1) // 2] + there[len(there) // 2]) / 2
        worse = math.isnan(best) or sign * best > sign * middle
        return _Verdict(step, best, middle, counted(len(there), "trial"), "better half", worse=worse)


class _Extremes:
    """The last step of a trial, and its lowest and highest value with the steps that first had them."""

    def __init__(self) -> None:
        self.last = 0
        self.lowest = (math.inf, 0)
        self.highest = (-math.inf, 0)

    def add(self, step: int, value: float) -> None:
        self.last = step
        if value < self.lowest[0]:
            self.lowest = (value, step)
        if value > self.highest[0]:
            self.highest = (value, step)

    def best(self, sign: float) -> tuple[float, int]:
        """The best value for `sign` 1 (smaller is better) or -1, and its step; (NaN, 0): there was none."""
        value, step = self.lowest if sign > 0 else self.highest
        return (value, step) if step else (math.nan, 0)


class Limits(_ByVerdict):
    """Stops a trial whose value is worse than the limit that was set for its epoch."""

    def __init__(self, settings: PrunerSettings) -> None:
        self.limits = settings.limits

    def judges(self, number: int, step: int) -> bool:
        return step <= len(self.limits)

    def _verdict(self, study: optuna.Study, trial: FrozenTrial) -> _Verdict | None:
        step = max(trial.intermediate_values, default=0)
        if not 0 < step <= len(self.limits):
            return None
        value, needed, sign = trial.intermediate_values[step], self.limits[step - 1], _sign(study)
        worse = math.isnan(value) or sign * value > sign * needed
        return _Verdict(step, value, needed, "earlier runs", "the limit", worse=worse)


class WandbHyperband(_ByVerdict):
    """W&B's early_terminate (`sweeps.hyperband_stopping`, 0.3.0), decision for decision.

    A trial's history is its finite values in order; at the last band that it has passed, its value there (its
    best value, where `strict` is false) is compared with what the best 1 in eta of all trials had there.
    """

    def __init__(self, settings: PrunerSettings) -> None:
        self.settings = settings
        self.bands = wandb_bands(settings)
        self._trials = Summaries(lambda number: _AtBands(self.bands))
        # by band, the values there of trials that have ended; ascending, smaller is better
        self._ended: list[list[float]] = [[] for _ in self.bands]

    def judges(self, number: int, step: int) -> bool:
        return True  # bands count reports

    def _verdict(self, study: optuna.Study, trial: FrozenTrial) -> _Verdict | None:
        own = self._trials.after_report(trial)
        if not own.values:
            return None
        sign, last = _sign(study), len(own.values) - 1
        ended, still_open = self._trials.ended_and_open(study.get_trials(deepcopy=False))
        for summary in ended:
            for place, at_place in enumerate(summary.values):
                bisect.insort(self._ended[place], sign * at_place)
        others = [
            s.values[last] for number, s in still_open if number != trial.number and len(s.values) > last
        ]
        at_band = sorted([*self._ended[last], *(sign * value for value in (own.values[last], *others))])
        threshold = at_band[int(1.0 / self.settings.eta * len(at_band))]
        value = sign * (own.values[last] if self.settings.strict else own.finite.best(sign)[0])
        rule, among = f"best {_fraction(self.settings.eta)}", counted(len(at_band), "trial")
        worse = value > threshold
        return _Verdict(self.bands[last], sign * value, sign * threshold, among, rule, worse=worse)


class _AtBands:
    """A trial's finite values: the one at each band that it has passed, and the extremes."""

    def __init__(self, bands: list[int]) -> None:
        self.values: list[float] = []
        self.finite = _Extremes()
        self._bands = bands
        self._count = 0

    def add(self, step: int, value: float) -> None:
        if not math.isfinite(value):
            return
        self.finite.add(step, value)
        self._count += 1
        while len(self.values) < len(self._bands) and self._bands[len(self.values)] == self._count:
            self.values.append(value)


class PatienceRule:
    """Stops a trial that has stopped improving, whatever other trials do; besides another rule.

    The epochs that count are those since the trial's best value.
    """

    def __init__(self, rule: Pruner, patience: int) -> None:
        self.rule = rule
        self.patience = patience
        self._own = Summaries(lambda number: _Extremes())

    def should_prune(self, study: optuna.Study, trial: optuna.trial.BaseTrial | FrozenTrial) -> bool:
        return self.rule.should_prune(study, trial) or self._stalled(study, trial) >= self.patience

    def explain(self, study: optuna.Study, trial: optuna.trial.BaseTrial | FrozenTrial) -> str:
        if self.rule.should_prune(study, trial) or self._stalled(study, trial) < self.patience:
            return self.rule.explain(study, trial)
        own = self._own.of(_frozen(study, trial))
        value, epoch = own.best(_sign(study))
        best = f" (best: {value:.4g} at epoch {epoch})" if epoch else ""
        return f"epoch {own.last}: no better value for {self.patience} epochs{best}"

    def judges(self, number: int, step: int) -> bool:
        return True

    def _stalled(self, study: optuna.Study, trial: Any) -> int:
        """Epochs since the best value."""
        own = self._own.after_report(_frozen(study, trial))
        return own.last - own.best(_sign(study))[1]


def _frozen(study: optuna.Study, trial: Any) -> FrozenTrial:
    from optuna.trial import FrozenTrial

    from tuner.storage.optuna_private import trial_id

    return trial if isinstance(trial, FrozenTrial) else trial.storage.get_trial(trial_id(trial))


def _sign(study: optuna.Study) -> float:
    """1 where the first objective is minimised, -1 where it is maximised."""
    from optuna.study import StudyDirection

    return -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0


def _fraction(eta: float) -> str:
    return {2.0: "half", 3.0: "third", 4.0: "quarter"}.get(eta, f"1 in {eta:g}")
