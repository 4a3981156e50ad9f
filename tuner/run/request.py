"""What was asked for: a study to run, and how. `plan` makes of it what will be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.run.agent.order import Work
from tuner.run.executors.choice import ExecutorChoice
from tuner.tracking.mode import Mode


@dataclass(frozen=True)
class Request(Work):
    """A study to run, and how.

    Attributes:
        trials: finished trials wanted; None: the study's own number.
        agents: None: what the executor says; on this machine one a GPU that trials use, else one a core.
        data: what the trials read (a data set's folder, a bundle); None: the only one there is.
        overrides: values of the configuration that hold whatever the study says.
        base: values below those of the study, in place of those that its file names.
        executor: where the agents run.
        conclude: let the workload make of the winner what follows from it; False where the caller does.
        artifacts: URL of the artefact store; None: the one that the study was begun with, if any.
    """

    trials: int | None = None
    agents: int | None = None
    timeout: float | None = None
    data: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, Any] | None = None
    fresh: bool = False
    conclude: bool = True
    wandb: Mode = "auto"
    wandb_artifacts: bool = False
    artifacts: str | None = None
    executor: ExecutorChoice = field(default_factory=ExecutorChoice)
