"""This project's own search and stopping rule, as an agent calls them, on a study in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import optuna

from model.config import Config
from tuner.definition.study_file import StudyFile
from tuner.search import pruners, samplers

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Ours:
    """Searches as an agent does.

    Args:
        study: the file whose space and stopping rule are used.
        sampler: tpe, or random for the control.
        known: whether the first trial is the default configuration, as in every study of our network. The
            study is searched as one of another network otherwise, whose good configurations nobody knows.
    """

    def __init__(self, study: StudyFile, seed: int, *, sampler: str, known: bool) -> None:
        self.file = dataclasses.replace(study, sampler=sampler)
        name = f"{study.name}-{seed}"  # decides Hyperband's brackets, as in practice
        self.pruner = pruners.make(self.file.pruner, name)
        self.study = optuna.create_study(
            study_name=name, direction="maximize", sampler=samplers.make(self.file, seed, known_start=known)
        )
        default = self.file.space.params_for(Config().to_dict(), nearest=True)
        if known:
            self.study.enqueue_trial(default)

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
