"""Weights & Biases runs of a study's trials, kept at arm's length.

A trial must neither wait for its tracker nor fail because of it. So W&B lives in a process of its own
(`tuner.tracking_worker`, one for each agent), fed with JSON lines through a pipe that never blocks:
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

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from model.run_folder import read_json, write_json
from tuner.tracking_mode import Mode, resolve

TrialState = Literal["complete", "pruned", "failed"]

INHERITED = ("WANDB_SERVICE", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME")
"""Variables of a surrounding W&B session that would tie our runs to it."""

MAX_WAITING = 20_000  # messages kept for a worker that does not read; past that it is taken for dead
MAX_WORKERS = 3  # workers started before a tracker gives up: one, and two that replace a dead one

PACKAGES = str(
    Path(__file__).resolve().parent.parent
)  # where the worker finds this package, whatever its folder

log = logging.getLogger(__name__)


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
    """
    folder = wandb_folder(results, study_name)
    resolved, reason = resolve("off" if external else mode)
    try:
        if external or resolved != "off":
            own = identity(folder, project=project, entity=entity)
    except OSError as error:
        return NullTracker(f"W&B off: {folder} cannot be written ({error.strerror})")
    if external:
        return NullTracker("W&B: the script's own runs are written offline; `tuner sync` uploads them")
    if resolved == "off":
        return NullTracker(reason)
    runs = results.resolve() / "runs" / study_name if artifacts else None
    return WandbTracker(resolved, reason, study_name, folder, own, runs)


def wandb_folder(results: Path, study_name: str) -> Path:
    """Where a study's W&B files lie, the caches of the W&B client included."""
    return results.resolve() / "wandb" / study_name


@dataclass(frozen=True)
class Identity:
    """Which runs are a study's: its W&B project, and what its runs' ids begin with."""

    salt: str
    project: str = "gcode-tuner"
    entity: str | None = None

    def run_id(self, number: int) -> str:
        """The id of trial `number`: the same whenever it is asked, so that nothing is uploaded twice."""
        return f"{self.salt}-{number}"


def identity(folder: Path, *, project: str | None = None, entity: str | None = None) -> Identity:
    """A study's identity, made once and kept in its W&B folder; a `project` or `entity` given replaces it.

    The salt tells the study from others of its name, in the same W&B project but in other results folders.
    """
    path = folder / "identity.json"
    kept = read_json(path) if path.exists() else {"salt": uuid.uuid4().hex[:10]}
    given = {"project": project, "entity": entity}
    own = kept | {name: value for name, value in given.items() if value is not None}
    if own != kept or not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, own)
    return Identity(**own)


@dataclass(frozen=True)
class NullTracker:
    """Tracks nothing: the same code runs with and without W&B."""

    reason: str
    mode: Literal["online", "offline", "off"] = "off"

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
    _worker: _Worker | None = field(default=None, repr=False)
    _started: int = 0

    def start(
        self, number: int, config: Mapping[str, Any], name: str, tags: Sequence[str] = ()
    ) -> RunTracker:
        if (self._worker is None or self._worker.broken) and self._started < MAX_WORKERS:
            self._started += 1
            self._worker = _Worker(self)
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
    worker: _Worker | None
    artifact: Path | None = None

    def log(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        self.send("log", {"epoch": epoch, "metrics": dict(metrics)})

    def finish(self, state: TrialState, summary: Mapping[str, Any]) -> None:
        where = str(self.artifact) if self.artifact is not None and self.artifact.exists() else None
        self.send("finish", {"state": state, "summary": dict(summary), "artifact": where})

    def send(self, action: str, content: Mapping[str, Any]) -> None:
        if self.worker is not None:
            self.worker.send({"do": action, "number": self.number, **content})


class _Worker:
    """The process that holds the W&B client, and the pipe to it."""

    def __init__(self, tracker: WandbTracker) -> None:
        self.broken = False
        self._waiting: deque[bytes] = deque()
        settings = {
            "mode": tracker.mode,
            "project": tracker.identity.project,
            "entity": tracker.identity.entity,
            "group": tracker.study_name,
            "folder": str(tracker.folder),
        }
        try:
            self._process: subprocess.Popen[bytes] | None = _start_worker(tracker.folder, settings)
        except OSError as error:
            self._process = None
            self._break(f"could not start ({error})")

    def send(self, message: Mapping[str, Any]) -> None:
        if self.broken:
            return
        self._waiting.append(json.dumps(message, default=str).encode() + b"\n")
        self._write()
        if len(self._waiting) > MAX_WAITING:
            self._break("stopped reading")

    def close(self, timeout: float) -> None:
        """Sends what waits, closes the pipe and gives the process until `timeout` to end its runs."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        end = time.monotonic() + timeout
        while self._waiting and not self.broken and time.monotonic() < end:
            self._write()
            time.sleep(0.01)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            log.warning("W&B did not end in %.0f s; the metrics are in the run folders", timeout)

    def _write(self) -> None:
        """Writes as much as the pipe takes."""
        assert self._process is not None and self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        try:
            while self._waiting:
                written = os.write(descriptor, self._waiting[0])
                if written < len(self._waiting[0]):
                    self._waiting[0] = self._waiting[0][written:]
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._break("ended")

    def _break(self, what: str) -> None:
        self.broken = True
        self._waiting.clear()
        log.warning(
            "the W&B process %s; the metrics are in the run folders, `tuner sync` rebuilds the runs", what
        )


def _start_worker(folder: Path, settings: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Starts the worker in a session of its own: Ctrl-C in the terminal lets it finish its runs."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tracking.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tuner.tracking_worker", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment(folder) | {"PYTHONPATH": PACKAGES},
            start_new_session=True,
            bufsize=0,
        )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return process


def environment(folder: Path) -> dict[str, str]:
    """The environment for a W&B client whose files, caches included, stay in `folder`."""
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
