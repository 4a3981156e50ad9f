"""Hyperparameter studies of a function, a script or a network: sampled, pruned, run by agents, reported.

    import tuner

    found = tuner.study(train, {"lr": tuner.log(1e-4, 1e-1)}, metric="loss", trials=20)
    print(found.best)

What follows is imported when it is first used: `import tuner` alone costs nothing.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import (
        InputError,
        Pruned,
        Results,
        RunFolder,
        StudyResult,
        Trial,
        WorkFailed,
        Workload,
        ask,
        log,
        normal,
        results,
        steps,
        study,
        tell,
        wandb_sweeps,
    )  # fmt: skip

__all__ = [
    "InputError", "Pruned", "Results", "RunFolder", "StudyResult", "Trial", "WorkFailed", "Workload",
    "ask", "log", "normal", "results", "steps", "study", "tell", "wandb_sweeps",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tuner' has no attribute '{name}'")
    with warnings.catch_warnings():  # tqdm, which Optuna imports, misses ipywidgets in a notebook
        warnings.filterwarnings("ignore", "IProgress not found")
        from tuner import api

    found = globals()[name] = getattr(api, name)
    return found


def __dir__() -> list[str]:
    return sorted([*(name for name in globals() if name.startswith("__")), *__all__])
