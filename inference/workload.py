"""Decoding with a bundle as a workload of the engine: nothing is trained, the networks run once."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.bundle import Bundle, find_bundle
from inference.options import neutral
from inference.scores import TEMPERATURES, score
from inference.workbench import identity
from model.workload.base import OfRecordings
from tuner.base.run_folder import Report
from tuner.definition.values import Resources
from tuner.run.winner import config_of, winning_trial
from tuner.workloads.function import call
from tuner.workloads.workload import Inputs, Say

if TYPE_CHECKING:
    from tuner.storage.study import OpenStudy

MEMORY = 700 * 2**20  # bytes that an agent with torch and a bundle's networks needs


class Decoding(OfRecordings):
    """Decodes or scores the part `calibrate` of a bundle's data with a trial's configuration.

    `--data` names the bundle, by its name below `results/ensembles` or by its folder (default: the newest).
    """

    deterministic = True
    weights = ()

    @property
    def of_temperatures(self) -> bool:
        """Whether the study searches temperatures alone: its metric is a likelihood."""
        paths = [parameter.path for parameter in self.file.space.parameters]
        return all(path[0] == TEMPERATURES for path in paths)

    def inputs(self, chosen: Path | None, results: Path, say: Say) -> Inputs:
        folder = find_bundle(results, None if chosen is None else str(chosen))
        digest = identity(Bundle.load(folder))
        fixed = {"bundle": str(folder), "identity": digest}
        return Inputs("bundle", digest, folder, fixed=fixed, renews=True)

    def begun_inputs(self, overrides: Mapping[str, Any]) -> Path | None:
        folder = Path(str(overrides.get("bundle", "")))
        return folder if overrides.get("bundle") and folder.is_dir() else None

    def defaults(self) -> Mapping[str, Any]:
        return {TEMPERATURES: neutral()} if self.of_temperatures else {"method": "greedy"}

    def resources(self, overrides: Mapping[str, Any]) -> Resources:
        """One agent on all cores: a second one would run the networks once more."""
        own = self.file.resources
        return Resources(0, own.cpus or os.cpu_count(), own.memory or MEMORY)

    def run(
        self,
        config: Mapping[str, Any],
        report: Report,
        *,
        run_folder: Path,
        inputs: Path | None,
        checkpoint: Path | None,
    ) -> Mapping[str, float]:
        folder = find_bundle(self.results_of(run_folder), config.get("bundle"))

        def scored(config: Mapping[str, Any], report: Report) -> dict[str, float]:
            return score(config, report, bundle=folder)

        objectives = self.file.objectives
        return call(
            scored, config, report, run_folder=run_folder, objectives=objectives, checkpoint=checkpoint
        )

    def conclude(self, study: OpenStudy, inputs: Inputs, results: Path, say: Say) -> None:
        """Compares the best with what the bundle has and stores what is significantly better."""
        from inference.output import write_conclusion
        from inference.tune import conclude

        best = winning_trial(study)
        if best is None or inputs.folder is None:
            return
        config = config_of(study, best, results)
        data = None if config.get("data") is None else Path(config["data"])
        trials = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        found = conclude(inputs.folder, config, self.file, trials=trials, data=data)
        out = io.StringIO()
        write_conclusion(found, out)
        for line in out.getvalue().splitlines():
            say(line)
