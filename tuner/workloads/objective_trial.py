"""Optuna's objectives run as they are: `objective(trial)`, with a trial that is one of Optuna's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial, Trial

from tuner.base.endings import Pruned
from tuner.base.errors import InputError
from tuner.base.nested import leaves
from tuner.storage import optuna_private
from tuner.storage.attributes import OF_STUDY, OF_TRIAL
from tuner.storage.study import OpenStudy, Stop

DOES = "the tuner does it; the study file says how"
REFUSED = {
    "ask": DOES,
    "tell": DOES,
    "optimize": DOES,
    "enqueue_trial": "queue a configuration with: tuner enqueue",
    "add_trial": "add results with: tuner import",
    "add_trials": "add results with: tuner import",
    "set_metric_names": "the study file names the metrics",
}


class ObjectiveStudy(optuna.Study):
    """`trial.study`: all of a study may be read. `stop()` and user attributes may be written."""

    def __init__(self, study: optuna.Study) -> None:
        super().__init__(
            study.study_name, optuna_private.storage_of(study), sampler=study.sampler, pruner=study.pruner
        )
        self._mine = study

    @property
    def user_attrs(self) -> dict[str, Any]:
        return {name: value for name, value in super().user_attrs.items() if name not in OF_STUDY}

    def set_user_attr(self, key: str, value: Any) -> None:
        super().set_user_attr(_free(key, OF_STUDY), value)

    def stop(self) -> None:
        """No further trial starts."""
        if isinstance(self._mine, OpenStudy):
            self._mine.ask_to_stop(Stop("the objective"))


def _refused(name: str, otherwise: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise InputError(f"trial.study.{name}: not from within a trial: {otherwise}")

    return refuse


for _name, _otherwise in REFUSED.items():
    setattr(ObjectiveStudy, _name, _refused(_name, _otherwise))


class ObjectiveTrial(Trial):
    """What an objective of Optuna's is given: the trial itself, all of which may be asked.

    `suggest_…` returns the value that the study has drawn for a parameter of the study file, whose bounds are
    those of the file. Where the file names no parameters, the objective's own bounds are the space.
    `report` and `should_prune` are the study's.

    Args:
        trial: the one that runs; None: there is none (a probe), and a study in memory makes one.
        config: values that are given.
        open_space: the study file names no parameters.
        report: told `(step, value)`; may raise Pruned, which `should_prune` then says.
    """

    def __init__(
        self,
        trial: Trial | None,
        config: Mapping[str, Any],
        report: Callable[[int, Any], None],
        *,
        open_space: bool,
    ) -> None:
        vars(self).update(vars(trial or optuna.create_study(storage=optuna.storages.InMemoryStorage()).ask()))
        self.study = ObjectiveStudy(self.study)
        self._values = {**config, **dict(leaves(config))}
        self._given = FixedTrial(self._values, number=self.number)
        self._open_space = open_space
        self._tell = report
        self.pruned: Pruned | None = None

    def suggest_float(self, name: str, *arguments: Any, **options: Any) -> Any:
        return self._source(name).suggest_float(name, *arguments, **options)

    def suggest_int(self, name: str, *arguments: Any, **options: Any) -> Any:
        return self._source(name).suggest_int(name, *arguments, **options)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:  # type: ignore[override]
        return self._source(name).suggest_categorical(name, choices)

    @property
    def drawn(self) -> dict[str, Any]:
        """The values of parameters that the objective itself brought into the study."""
        return super().params if self._open_space else {}

    @property
    def params(self) -> dict[str, Any]:
        return {**self.drawn, **self._given.params}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {**(super().distributions if self._open_space else {}), **self._given.distributions}

    @property
    def user_attrs(self) -> dict[str, Any]:
        return {name: value for name, value in super().user_attrs.items() if name not in OF_TRIAL}

    def set_user_attr(self, key: str, value: Any) -> None:
        super().set_user_attr(_free(key, OF_TRIAL), value)

    def report(self, value: float, step: int) -> None:
        try:
            self._tell(step, value)
        except Pruned as error:
            self.pruned = error

    def should_prune(self) -> bool:
        return self.pruned is not None

    def _source(self, name: str) -> Any:
        """What has the value of a parameter; InputError where the study has parameters, but not this one."""
        if not (self._open_space or name in self._values):
            names = ", ".join(self._values) or "none"
            raise InputError(
                f"the objective asks for '{name}', which is not a parameter of the study (there are: {names})"
            )
        return self._given if name in self._values else super()


def _free(name: str, own: frozenset[str]) -> str:
    """`name`, where it is not one of the tuner's own attributes."""
    if name in own:
        raise InputError(f"the user attribute '{name}' is the tuner's own: choose another name")
    return name
