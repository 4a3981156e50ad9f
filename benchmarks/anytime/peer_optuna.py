"""Plain Optuna: its TPE sampler and its Hyperband pruner as they come, called as its loop does."""

from __future__ import annotations

from typing import Any

import optuna
import replay

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Optuna(replay.Tuner):
    def __init__(self, world: replay.World, seed: int) -> None:
        self.space, self.epochs = world.space, world.epochs
        self.study = optuna.create_study(
            study_name=str(seed),  # decides Hyperband's brackets
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.HyperbandPruner(
                min_resource=1, max_resource=self.epochs, reduction_factor=3
            ),
        )

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self.study.ask()
        return trial, {axis["name"]: self.suggest(trial, axis) for axis in self.space}

    @staticmethod
    def suggest(trial: optuna.Trial, axis: dict[str, Any]) -> Any:
        if "choices" in axis:
            return trial.suggest_categorical(axis["name"], axis["choices"])
        if axis["integer"]:
            return trial.suggest_int(axis["name"], axis["low"], axis["high"])
        return trial.suggest_float(axis["name"], axis["low"], axis["high"], log=axis["log"])

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        trial.report(value, epoch)
        return epoch < self.epochs and trial.should_prune()

    def finish(self, trial: optuna.Trial, value: float, *, stopped: bool) -> None:
        if stopped:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, value)


if __name__ == "__main__":
    replay.main(Optuna)
