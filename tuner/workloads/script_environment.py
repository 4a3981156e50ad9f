"""The environment of a script: the agent's own, and what makes W&B in the script work as in a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from tuner.base.files import make_folder
from tuner.base.wandb_files import MODES, environment, identity

HOOK = Path(__file__).resolve().parent / "child"
EVENTS = "events.jsonl"  # what the hook in the script writes; its content ends up in metrics.jsonl
ONLINE = {"WANDB_INIT_TIMEOUT": "20", "WANDB_FINISH_TIMEOUT": "60"}  # seconds, for a server that went away


def script_environment(
    *,
    study: str,
    mode: Literal["online", "offline", "off"],
    wandb: Path,
    trial: str | None,
    project: str | None,
    entity: str | None,
    parameters: Path,
    secret_arguments: bool,
    run_folder: Path,
    scratch: Path,
    modules: Sequence[str],
    more: Mapping[str, str],
) -> dict[str, str]:
    """All variables of a script: W&B's, and the copies that the hook trusts (`child/sitecustomize.py`).

    Args:
        study: its name, which W&B in the script takes for the id of a sweep.
        wandb: where W&B's files go.
        trial: its number, where it has one; a run of a trial of several has its seed or fold behind it.
        parameters: the file behind `wandb.config`.
        secret_arguments: the arguments are kept out of W&B's description of the run.
        scratch: where the hook leaves what only the tuner reads.
        modules: folders of the script's imports, beside those where Python itself looks.
        more: variables that go before all others.
    """
    make_folder(wandb)
    run = identity(wandb).run_id(trial or "probe")
    found = {
        "PYTHONUNBUFFERED": "1",
        **(ONLINE if mode == "online" else {}),
        **environment(wandb),
        "TUNER_EVENTS": str(scratch / EVENTS),
        "TUNER_RUN_FOLDER": str(run_folder),
        "TUNER_MAIN": "",  # the first Python process of the trial says that it is that
        "PYTHONPATH": os.pathsep.join([str(HOOK), *modules]),
        # a script in a command of its own finds a `python` even where no environment is activated
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]),
        "WANDB_MODE": MODES[mode],
        "WANDB_SWEEP_ID": study,
        "WANDB_RUN_ID": run,
        "WANDB_SWEEP_PARAM_PATH": str(parameters),
        "WANDB_RUN_GROUP": study,
        "WANDB_NAME": study if trial is None else f"{study}-{trial}",
        "WANDB_X_SERVICE_WAIT": "120",  # seconds; W&B's 30 are not enough on an overloaded machine
        "WANDB_CONSOLE": "off",  # the output is in output.log, once
        "TUNER_WANDB_MODE": MODES[mode],
        "TUNER_WANDB_DIR": str(wandb),
        "TUNER_SWEEP_ID": study,
        "TUNER_RUN_ID": run,
    }
    if trial is not None:
        found |= {"TUNER_TRIAL": trial, "WANDB_TAGS": f"trial-{trial}"}
    if project:
        found["WANDB_PROJECT"] = project
    if entity:
        found["WANDB_ENTITY"] = entity
    if secret_arguments:
        found["WANDB_X_DISABLE_META"] = "true"  # it would keep the arguments
    return found | dict(more)


def sweep_parameters(config: Mapping[str, Any]) -> str:
    """What the file behind `wandb.config` holds, $WANDB_SWEEP_PARAM_PATH.

    W&B reads it with PyYAML, to which the 1e-05 of YAML 1.2 is a text, so PyYAML writes it.
    """
    return yaml.safe_dump({name: {"value": value} for name, value in config.items()}, sort_keys=False)
