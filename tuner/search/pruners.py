"""Stopping rules: from the values that trials reported, whether one should go on, and why not, in words.

Every rule is a pure function of reported values: nothing is written to the storage, so a retried trial
starts clean, and several objectives are pruned by the first. A value reported at step s (from 1) is what
epoch s reached.
"""

from __future__ import annotations

import binascii
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tuner.definition.pruner_settings import PrunerSettings, bracket_budgets, rung_steps, wandb_bands

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


class Pruner(Protocol):
    """A stopping rule. `trial` is the live trial, or a frozen one with its reported values."""

    def should_prune(self, study: optuna.Study, trial: optuna.trial.BaseTrial | FrozenTrial) -> bool:
        """Whether the trial should stop now, after its latest report."""
        ...

    def explain(self, study: optuna.Study, trial: optuna.trial.BaseTrial | FrozenTrial) -> str:
        """The rule's view of the trial, in words: what it reached and what was asked of it."""
        ...


def make(settings: PrunerSettings, study_name: str) -> Pruner:
    """The rule that `settings` describe; `study_name` decides Hyperband's brackets."""
    match settings.kind:
        case "hyperband":
            return Rungs(settings, study_name, bracketed=True)
        case "successive_halving":
            return Rungs(settings, study_name, bracketed=False)
        case "median":
            return Median(settings)
        case "wandb_hyperband":
            return WandbHyperband(settings)
    return Never()


class Never:
    """No trial is stopped."""

    def should_prune(self, study: optuna.Study, trial: Any) -> bool:
        return False

    def explain(self, study: optuna.Study, trial: Any) -> str:
        return "this study stops no trial early"


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
        reached = "reached" if not self.worse else "only reached"
        return (
            f"epoch {self.step}: {reached} {self.value:.4g}; {self.rule} of {self.among} "
            f"had {self.needed:.4g} or better there"
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

    def _verdict(self, study: optuna.Study, trial: FrozenTrial) -> _Verdict | None:
        bracket = self.bracket(trial.number)
        step = max(trial.intermediate_values, default=0)
        reached = [rung for rung in rung_steps(self.settings, bracket, up_to=step) if rung <= step]
        if not reached or not _first_report_at(trial, reached[-1], step):
            return None
        value = trial.intermediate_values[step]
        best_in = f"the best {_fraction(self.settings.eta)}"
        if math.isnan(value):
            return _Verdict(step, value, math.nan, _count(0), best_in, worse=True)
        others = []
        for other in study.get_trials(deepcopy=False):  # in the order of their numbers
            if other.number != trial.number and self.bracket(other.number) == bracket:
                at_rung = _value_at(other, reached[-1])
                if at_rung is not None and not math.isnan(at_rung):
                    others.append(at_rung)
        sign = _sign(study)
        needed, among = self._last_to_pass([*others, value], sign), _count(len(others) + 1)
        if self.settings.recent is not None and len(others) >= self.settings.recent:
            of_late = self._last_to_pass([*others[1 - self.settings.recent :], value], sign)
            if sign * of_late < sign * needed:
                needed, among = of_late, f"the latest {self.settings.recent} trials"
        return _Verdict(step, value, needed, among, best_in, worse=sign * value > sign * needed)

    def _last_to_pass(self, values: list[float], sign: float) -> float:
        """The worst of the best 1 in eta; of fewer than eta values the best."""
        ordered = sorted(values, key=lambda v: sign * v)
        return ordered[max(0, len(ordered) // int(self.settings.eta) - 1)]


class Median(_ByVerdict):
    """Stops a trial whose best value so far is worse than the median of finished trials at the same epoch.

    Google Vizier's rule (2017), as Optuna's MedianPruner.
    """

    def __init__(self, settings: PrunerSettings) -> None:
        self.settings = settings

    def _verdict(self, study: optuna.Study, trial: FrozenTrial) -> _Verdict | None:
        from optuna.trial import TrialState

        step = max(trial.intermediate_values, default=0)
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not step or step < self.settings.warmup or len(finished) < self.settings.startup_trials:
            return None
        there = [t.intermediate_values[step] for t in finished if step in t.intermediate_values]
        there = sorted(v for v in there if not math.isnan(v))
        if not there:
            return None
        sign = _sign(study)
        own = [v for v in trial.intermediate_values.values() if not math.isnan(v)]
        best = min(own, key=lambda v: sign * v) if own else math.nan
        middle = (there[(len(there) - 1) // 2] + there[len(there) // 2]) / 2
        worse = math.isnan(best) or sign * best > sign * middle
        return _Verdict(step, best, middle, _count(len(there)), "the better half", worse=worse)


class WandbHyperband(_ByVerdict):
    """W&B's early_terminate (`sweeps.hyperband_stopping`, 0.3.0), decision for decision.

    A trial's history is its finite values in order; at the last band that it has passed, its value there (its
    best value, where `strict` is false) is compared with what the best 1 in eta of all trials had there.
    """

    def __init__(self, settings: PrunerSettings) -> None:
        self.settings = settings
        self.bands = wandb_bands(settings)

    def _verdict(self, study: optuna.Study, trial: FrozenTrial) -> _Verdict | None:
        sign = _sign(study)
        own = _history(trial, sign)
        band = max((b for b in self.bands if b <= len(own)), default=None)
        if band is None:
            return None
        histories = [_history(t, sign) for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        at_band = sorted(history[band - 1] for history in (own, *histories) if len(history) >= band)
        threshold = at_band[int(1.0 / self.settings.eta * len(at_band))]
        value = own[band - 1] if self.settings.strict else min(own)
        rule = f"the best {_fraction(self.settings.eta)}"
        return _Verdict(
            band, sign * value, sign * threshold, _count(len(at_band)), rule, worse=value > threshold
        )


def _frozen(study: optuna.Study, trial: Any) -> FrozenTrial:
    from optuna.trial import FrozenTrial

    from tuner.storage.optuna_private import trial_id

    return trial if isinstance(trial, FrozenTrial) else trial.storage.get_trial(trial_id(trial))


def _sign(study: optuna.Study) -> float:
    """1 where the first objective is minimised, -1 where it is maximised."""
    from optuna.study import StudyDirection

    return -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0


def _first_report_at(trial: FrozenTrial, rung: int, step: int) -> bool:
    """Whether `step` is the trial's first report at or after `rung`: a rung is judged once."""
    return min(s for s in trial.intermediate_values if s >= rung) == step


def _value_at(trial: FrozenTrial, rung: int) -> float | None:
    """The value with which a trial came to `rung`: its first report there or later."""
    if rung in trial.intermediate_values:
        return trial.intermediate_values[rung]
    later = [step for step in trial.intermediate_values if step > rung]
    return trial.intermediate_values[min(later)] if later else None


def _history(trial: FrozenTrial, sign: float) -> Sequence[float]:
    """The finite values in the order of their steps, smaller is better."""
    values = (trial.intermediate_values[step] for step in sorted(trial.intermediate_values))
    return [sign * value for value in values if math.isfinite(value)]


def _fraction(eta: float) -> str:
    words = {2: "half", 3: "third", 4: "quarter"}
    return words.get(int(eta), f"1 in {eta:g}") if eta == int(eta) else f"1 in {eta:g}"


def _count(number: int) -> str:
    return f"{number} trial" if number == 1 else f"{number} trials"
