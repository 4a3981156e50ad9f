"""A network that reads a mill's sensors: data sets, the network, and one training run (`model.train`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner.base.errors import InputError, Pruned, TrainingFailed, WorkFailed

if TYPE_CHECKING:
    from model.trainer import train

__all__ = ["InputError", "Pruned", "TrainingFailed", "WorkFailed", "train"]


def __getattr__(name: str) -> Any:
    # torch takes a second to import; `import model` does not pay for it, `model.train` does.
    if name == "train":
        from model.trainer import train

        return train
    raise AttributeError(f"module 'model' has no attribute '{name}'")
