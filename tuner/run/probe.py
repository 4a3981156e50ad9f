"""What a study will cost: a measured probe of one trial, times the epochs that its pruner lets through."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuner.base.errors import Pruned
from tuner.definition.pruner_settings import PrunerSettings, bracket_budgets, rung_steps
from tuner.run.executors.local import share, threads_in_environment
from tuner.workloads.objective import Objective

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


def measure(objective: Objective, config: Mapping[str, Any], *, agents: int) -> Probe:
    """Runs the first epochs of one trial in a folder that is thrown away, on the threads that an agent has.

    An objective that reports nothing is run to its end; its whole time counts as the first epoch.
    """
    times: list[float] = []
    told: list[float] = []  # what the objective says of its epochs, where it does
    started = time.perf_counter()

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        times.append(time.perf_counter())
        if "epoch_seconds" in metrics:
            told.append(float(metrics["epoch_seconds"]))
        if len(times) >= PROBE_EPOCHS or times[-1] - started > PROBE_SECONDS:
            raise Pruned("probe")

    with TemporaryDirectory() as folder, threads_in_environment(share(agents)):
        try:
            objective(config, report, run_folder=Path(folder) / "results" / "runs" / "probe" / "0")
        except Pruned:
            pass
        except Exception:
            if not times:
                raise
    ended = time.perf_counter()
    if not times:
        return Probe(ended - started, 0.0)
    first = times[0] - started
    if len(times) > 1:
        return Probe(first, times[1] - times[0])
    return Probe(first, told[0] if told else first)


def expected_epochs(settings: PrunerSettings, max_epochs: int) -> float:
    """Mean epochs of a trial: at each rung one in eta goes on; other rules are taken to stop nothing.

    A rung at or past `max_epochs`, of a study whose trials were made shorter, is none.
    """
    if settings.kind not in ("hyperband", "successive_halving"):
        return float(max_epochs)
    budgets = bracket_budgets(settings) if settings.kind == "hyperband" else [1]
    total = 0.0
    for bracket, budget in enumerate(budgets):
        alive, before = 1.0, 0
        for step in [*(s for s in rung_steps(settings, bracket) if s < max_epochs), max_epochs]:
            total += budget * alive * (step - before)
            alive, before = alive / settings.eta, step
    return total / sum(budgets)
