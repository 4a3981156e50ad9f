"""The environment of a script: the agent's own, and what makes W&B in the script work as in a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuner.base.files import make_folder
from tuner.base.wandb_files import MODES, environment, identity

HOOK = Path(__file__).resolve().parent / "child"
EVENTS = "events.jsonl"  # what the hook in the script writes; its content ends up in metrics.jsonl
ONLINE = {"WANDB_INIT_TIMEOUT": "20", "WANDB_FINISH_TIMEOUT": "60"}  # seconds, for a server that went away


@dataclass(frozen=True)
class WandbSession:
    """What W&B in a script is told.

    Attributes:
        sweep: the study's name; W&B in the script takes it for the id of a sweep.
        folder: where its files go.
        parameters: the file behind `wandb.config`.
        trial: its number, where it has one; a run of a trial of several has its seed or fold behind it.
        secret_arguments: its arguments are kept out of W&B's description of the run.
    """

    mode: Literal["online", "offline", "off"]
    sweep: str
    folder: Path
    parameters: Path
    trial: str | None
    project: str | None
    entity: str | None
    secret_arguments: bool

    def variables(self) -> dict[str, str]:
        """The variables of W&B, and the copies that the hook trusts (`child/sitecustomize.py`)."""
        make_folder(self.folder)
        kind = MODES[self.mode]
        run = identity(self.folder).run_id(self.trial or "probe")
        name = self.sweep if self.trial is None else f"{self.sweep}-{self.trial}"
        found = {
            "WANDB_MODE": kind,
            "WANDB_SWEEP_ID": self.sweep,
            "WANDB_RUN_ID": run,
            "WANDB_SWEEP_PARAM_PATH": str(self.parameters),
            "WANDB_RUN_GROUP": self.sweep,
            "WANDB_NAME": name,
            "WANDB_X_SERVICE_WAIT": "120",  # seconds; W&B's 30 are not enough on an overloaded machine
            "WANDB_CONSOLE": "off",  # the output is in output.log, once
            "TUNER_WANDB_MODE": kind,
            "TUNER_WANDB_DIR": str(self.folder),
            "TUNER_SWEEP_ID": self.sweep,
            "TUNER_RUN_ID": run,
        }
        if self.trial is not None:
            found |= {"TUNER_TRIAL": str(self.trial), "WANDB_TAGS": f"trial-{self.trial}"}
        if self.project:
            found["WANDB_PROJECT"] = self.project
        if self.entity:
            found["WANDB_ENTITY"] = self.entity
        if self.secret_arguments:
            found["WANDB_X_DISABLE_META"] = "true"  # it would keep the arguments
        return found


def script_environment(
    session: WandbSession,
    *,
    run_folder: Path,
    scratch: Path,
    modules: Sequence[str],
    more: Mapping[str, str],
) -> dict[str, str]:
    """All variables of a script.

    Args:
        scratch: where the hook leaves what only the tuner reads.
        modules: folders of its imports, beside those where Python itself looks.
        more: variables that go before all others.
    """
    own = {
        "TUNER_EVENTS": str(scratch / EVENTS),
        "TUNER_RUN_FOLDER": str(run_folder),
        "PYTHONPATH": os.pathsep.join([str(HOOK), *modules]),
        # a script in a command of its own finds a `python` even where no environment is activated
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]),
    }
    online = ONLINE if session.mode == "online" else {}
    before = {"PYTHONUNBUFFERED": "1"} | online
    return before | environment(session.folder) | own | session.variables() | dict(more)
