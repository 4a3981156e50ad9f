"""Optuna's objectives run as they are: `objective(trial)`, whose parameters are those of the study file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import FixedTrial

from tuner.base.endings import Pruned
from tuner.base.errors import InputError
from tuner.base.nested import leaves


class ObjectiveTrial(FixedTrial):
    """What a function whose first parameter is called `trial` is given.

    `suggest_…` returns the value that the study has drawn; its bounds are the study file's. `report` and
    `should_prune` are the study's.

    Args:
        report: told `(step, value)`; may raise Pruned, which `should_prune` then says.
    """

    def __init__(self, config: Mapping[str, Any], report: Callable[[int, Any], None]) -> None:
        self._values = {**config, **dict(leaves(config))}
        super().__init__(self._values)
        self._tell = report
        self.pruned: Pruned | None = None

    def suggest_float(self, name: str, *arguments: Any, **options: Any) -> float:
        return super().suggest_float(self._known(name), *arguments, **options)

    def suggest_int(self, name: str, *arguments: Any, **options: Any) -> int:
        return super().suggest_int(self._known(name), *arguments, **options)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:  # type: ignore[override]
        return super().suggest_categorical(self._known(name), choices)

    def report(self, value: float, step: int) -> None:
        try:
            self._tell(step, value)
        except Pruned as error:
            self.pruned = error

    def should_prune(self) -> bool:
        return self.pruned is not None

    def _known(self, name: str) -> str:
        if name not in self._values:
            names = ", ".join(self._values) or "none"
            raise InputError(
                f"the objective asks for '{name}', which is not a parameter of the study (there are: {names})"
            )
        return name
