"""The functions of a sweep file's `scheduler`: one makes a study of Optuna's to search with, one the space.

As W&B 0.31 calls them: `optimizer(sweep)` returns a study, or a study and a terminator that is asked after
each trial whether it was enough; `search_space(trial)` returns the parameters of a trial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tuner.base.errors import InputError
from tuner.workloads.user_code import load_function, look_at, put_first
from tuner.workloads.workload import Inputs

if TYPE_CHECKING:
    import optuna

    from tuner.definition.study_file import StudyFile


@dataclass(frozen=True)
class Functions:
    """What the functions of a file made; None where it names none."""

    sampler: optuna.samplers.BaseSampler | None = None
    pruner: optuna.pruners.BasePruner | None = None
    is_enough: Callable[[optuna.Study], bool] = lambda study: False
    search_space: Callable[[optuna.Trial], Any] | None = None

    def drawn(self, trial: optuna.Trial) -> dict[str, Any]:
        """The parameters of a trial; none where no function draws them."""
        if self.search_space is None:
            return {}
        from tuner.workloads.objective_trial import ObjectiveTrial  # Optuna, half a second

        found = self.search_space(ObjectiveTrial(trial, {}, lambda step, value: None, open_space=True))
        if not isinstance(found, Mapping):
            raise InputError(f"scheduler.search_space: expected a dictionary, got {type(found).__name__}")
        return dict(found)


def look(file: StudyFile) -> tuple[str, ...]:
    """Looks at the functions in processes of their own; the files that have them, by name and hash.

    Raises:
        InputError: one cannot be imported, or takes something else than one argument.
    """
    found: dict[str, None] = {}
    for key, name in _named(file).items():
        try:
            told = look_at(name, folder=Path(file.path).resolve().parent, key=f"scheduler.{key}")
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from None
        found[Inputs(Path(told["file"]).name, told["digest"]).in_words()] = None
    return tuple(found)


def load(file: StudyFile) -> Functions:
    """Imports and calls them, in a process that runs the user's code.

    Raises:
        InputError: one is not there, or `optimizer` returned something else than W&B expects.
    """
    named, folder = _named(file), Path(file.path).resolve().parent
    if not named:
        return Functions()
    put_first(folder)
    found = {key: load_function(name, folder=folder, key=f"scheduler.{key}") for key, name in named.items()}
    space = found.get("search_space")
    if "optimizer" not in found:
        return Functions(search_space=space)
    study, is_enough = _study(file, found["optimizer"])
    return Functions(study.sampler, study.pruner, is_enough, space)


def _named(file: StudyFile) -> dict[str, str]:
    asked = {"optimizer": file.scheduler.optimizer, "search_space": file.scheduler.search_space}
    return {key: name for key, name in asked.items() if name}


def _study(
    file: StudyFile, optimizer: Callable[..., Any]
) -> tuple[optuna.Study, Callable[[optuna.Study], bool]]:
    """The study that `optimizer` made, whose trials are not used, and its terminator."""
    import optuna

    about = {"id": file.name, "name": file.name, "config": dict(file.raw), "controller_run_name": ""}
    owner = {key: str(file.raw.get(key) or "") for key in ("entity", "project")}
    made = optimizer(SimpleNamespace(**about, **owner))
    study, is_enough = made if isinstance(made, tuple) and len(made) == 2 else (made, lambda study: False)
    where = f"{file.path}: scheduler.optimizer '{file.scheduler.optimizer}'"
    if not isinstance(study, optuna.Study) or not callable(is_enough):
        raise InputError(
            f"{where}: expected an optuna.Study, or one and a terminator, got {type(made).__name__}"
        )
    goals = [metric.goal for metric in file.objectives]
    if (theirs := [direction.name.lower() for direction in study.directions]) != goals:
        raise InputError(
            f"{where}: its study is to {' and '.join(theirs)}, the file to {' and '.join(goals)}"
        )
    if study.trials:
        raise InputError(
            f"{where}: its study has trials, which are not taken over; configurations to try first are for "
            "tuner: {first: …}, results for tuner import"
        )
    return study, is_enough
