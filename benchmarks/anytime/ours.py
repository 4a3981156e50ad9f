"""This project's own search and stopping rule, as an agent calls them, on a study in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import optuna
import replay

from model.config import Config
from tuner import pruners, samplers
from tuner.study_file import StudyFile

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Ours:
    """Args: study: the file whose sampler and pruner are compared; changes: fields of it to replace."""

    def __init__(self, study: StudyFile, seed: int, **changes: Any) -> None:
        self.file = dataclasses.replace(study, **changes)
        name = f"{study.name}-{seed}"  # decides Hyperband's brackets, as in practice
        self.pruner = pruners.make(self.file.pruner, name)
        self.study = optuna.create_study(
            study_name=name, direction="maximize", sampler=samplers.make(self.file, seed)
        )
        default = self.file.space.params_for(Config().to_dict(), nearest=True)
        self.study.enqueue_trial(default)  # as every study of ours begins

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self.study.ask()
        return trial, self.file.space.suggest(trial)

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return epoch < (self.file.max_epochs or 0) and self.pruner.should_prune(self.study, trial)

    def finish(self, trial: optuna.Trial, value: float, *, stopped: bool) -> None:
        if stopped:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, value)


def traces(study: StudyFile, task: dict[str, Any], **changes: Any) -> list[list[float]]:
    """The best value after each epoch, a list a seed."""
    world = replay.World(task)
    return [
        replay.replay(Ours(study, seed, **changes), world, budget=task["budget"], workers=task["workers"])
        for seed in range(task["seeds"])
    ]
