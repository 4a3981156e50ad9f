"""A network that reads a mill's sensors: data sets, the network, and one training run (`model.train`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.trainer import train
    from tuner.base.endings import Pruned
    from tuner.base.errors import InputError, TrainingFailed, WorkFailed

__all__ = ["InputError", "Pruned", "TrainingFailed", "WorkFailed", "train"]


def __getattr__(name: str) -> Any:
    # torch takes a second to import; `import model` does not pay for it, `model.train` does. `tuner` waits,
    # as `tuner model` runs this file while the user's folder, with a `tuner.py` of its own, comes first.
    if name == "train":
        from model.trainer import train

        return train
    if name in __all__:
        from tuner.base import errors

        return getattr(errors, name)
    raise AttributeError(f"module 'model' has no attribute '{name}'")
