"""This project's own search and stopping rules, as an agent calls them, on a study in memory."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import optuna
import replay
from worlds import World

from tuner.definition.study_file import StudyFile
from tuner.search import freeze_thaw, pruners, samplers

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Ours(replay.Tuner):
    """Searches with a sampler and a pruner, as an agent does.

    Args:
        study: the file whose space and stopping rule are used.
        sampler: tpe, or random for the control.
        default: the first trial's parameters, where good ones are known.
    """

    def __init__(
        self, study: StudyFile, seed: int, *, sampler: str, default: dict[str, Any] | None = None
    ) -> None:
        self.file = dataclasses.replace(study, sampler=sampler)
        name = f"{study.name}-{seed}"  # decides Hyperband's brackets, as in practice
        self.pruner = pruners.make(self.file.pruner, name)
        self.study = optuna.create_study(
            study_name=name,
            direction=study.metric.goal,
            sampler=samplers.make(self.file, seed, known_start=default is not None),
        )
        self.sign = sign_of(study)
        if default is not None:
            self.study.enqueue_trial(default)

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self.study.ask()
        return trial, self.file.space.suggest(trial)

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        trial.report(self.sign * value, epoch)
        return epoch < (self.file.max_epochs or 0) and self.pruner.should_prune(self.study, trial)

    def took(self, trial: optuna.Trial, epochs: int, each: float) -> None:
        """Tells what the epochs of a trial have taken so far, as an agent does at its end."""
        trial.set_user_attr("seconds", epochs * each)

    def finish(self, trial: optuna.Trial, value: float, *, stopped: bool) -> None:
        if stopped:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, self.sign * value)


class Foresight(Ours):
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


@dataclasses.dataclass
class _Trial:
    """A trial of freeze-thaw search: what a `Curve` is made of."""

    number: int
    params: dict[str, Any]
    until: int
    state: str = "running"
    values: dict[int, float] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    trusted: bool = False


class FreezeThaw(replay.Tuner):
    """Searches with freeze-thaw: trials pause at rungs.

    Args:
        default: the first trial's parameters, where such are known. It is run to its end at last.
        budget: epochs of the whole study.
    """

    def __init__(
        self,
        study: StudyFile,
        seed: int,
        *,
        default: dict[str, Any] | None = None,
        budget: int = 0,
        **options: Any,
    ) -> None:
        self.space, self.length, self.sign = study.space, study.max_epochs or 1, sign_of(study)
        self.trials: list[_Trial] = []
        self.default, self.budget = default, budget
        self.rungs = list(options.pop("rungs", freeze_thaw.rungs_of(self.length)))
        self.search = freeze_thaw.FreezeThaw(
            study.space.distributions(),
            maximize=study.metric.goal == "maximize",
            length=self.length,
            rungs=self.rungs,
            **options,
            draw=freeze_thaw.draws_of(study.space, seed),
            mend=freeze_thaw.mends_of(study.space),
            seed=seed,
        )

    def ask(self) -> tuple[_Trial, dict[str, Any]]:
        if self.default is not None and not self.trials:
            choice = freeze_thaw.Choice(None, self.default, self.rungs[0])
        elif self._default_is_due():
            choice = freeze_thaw.Choice(0, None, self.length)
        else:
            found = self.search.choose([freeze_thaw.Curve(**vars(trial)) for trial in self.trials])
            assert found is not None  # a new trial may always start
            choice = found
        if choice.number is None:
            trial = _Trial(len(self.trials), choice.params or {}, choice.until)
            trial.trusted = self.default is not None and not self.trials
            self.trials.append(trial)
        else:
            trial = self.trials[choice.number]
            trial.until, trial.state = choice.until, "running"
        return trial, self.space.config_of(trial.params)

    def _default_is_due(self) -> bool:
        """Whether the epochs that are left are those to the end of the default."""
        if self.default is None or self.trials[0].state != "paused":
            return False
        spent = sum(trial.until if trial.state == "running" else self.done(trial) for trial in self.trials)
        return spent + self.length - self.done(self.trials[0]) + self.rungs[0] > self.budget

    def done(self, trial: _Trial) -> int:
        return max(trial.values, default=0)

    def report(self, trial: _Trial, epoch: int, value: float) -> bool:
        trial.values[epoch] = self.sign * value
        return epoch >= trial.until

    def took(self, trial: _Trial, epochs: int, each: float) -> None:
        """Tells what an epoch of a trial takes."""
        trial.seconds = each

    def finish(self, trial: _Trial, value: float, *, stopped: bool) -> None:
        trial.state = "paused" if stopped else "ended"


def sign_of(study: StudyFile) -> float:
    """What turns the metric into a value that the replay can maximise, and back."""
    return 1.0 if study.metric.goal == "maximize" else -1.0
