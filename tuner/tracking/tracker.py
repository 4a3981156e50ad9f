"""Writes the trials of a study as Weights & Biases runs, in a separate process.

A trial must not wait for W&B or fail because of it. So the W&B client runs in its own process
(`tuner.tracking.worker`, one per agent) and receives JSON lines through a pipe that never blocks. If W&B
fails (no network, full disk, a killed service), the trial continues, and `metrics.jsonl` in its run folder is
complete. If an agent is killed, the pipe closes, and the worker finishes its runs properly.

    tracker = open_tracker("auto", study_name="loss_weighting", results=Path("results"))
    run = tracker.start(3, config, "loss_weighting-3", tags=("trial-3",))
    run.log(0, {"val/loss": 0.7})
    run.finish("complete", {"val/loss": 0.7})
    tracker.close()

`open_tracker` runs once per study, in the parent process. The tracker is then pickled and sent to the agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tuner.base.wandb_files import Identity, identity, wandb_folder
from tuner.tracking.mode import Mode, Resolved, resolve
from tuner.tracking.process import WorkerProcess

TrialState = Literal["complete", "pruned", "failed"]

MAX_WORKERS = 3  # a tracker starts one worker and replaces it at most twice


@dataclass(frozen=True)
class RunTracker:
    """The run of one trial: messages to the worker; None: it goes nowhere. No method raises or waits."""

    number: int
    worker: WorkerProcess | None = None
    artifact: Path | None = None

    def log(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Adds one epoch's metrics."""
        self.send("log", {"epoch": epoch, "metrics": dict(metrics)})

    def finish(self, state: TrialState, summary: Mapping[str, Any]) -> None:
        """Ends the run."""
        where = str(self.artifact) if self.artifact is not None and self.artifact.exists() else None
        self.send("finish", {"state": state, "summary": dict(summary), "artifact": where})

    def send(self, action: str, content: Mapping[str, Any]) -> None:
        if self.worker is not None:
            self.worker.send({"do": action, "number": self.number, **content})


@dataclass
class Tracker:
    """Makes the runs of one study; this one makes none, so that callers need no special case for "no W&B".

    Attributes:
        reason: explains the mode in one line.
        inner: the mode of W&B runs that the trials make themselves.
    """

    reason: str
    mode: Resolved = "off"
    inner: Resolved = "off"

    def start(
        self, number: int, config: Mapping[str, Any], name: str, tags: Sequence[str] = ()
    ) -> RunTracker:
        """Starts the run of trial `number`."""
        return RunTracker(number)

    def close(self, *, timeout: float = 20.0) -> None:
        """Waits for open runs to finish, at most `timeout` seconds."""


def open_tracker(
    mode: Mode,
    *,
    study_name: str,
    results: Path,
    project: str | None = None,
    entity: str | None = None,
    external: bool = False,
    artifacts: bool = False,
) -> Tracker:
    """Returns the tracker of a study. Takes a few seconds if the server does not answer.

    Args:
        mode: "auto" and "online" are online with a key and a reachable server, otherwise offline. "auto" also
            obeys WANDB_MODE. "off" tracks nothing.
        project: W&B project (default "gcode-tuner"); `entity`: W&B team or user (default: the key's own).
        artifacts: online, each run's folder is uploaded with it.
        external: the study runs somebody's script, which makes its own W&B runs; ours would double them.
            They are written in the same mode (`Tracker.inner`).
    """
    resolved, reason = resolve(mode)
    if resolved == "off":
        return Tracker(reason)
    folder = wandb_folder(results, study_name)
    try:
        own = identity(folder, project=project, entity=entity)
    except OSError as error:
        return Tracker(f"W&B off: {folder} cannot be written ({error.strerror})")
    if external:
        return Tracker(f"the script's own runs: {reason}", inner=resolved)
    runs = results.resolve() / "runs" / study_name if artifacts else None
    return WandbTracker(
        reason=reason, mode=resolved, study_name=study_name, folder=folder, identity=own, runs=runs
    )


@dataclass(kw_only=True)
class WandbTracker(Tracker):
    """Writes runs through a worker process. The first run starts the worker.

    Attributes:
        runs: the parent of the run folders if they should be uploaded, otherwise None.
    """

    study_name: str
    folder: Path
    identity: Identity
    runs: Path | None = None
    inner: Resolved = "offline"  # a run of ours goes online; one is enough
    _worker: WorkerProcess | None = field(default=None, repr=False)
    _started: int = 0

    def start(
        self, number: int, config: Mapping[str, Any], name: str, tags: Sequence[str] = ()
    ) -> RunTracker:
        if (self._worker is None or self._worker.broken) and self._started < MAX_WORKERS:
            self._started += 1
            own = {"project": self.identity.project, "entity": self.identity.entity}
            self._worker = WorkerProcess(self.folder, {"mode": self.mode, "group": self.study_name, **own})
        identifier = self.identity.run_id(number)
        message = {"id": identifier, "config": dict(config), "name": name, "tags": list(tags)}
        run = RunTracker(number, self._worker, None if self.runs is None else self.runs / str(number))
        run.send("start", message)
        return run

    def close(self, *, timeout: float = 20.0) -> None:
        if self._worker is not None:
            self._worker.close(timeout)
        self._worker = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickles without the worker: a copy in another process starts its own."""
        return {**self.__dict__, "_worker": None, "_started": 0}
