"""Searches and stopping rules that are compared: ours, as an agent calls them, and plain Optuna."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import optuna
from arena.replay import Tuner
from arena.worlds import World

from tuner.definition.study_file import StudyFile
from tuner.search import freeze_thaw, pruners, samplers

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Sampled(Tuner):
    """Searches with a sampler and a pruner, as an agent does, on a study in memory.

    Args:
        study: the file whose space and stopping rule are used.
        sampler: tpe, or random for the control.
        default: the first trial's parameters, where good ones are known.
    """

    def __init__(
        self, study: StudyFile, seed: int, *, sampler: str, default: dict[str, Any] | None = None
    ) -> None:
        self.file = replace(study, sampler=sampler)
        name = f"{study.name}-{seed}"  # decides Hyperband's brackets, as in practice
        self.pruner = pruners.make(self.file.pruner, name)
        self.study = optuna.create_study(
            study_name=name,
            direction=study.metric.goal,
            sampler=samplers.make(self.file, seed, known_start=default is not None),
        )
        self.sign = 1.0 if study.metric.goal == "maximize" else -1.0
        if default is not None:
            self.study.enqueue_trial(default)

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self.study.ask()
        return trial, self.file.space.suggest(trial)

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        trial.report(self.sign * value, epoch)
        return epoch < (self.file.max_epochs or 0) and self.pruner.should_prune(self.study, trial)

    def took(self, trial: optuna.Trial, epoch: int, each: float) -> None:
        trial.set_user_attr("seconds", epoch * each)  # as an agent tells it at the end of a trial

    def finish(self, trial: optuna.Trial, value: float, *, stopped: bool) -> None:
        if stopped:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, self.sign * value)


class Optuna(Sampled):
    """Plain Optuna: its TPE sampler and its Hyperband pruner as they come, called as its loop does."""

    def __init__(self, world: World, seed: int) -> None:
        self.space, self.epochs, self.sign = world.study.space.distributions(), world.epochs, 1.0
        self.study = optuna.create_study(
            study_name=str(seed),  # decides Hyperband's brackets
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.HyperbandPruner(1, self.epochs, reduction_factor=3),
        )

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self.study.ask(self.space)
        return trial, trial.params

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return epoch < self.epochs and trial.should_prune()


class Foresight(Sampled):
    """Random draws, of which all that will not end best stop after the first rung: a bound, no tuner.

    Hardly any rule of stopping can be faster with random draws. What reaches the same values in fewer epochs
    has to propose better configurations.
    """

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world.study, seed, sampler="random")
        self.world, self.best = world, -math.inf
        self.ends: dict[int, float] = {}

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial, params = super().ask()
        self.ends[trial.number] = max(self.world.curve(params))
        return trial, params

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        if epoch != self.file.pruner.min_resource:
            return False
        before, self.best = self.best, max(self.best, self.ends[trial.number])
        return self.best == before


class FreezeThaw(Tuner):
    """Searches with freeze-thaw: trials pause at rungs. The handle of a trial is its number.

    Args:
        default: the first trial's parameters, where such are known. It is run to its end at last.
        budget: epochs of the whole study.
        prior: runs of an earlier study.
    """

    def __init__(
        self,
        study: StudyFile,
        seed: int,
        *,
        default: dict[str, Any] | None = None,
        budget: int = 0,
        prior: Sequence[freeze_thaw.Curve] = (),
    ) -> None:
        self.space, self.length = study.space, study.max_epochs or 1
        self.sign = 1.0 if study.metric.goal == "maximize" else -1.0
        self.trials: list[freeze_thaw.Curve] = []
        self.default, self.budget = default, budget
        self.rungs = freeze_thaw.rungs_of(self.length)
        self.search = freeze_thaw.FreezeThaw(
            study.space.distributions(),
            maximize=study.metric.goal == "maximize",
            length=self.length,
            rungs=self.rungs,
            prior=prior,
            draw=freeze_thaw.draws_of(study.space, seed),
            mend=freeze_thaw.mends_of(study.space),
            seed=seed,
        )

    def ask(self) -> tuple[int, dict[str, Any]]:
        trusted = self.default is not None and not self.trials
        if trusted:
            choice = freeze_thaw.Proposal(None, self.default, self.rungs[0])
        elif self._default_is_due():
            choice = freeze_thaw.Proposal(0, None, self.length)
        else:
            found = self.search.choose(self.trials)
            assert found is not None  # a new trial may always start
            choice = found
        number = choice.number
        if number is None:
            number = len(self.trials)
            self.trials.append(freeze_thaw.Curve(number, choice.params or {}, {}, "paused", trusted=trusted))
        self._change(number, until=choice.until, state="running")
        return number, self.space.config_of(self.trials[number].params)

    def _default_is_due(self) -> bool:
        """Whether the epochs that are left are those to the end of the default."""
        if self.default is None or self.trials[0].state != "paused":
            return False
        spent = sum((trial.until or 0) if trial.state == "running" else trial.done for trial in self.trials)
        return spent + self.length - self.trials[0].done + self.rungs[0] > self.budget

    def _change(self, number: int, **values: Any) -> None:
        self.trials[number] = replace(self.trials[number], **values)

    def done(self, trial: int) -> int:
        return self.trials[trial].done

    def report(self, trial: int, epoch: int, value: float) -> bool:
        known = self.trials[trial]
        self._change(trial, values={**known.values, epoch: self.sign * value})
        return epoch >= (known.until or 0)

    def took(self, trial: int, epoch: int, each: float) -> None:
        self._change(trial, seconds=each)

    def finish(self, trial: int, value: float, *, stopped: bool) -> None:
        self._change(trial, state="paused" if stopped else "ended")


Method = Callable[[World, int], Tuner]
CONTROL = "random search, same rungs"
METHODS: dict[str, Method] = {
    "freeze-thaw, default known": lambda world, seed: FreezeThaw(
        world.study, seed, default=world.default, budget=world.budget
    ),
    "freeze-thaw": lambda world, seed: FreezeThaw(world.study, seed),
    "TPE, default known": lambda world, seed: Sampled(
        world.study, seed, sampler="tpe", default=world.default
    ),
    "TPE": lambda world, seed: Sampled(world.study, seed, sampler="tpe"),
    CONTROL: lambda world, seed: Sampled(world.study, seed, sampler="random"),
    "random draws, stopped with foresight": Foresight,
}
PRIORS: dict[str, Method] = {
    "freeze-thaw, after an earlier study": lambda world, seed: FreezeThaw(
        world.study, seed, prior=world.earlier(seed)
    ),
    "freeze-thaw, after a misleading one": lambda world, seed: FreezeThaw(
        world.study, seed, prior=world.earlier(seed, misleading=True)
    ),
}
