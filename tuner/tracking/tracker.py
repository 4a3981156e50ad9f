"""Weights & Biases runs of a study's trials, kept at arm's length.

A trial must neither wait for its tracker nor fail because of it. So W&B lives in a process of its own
(`tuner.tracking.worker`, one for each agent), fed with JSON lines through a pipe that never blocks:
whatever happens there (no network, full disk, a killed service), the trial goes on, and `metrics.jsonl` in
its run folder is whole. A killed agent closes the pipe, and the worker then finishes its runs in order.

    tracker = open_tracker("auto", study_name="loss_weighting", results=Path("results"))
    run = tracker.start(3, config, "loss_weighting-3", tags=("trial-3",))
    run.log(0, {"val/loss": 0.7})
    run.finish("complete", {"val/loss": 0.7})
    tracker.close()

The mode is resolved once a study, by `open_tracker` in the parent; the tracker is then pickled to the agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tuner.base.wandb_files import Identity, identity, wandb_folder
from tuner.tracking.mode import Mode, resolve
from tuner.tracking.process import WorkerProcess

TrialState = Literal["complete", "pruned", "failed"]

MAX_WORKERS = 3  # workers started before a tracker gives up: one, and two that replace a dead one


class RunTracker(Protocol):
    """One trial's run. No method raises, none waits."""

    def log(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Adds one epoch's metrics."""

    def finish(self, state: TrialState, summary: Mapping[str, Any]) -> None:
        """Ends the run."""


class Tracker(Protocol):
    """Makes the runs of one study. `reason` is one line that says why the mode is what it is."""

    @property
    def mode(self) -> Literal["online", "offline", "off"]: ...

    @property
    def reason(self) -> str: ...

    @property
    def inner(self) -> Literal["online", "offline", "off"]:
        """The mode of W&B runs that the trials make themselves."""

    def start(
        self, number: int, config: Mapping[str, Any], name: str, tags: Sequence[str] = ()
    ) -> RunTracker:
        """Begins the run of trial `number`."""

    def close(self, *, timeout: float = 20.0) -> None:
        """Lets what is under way end, for at most `timeout` seconds."""


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
    """The tracker of a study, its mode resolved once (a few seconds at most when the server is not there).

    Args:
        mode: "auto" is online with a key and a reachable server, offline otherwise; "online" asks for the
            server but goes on offline without it; "off" is a null object.
        project: W&B project (default "gcode-tuner"); `entity`: W&B team or user (default: the key's own).
        artifacts: online, each run's folder is uploaded with it.
        external: the study runs somebody's script, which makes its own W&B runs; ours would double them.
            They are written in the same mode (`Tracker.inner`).
    """
    folder = wandb_folder(results, study_name)
    resolved, reason = resolve(mode)
    try:
        if resolved != "off":
            own = identity(folder, project=project, entity=entity)
    except OSError as error:
        return NullTracker(f"W&B off: {folder} cannot be written ({error.strerror})")
    if resolved == "off":
        return NullTracker(reason)
    if external:
        return NullTracker(f"the script's own runs: {reason}", inner=resolved)
    runs = results.resolve() / "runs" / study_name if artifacts else None
    return WandbTracker(resolved, reason, study_name, folder, own, runs)


@dataclass(frozen=True)
class NullTracker:
    """Tracks nothing: the same code runs with and without W&B."""

    reason: str
    mode: Literal["online", "offline", "off"] = "off"
    inner: Literal["online", "offline", "off"] = "off"

    def start(
        self, number: int, config: Mapping[str, Any], name: str, tags: Sequence[str] = ()
    ) -> RunTracker:
        return NullRun()

    def close(self, *, timeout: float = 20.0) -> None:
        return None


class NullRun:
    """The run of a `NullTracker`."""

    def log(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        return None

    def finish(self, state: TrialState, summary: Mapping[str, Any]) -> None:
        return None


@dataclass
class WandbTracker:
    """Writes runs through a worker process, started with the first run of this process.

    Attributes:
        runs: the folder of run folders, where those are to be uploaded.
    """

    mode: Literal["online", "offline", "off"]
    reason: str
    study_name: str
    folder: Path
    identity: Identity
    runs: Path | None = None
    inner: Literal["online", "offline", "off"] = "offline"  # a run of ours goes online; one is enough
    _worker: WorkerProcess | None = field(default=None, repr=False)
    _started: int = 0

    def start(
        self, number: int, config: Mapping[str, Any], name: str, tags: Sequence[str] = ()
    ) -> RunTracker:
        if (self._worker is None or self._worker.broken) and self._started < MAX_WORKERS:
            self._started += 1
            settings = {
                "mode": self.mode,
                "project": self.identity.project,
                "entity": self.identity.entity,
                "group": self.study_name,
            }
            self._worker = WorkerProcess(self.folder, settings)
        identifier = self.identity.run_id(number)
        message = {"id": identifier, "config": dict(config), "name": name, "tags": list(tags)}
        run = WandbRun(number, self._worker, None if self.runs is None else self.runs / str(number))
        run.send("start", message)
        return run

    def close(self, *, timeout: float = 20.0) -> None:
        if self._worker is not None:
            self._worker.close(timeout)
        self._worker = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy sent to another process starts its own worker."""
        return {**self.__dict__, "_worker": None, "_started": 0}


@dataclass(frozen=True)
class WandbRun:
    """One trial's run, by messages to the worker."""

    number: int
    worker: WorkerProcess | None
    artifact: Path | None = None

    def log(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        self.send("log", {"epoch": epoch, "metrics": dict(metrics)})

    def finish(self, state: TrialState, summary: Mapping[str, Any]) -> None:
        where = str(self.artifact) if self.artifact is not None and self.artifact.exists() else None
        self.send("finish", {"state": state, "summary": dict(summary), "artifact": where})

    def send(self, action: str, content: Mapping[str, Any]) -> None:
        if self.worker is not None:
            self.worker.send({"do": action, "number": self.number, **content})
