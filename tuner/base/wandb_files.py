"""Where W&B's files of a study lie, which runs are its own, and the environment of its client."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuner.base.files import make_folder, read_json, write_json

MODES: Mapping[Literal["online", "offline", "off"], str] = {
    "online": "online",
    "offline": "offline",
    "off": "disabled",
}
"""Our words for how runs are written, and W&B's (WANDB_MODE)."""

INHERITED = ("WANDB_SERVICE", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME")
"""Variables of a surrounding W&B session. Our runs would join that session if they saw them."""


IDENTITY = "identity.json"  # in a study's W&B folder


def wandb_folder(results: Path, study_name: str) -> Path:
    """The folder of a study's W&B files and of the W&B client's caches."""
    return results.resolve() / "wandb" / study_name


def environment(folder: Path) -> dict[str, str]:
    """The environment for a W&B client that writes everything, also its caches, to `folder`."""
    inherited = {name: value for name, value in os.environ.items() if name not in INHERITED}
    return inherited | places(folder)


def places(folder: Path) -> dict[str, str]:
    """The variables that keep a W&B client's files, caches included, in `folder`."""
    own = {
        "WANDB_DIR": folder,
        "WANDB_DATA_DIR": folder / "data",
        "WANDB_CACHE_DIR": folder / "cache",
        "WANDB_ARTIFACT_DIR": folder / "artifacts",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }
    return {name: str(value) for name, value in own.items()}


@dataclass(frozen=True)
class Identity:
    """Which runs are a study's: its W&B project, and what its runs' ids begin with."""

    salt: str
    project: str = "gcode-tuner"
    entity: str | None = None

    def owns(self, run_folder: str) -> bool:
        """Whether a W&B run folder of this name is one of a trial of the study."""
        return f"-{self.salt}-" in run_folder

    def run_id(self, number: int | str) -> str:
        """The id of trial `number`: the same whenever it is asked, so that nothing is uploaded twice."""
        return f"{self.salt}-{number}"


def identity_if_kept(folder: Path) -> Identity | None:
    """The identity in a study's W&B folder; None if there is none yet."""
    return Identity(**read_json(folder / IDENTITY)) if (folder / IDENTITY).exists() else None


def identity(folder: Path, *, project: str | None = None, entity: str | None = None) -> Identity:
    """A study's identity, made once and kept in its W&B folder; a `project` or `entity` given replaces it.

    The salt tells the study from others of its name, in the same W&B project but in other results folders.
    """
    path = folder / IDENTITY
    kept = read_json(path) if path.exists() else {"salt": uuid.uuid4().hex[:10]}
    given = {"project": project, "entity": entity}
    own = kept | {name: value for name, value in given.items() if value is not None}
    if own != kept or not path.exists():
        make_folder(folder)
        write_json(path, own)
    return Identity(**own)
