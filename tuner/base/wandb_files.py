"""The folder of a study's W&B files, and the environment that makes the W&B client use it."""

from __future__ import annotations

import os
from pathlib import Path

INHERITED = ("WANDB_SERVICE", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME")
"""Variables of a surrounding W&B session. Our runs would join that session if they saw them."""


def wandb_folder(results: Path, study_name: str) -> Path:
    """The folder of a study's W&B files and of the W&B client's caches."""
    return results.resolve() / "wandb" / study_name


def environment(folder: Path) -> dict[str, str]:
    """The environment for a W&B client that writes everything, also its caches, to `folder`."""
    inherited = {name: value for name, value in os.environ.items() if name not in INHERITED}
    own = {
        "WANDB_DIR": folder,
        "WANDB_DATA_DIR": folder / "data",
        "WANDB_CACHE_DIR": folder / "cache",
        "WANDB_ARTIFACT_DIR": folder / "artifacts",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }
    return inherited | {name: str(value) for name, value in own.items()}
