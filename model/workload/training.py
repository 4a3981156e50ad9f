"""Trains our network on a data set, once a trial."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.config import Config
from model.data_sets import default_data
from model.recordings import MANIFEST, SIMULATOR, Recordings
from model.run_files import WEIGHTS
from model.workload.base import OfRecordings
from model.workload.reuse import JUDGED_BY, Runs, replay
from tuner.base.errors import InputError, nearest
from tuner.base.files import read_json
from tuner.base.run_folder import Report
from tuner.definition import expressions
from tuner.definition.distributions import Categorical, Constant, Distribution, Numeric, WeightedCategorical
from tuner.definition.values import Resources
from tuner.storage.study_store import RETRAINED
from tuner.workloads.workload import Inputs, Say, Shorter

TOGETHER = ("d_model", "heads")  # one is valid for some values of the other
_HASH = re.compile(r"[0-9a-f]{64}")
ORDER_HOLDS = 0.98  # Spearman's, from benchmarks/data/curves.json; test_workload.py computes it
DURATIONS = frozenset({"warmup_epochs", "lr_step_epochs", "plateau_patience", "early_stopping"})  # in epochs
SHORTEST = 4  # epochs; shorter runs say little about long ones
RUNS = Runs()  # of this process
MEMORY = 700 * 2**20  # bytes that an agent with torch and a training run needs beside the shared data


class Training(OfRecordings):
    """Runs `model.trainer.train`; configurations are `model.config.Config`.

    A run that was made before in the same results folder is not made again: see `model.workload.reuse`.
    """

    quick_probe = True
    saves_when_paused = True
    measures = ("parameters", "ms_per_window")
    weights = (WEIGHTS,)
    not_inherited = frozenset({"epochs", "seed", "split_seed", "reshuffle", "device", "track"})

    def check(self) -> None:
        """Checks names and values of the space against the options of the network."""
        space = self.file.space
        valid = sorted(Config().to_dict())
        together = {name for text in space.requires for name in expressions.names(text)}
        for parameter in space.parameters:
            name = parameter.name
            if name not in valid:
                self.file.fail(name, f"no option of the model{nearest(name, valid)} (or name your 'program')")
            for value in (
                () if name in together or self.file.space.points else _extremes(parameter.distribution)
            ):
                try:
                    Config.from_dict({name: value})
                except InputError as error:
                    self.file.fail(name, str(error).partition(": ")[2] or str(error))
        for point in self.file.space.points:  # whole configurations: their values are judged together
            try:
                Config.from_dict(point)
            except InputError as error:
                raise InputError(f"{self.file.path}: point {dict(point)}: {error}") from None

    def score_in_words(self, config: Mapping[str, Any]) -> str:
        """The network that a run keeps is that of the epoch whose metrics it returns."""
        told = Config.from_dict({n: config[n] for n in ("evaluate", "fit_on") if n in config})
        epoch = "the last epoch" if told.last_is_best else f"the epoch with the best {JUDGED_BY}"
        return f"{self.file.metric.name} of {epoch}, whose weights the run keeps"

    def check_overrides(self, overrides: Mapping[str, Any]) -> None:
        valid = Config().to_dict()
        for name, value in overrides.items():
            if name not in valid:
                raise InputError(f"--set {name}: no option of the model{nearest(name, valid)}")
            try:
                Config.from_dict({name: value})
            except InputError as error:
                if name not in TOGETHER:
                    raise InputError(
                        f"--set {name}={value}: {str(error).partition(': ')[2] or error}"
                    ) from None

    def inputs(self, chosen: Path | None, results: Path, say: Say) -> Inputs:
        folder = chosen
        if folder is None:
            root = Path("data")
            imported = any(root.glob(f"*/{MANIFEST}"))
            folder = default_data(root)
            if not imported:
                say("no data set imported: using simulated recordings (yours: tuner model import DIR)")
                return self._found(folder)
        if not (folder / MANIFEST).exists():
            raise InputError(
                f"{folder}: no data set there; make one with: tuner model import DIR --to {folder}"
            )
        if read_json(folder / MANIFEST).get("kind") == SIMULATOR:
            say(f"data: {folder} (simulated; yours: tuner model import DIR)")
        return self._found(folder)

    def _found(self, folder: Path) -> Inputs:
        return Inputs(folder.name, self.digest_of(folder), folder, binding=True, travels=True)

    def digest_of(self, folder: Path, *, arrived: bool = False) -> str:
        """The content hash in the data set's manifest; of one that has arrived, that of its arrays."""
        if arrived:
            return Recordings.load(folder).recomputed_hash()
        manifest = read_json(folder / MANIFEST)
        found = manifest.get("content_hash") if isinstance(manifest, dict) else None
        if not isinstance(found, str) or not _HASH.fullmatch(found):
            raise InputError(f"{folder / MANIFEST}: has no content hash; import the data set again")
        return found

    def defaults(self) -> Mapping[str, Any]:
        return Config().to_dict()

    def whole_trial(self, epochs: int) -> Mapping[str, Any]:
        return {self.length: epochs}

    def shorter(self, epochs: int) -> Shorter | None:
        """Half of the epochs, with a schedule that fits them.

        `ORDER_HOLDS`: how well the order at half holds until the end of runs of full length.
        """
        half = math.ceil(epochs / 2)
        if half < SHORTEST:
            return None
        words = f"runs of {half} epochs instead of {epochs}, with a schedule of that length"
        return Shorter({self.length: half}, words, half / epochs, DURATIONS)

    def resources(self, overrides: Mapping[str, Any]) -> Resources:
        """A GPU each where there are some, unless `--set device=cpu`."""
        own = self.file.resources
        gpus = 0.0 if overrides.get("device") == "cpu" else 1.0
        return Resources(gpus if own.gpus is None else own.gpus, own.cpus, own.memory or MEMORY)

    def run(
        self,
        config: Mapping[str, Any],
        report: Report,
        *,
        run_folder: Path,
        inputs: Path | None,
        checkpoint: Path | None,
    ) -> Mapping[str, float]:
        from model.identity import identity  # torch, a second
        from model.trainer import train

        if inputs is None:
            raise InputError("this study trains our model: it needs a data set (--data data/NAME)")
        checked = Config.from_dict(config)
        weights = not self.file.name.endswith(RETRAINED)
        of = identity(checked, self.digest_of(inputs))
        same = RUNS.find(of, self.results_of(run_folder), weights=weights)
        if same is not None and same != run_folder:
            found = replay(
                same, checked, report, run_folder=run_folder, checkpoint=checkpoint, weights=weights
            )
            if found is not None:
                return found
        return train(config, report, data=inputs, run_folder=run_folder, checkpoint=checkpoint)

    def reseeded(self, config: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Another split of the recordings as well, so that the score rests on other `select` recordings.

        Those of `test` stay where they are: nothing may be chosen with them.
        """
        again = int(config.get("reshuffle", 0)) + number
        return {**super().reseeded(config, number), "reshuffle": again}

    def command_line(self, config: Mapping[str, Any]) -> str:
        changed = {name: value for name, value in config.items() if self.defaults().get(name) != value}
        sets = [part for name, value in changed.items() for part in ("--set", f"{name}={_text(value)}")]
        return shlex.join(["python", "-m", "model", "train", *sets])

    def trial_files(self, run_folder: Path) -> Mapping[str, Callable[[], bytes]]:
        from model.workload import samples

        if not samples.there_are(run_folder):
            return {}
        return {"sample_lines.csv": lambda: samples.samples_csv(run_folder).encode()}

    def sections(self, study: Any, results: Path) -> list[Any]:
        from model.workload import mistakes

        return list(mistakes.blocks(study, results))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _extremes(distribution: Distribution) -> list[Any]:
    """Values whose validity is the distribution's: all choices, or both bounds."""
    match distribution:
        case Constant(value=value):
            return [value]
        case Categorical(values=values) | WeightedCategorical(values=values):
            return list(values)
        case Numeric(q=None):
            low, high = distribution.bounds
            return [
                int(b) if distribution.kind == "int_uniform" else b for b in (low, high) if math.isfinite(b)
            ]
    return [distribution.quantile(u) for u in (1e-6, 1 - 1e-6)]
