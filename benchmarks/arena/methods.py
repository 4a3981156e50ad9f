"""Searches and stopping rules that are compared: ours, as an agent calls them, and plain Optuna."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import optuna
from arena.replay import Tuner, replay
from arena.studies import WORKERS, Method
from arena.worlds import SIDES, World, tasks
from peers import PEERS, Peer

from tuner.search import freeze_thaw, pruners, samplers
from tuner.search.freeze_thaw import Earlier
from tuner.search.thawing import earlier_of

EARLIER = 5  # studies of other tasks
EARLIER_SEED = 1000

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Sampled(Tuner):
    """Searches with a sampler and a pruner, as an agent does, on a study in memory.

    Args:
        sampler: tpe, or random for the control.
        default: the first trial's parameters, where good ones are known.
    """

    def __init__(
        self, world: World, seed: int, *, sampler: str, default: dict[str, Any] | None = None
    ) -> None:
        study = world.study
        self.file = replace(study, sampler=sampler)
        name = f"{study.name}-{seed}"  # decides Hyperband's brackets, as in practice
        self.pruner = pruners.make(self.file.pruner, name)
        self.study = optuna.create_study(
            study_name=name,
            direction=study.metric.goal,
            sampler=samplers.make(self.file, seed, known_start=default is not None),
        )
        self.sign = world.sign
        if default is not None:
            self.study.enqueue_trial(default)

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self.study.ask()
        return trial, self.file.space.suggest(trial)

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        trial.report(self.sign * value, epoch)
        return epoch < (self.file.max_epochs or 0) and self.pruner.should_prune(self.study, trial)

    def finish(self, trial: optuna.Trial, value: float, *, stopped: bool) -> None:
        if stopped:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, self.sign * value)


class Optuna(Sampled):
    """Plain Optuna, called as its loop does: a sampler and a pruner as they come (TPE and Hyperband)."""

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        sampler: Callable[[int], optuna.samplers.BaseSampler] = lambda seed: optuna.samplers.TPESampler(
            seed=seed
        ),
        pruner: optuna.pruners.BasePruner | None = None,
    ) -> None:
        self.space, self.epochs, self.sign = world.distributions, world.epochs, 1.0
        self.study = optuna.create_study(
            study_name=str(seed),  # decides Hyperband's brackets
            direction="maximize",
            sampler=sampler(seed),
            pruner=pruner or optuna.pruners.HyperbandPruner(1, self.epochs),
        )

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self.study.ask(self.space)
        return trial, trial.params

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return epoch < self.epochs and trial.should_prune()


class AllForOne(Tuner):
    """1-Epoch (Egele et al., 2023): random draws train for one epoch, the best FINALISTS to the end."""

    FINALISTS = 10

    def __init__(self, world: World, seed: int) -> None:
        self.draw = freeze_thaw.draws_of(world.study.space, seed)
        self.config_of = world.study.space.config_of
        self.left = world.budget - self.FINALISTS * (world.epochs - 1)
        self.firsts: list[float] = []
        self.params: list[dict[str, Any]] = []
        self.finalists: list[int] | None = None

    def ask(self) -> tuple[int, dict[str, Any]]:
        if len(self.params) < self.left:
            self.params.append(self.config_of(self.draw()))
            self.firsts.append(-math.inf)
            return len(self.params) - 1, self.params[-1]
        if self.finalists is None:
            self.finalists = sorted(range(len(self.firsts)), key=self.firsts.__getitem__)
        number = self.finalists.pop()
        return number, self.params[number]

    def report(self, trial: int, epoch: int, value: float) -> bool:
        if epoch == 1:
            self.firsts[trial] = value
        return epoch == 1

    def finish(self, trial: int, value: float, *, stopped: bool) -> None:
        """Nothing is to be done."""

    def done(self, trial: int) -> int:
        return 0 if self.finalists is None else 1


class Foresight(Sampled):
    """Random draws, of which all that will not end best stop after the first rung: a bound, no tuner.

    Hardly any rule of stopping can be faster with random draws. What reaches the same values in fewer epochs
    has to propose better configurations.
    """

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world, seed, sampler="random")
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
        earlier: earlier studies.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        default: dict[str, Any] | None = None,
        earlier: Sequence[Any] = (),
    ) -> None:
        study = world.study
        self.space, self.length = study.space, world.epochs
        self.sign = world.sign
        self.trials: list[freeze_thaw.Curve] = []
        self.default, self.budget = default, world.budget
        self.rungs = freeze_thaw.rungs_of(self.length)
        self.search = freeze_thaw.FreezeThaw(
            study.space.distributions(),
            maximize=study.metric.goal == "maximize",
            length=self.length,
            rungs=self.rungs,
            earlier=earlier,
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

    def finish(self, trial: int, value: float, *, stopped: bool) -> None:
        self._change(trial, state="paused" if stopped else "ended")


@cache
def earlier_studies(source: str, side: str, task: str) -> Earlier:
    """A study of a task that is over: random search with our stopping rule."""
    world = next(world for world in tasks(source, side) if world.name == task)
    tuner = Sampled(world, EARLIER_SEED, sampler="random")
    replay(tuner, world, budget=world.budget, workers=WORKERS)
    return earlier_of(tuner.study.trials, maximize=world.sign > 0)


def after_others(world: World, seed: int, *, misleading: bool = False) -> FreezeThaw:
    """Freeze-thaw after EARLIER studies of other tasks of the same source, all of the side that chooses.

    Misleading ones call the best values the worst.
    """
    source = world.name.split("/")[0]
    names = [other.name for other in tasks(source, SIDES[0]) if other.name != world.name]
    picked = np.random.default_rng(seed).permutation(names)[:EARLIER]
    earlier = [earlier_studies(source, SIDES[0], str(name)) for name in picked]
    if misleading:
        earlier = [replace(study, maximize=not study.maximize) for study in earlier]
    return FreezeThaw(world, seed, earlier=earlier)


FREEZE_THAW, HISTORY = "freeze-thaw", "freeze-thaw, after five other tasks"
CONTROL, RANDOM = "random search, same rungs", "sampler: random"
OPTUNA, ASHA = "Optuna (TPE, Hyperband)", "ASHA, random draws"
OURS: dict[str, Method] = {
    FREEZE_THAW: FreezeThaw,
    HISTORY: after_others,
    "freeze-thaw, after misleading ones": partial(after_others, misleading=True),
    "TPE": partial(Sampled, sampler="tpe"),
    CONTROL: partial(Sampled, sampler="random"),
}
KNOWN: dict[str, Method] = {  # in worlds of which a default configuration is known
    "freeze-thaw, default known": lambda world, seed: FreezeThaw(world, seed, default=world.default),
    "TPE, default known": lambda world, seed: Sampled(world, seed, sampler="tpe", default=world.default),
}
BOUND = "random draws, stopped with foresight"
OTHERS: dict[str, Method | Peer] = {
    OPTUNA: Optuna,
    "Optuna (GP, Hyperband)": partial(Optuna, sampler=lambda seed: optuna.samplers.GPSampler(seed=seed)),
    ASHA: partial(
        Optuna,
        sampler=lambda seed: optuna.samplers.RandomSampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    ),
    "1-Epoch": AllForOne,
    **{peer.name: peer for peer in PEERS},
    BOUND: Foresight,
}
SAMPLERS = (RANDOM, *(f"sampler: {name}" for name in ("tpe", "gp", "cmaes", "nsgaii", "qmc")))
ENDED: dict[str, Method] = {  # each trial runs to its end: the study's `sampler`, and Optuna as it comes
    **{label: partial(Sampled, sampler=label.removeprefix("sampler: ")) for label in SAMPLERS},
    "Optuna (TPE)": partial(Optuna, pruner=optuna.pruners.NopPruner()),
}
METHODS: dict[str, Method | Peer] = OURS | KNOWN | OTHERS  # where trials can be ended early
ALL = METHODS | ENDED
