"""Estimates the cost of a study: a measured probe of one trial, times the epochs that its pruner allows."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.base.endings import Pruned
from tuner.base.errors import WorkFailed
from tuner.definition.pruner_settings import PrunerSettings, bracket_budgets, rung_steps
from tuner.definition.study_file import StudyFile
from tuner.run.executors import processes
from tuner.workloads.registry import workload_of
from tuner.workloads.user_code import named
from tuner.workloads.workload import Workload

PROBE_EPOCHS = 2
PROBE_SECONDS = 20.0


@dataclass(frozen=True)
class Probe:
    """Seconds before the first report of a trial, and of each further epoch."""

    first_epoch: float
    epoch: float

    def trial(self, epochs: float) -> float:
        """Seconds of a trial of so many epochs."""
        return self.first_epoch + self.epoch * max(0.0, epochs - 1)


def measure(
    file: StudyFile, config: Mapping[str, Any], *, inputs: Path | None = None, threads: int = 1
) -> Probe:
    """Runs the first epochs of one trial in a process and a folder that are thrown away.

    A trial that reports nothing is run to its end; its whole time counts as the first epoch.

    Raises:
        WorkFailed: the trial failed before its first report.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process, _ = processes.start(
        _measure, (file, dict(config), inputs, theirs), threads=threads, name="probe"
    )
    theirs.close()
    try:
        found: Probe | str = ours.recv()
    except EOFError:
        found = "its process ended without a message"
    finally:
        process.join()
    if isinstance(found, str):
        raise WorkFailed(f"{file.name}: the probe failed: {found}")
    return found


def _measure(file: StudyFile, config: dict[str, Any], inputs: Path | None, to: Connection) -> None:
    """The probe's process; what the trial prints goes nowhere."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        to.send(timed(workload_of(file), config, inputs=inputs))
    except Exception as error:
        to.send(f"{type(error).__name__}: {' '.join(str(error).split())}")


def timed(workload: Workload, config: Mapping[str, Any], *, inputs: Path | None) -> Probe:
    """Times the first epochs of one trial in this process."""
    times: list[float] = []
    told: list[float] = []  # what the trial says of its epochs, where it does
    started = time.perf_counter()

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        times.append(time.perf_counter())
        if "epoch_seconds" in metrics:
            told.append(float(metrics["epoch_seconds"]))
        if len(times) >= PROBE_EPOCHS or times[-1] - started > PROBE_SECONDS:
            raise Pruned("probe")

    with TemporaryDirectory() as folder:
        run_folder = Path(folder) / "results" / "runs" / "probe" / "0"
        checkpoint = Path(folder) / "checkpoint" / "files"
        checkpoint.mkdir(parents=True)
        optional = named(workload.run, checkpoint=checkpoint)
        try:
            workload.run(config, report, run_folder=run_folder, inputs=inputs, **optional)
        except Exception as error:
            if not times and not isinstance(error, Pruned):
                raise
    ended = time.perf_counter()
    if not times:
        return Probe(ended - started, 0.0)
    first = times[0] - started
    each = times[1] - times[0] if len(times) > 1 else told[0] if told else first
    return Probe(first, each)


def expected_epochs(settings: PrunerSettings, max_epochs: int) -> float:
    """Mean epochs of a trial: at each rung one in eta goes on; other rules are taken to stop nothing.

    A rung at or past `max_epochs`, of a study whose trials were made shorter, is none.
    """
    if not settings.halves:
        return float(max_epochs)
    budgets = bracket_budgets(settings) if settings.kind == "hyperband" else [1]
    total = 0.0
    for bracket, budget in enumerate(budgets):
        alive, before = 1.0, 0
        for step in [*(s for s in rung_steps(settings, bracket) if s < max_epochs), max_epochs]:
            total += budget * alive * (step - before)
            alive, before = alive / settings.eta, step
    return total / sum(budgets)
