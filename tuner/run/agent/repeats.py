"""A trial of several runs: one configuration with several seeds, or on several folds.

The runs come one after the other, each a run of the workload with a folder and a checkpoint of its own. The
first reports its epochs, as a trial of one run does. After each further run the mean of the runs so far is
reported, under the number of epochs that they took together: after two runs of ten epochs, epoch 20. So a
stopping rule compares first runs with first runs (they have the same seed and fold), and means with means of
as many runs.

A run that fails fails the trial: the mean of the others would favour a configuration that fails now and then.
Runs that are complete are kept in the trial's checkpoint: an interrupted trial goes on with the one that was
interrupted.
"""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tuner.base.endings import Pruned, in_short
from tuner.base.errors import InputError, TrainingFailed, nearest
from tuner.base.files import CannotWrite, make_folder, read_json, write_json
from tuner.base.run_folder import CONFIG, METRICS, RESULT, RunFolder
from tuner.definition.distributions import Constant
from tuner.definition.repeats import FOLD
from tuner.definition.study_file import StudyFile
from tuner.run.agent.reporter import Reporter
from tuner.workloads.history import means
from tuner.workloads.user_code import named
from tuner.workloads.workload import Workload

REPEATS = "repeats"  # in `result.json`, and an attribute of the trial: its runs
SPREAD = "_std"  # an objective's standard deviation is the metric of this name
DONE = "runs.json"  # in the checkpoint: runs that are complete
FOLDERS = "runs"  # in the checkpoint: their folders


@dataclass(frozen=True)
class Part:
    """One run of a trial.

    Attributes:
        name: `seed 2`, `fold 0`; with the values that differ from the other runs' in `changes`.
        folder: in the trial's run folder.
    """

    name: str
    folder: str
    changes: Mapping[str, Any]


def run(
    workload: Workload,
    config: Mapping[str, Any],
    report: Reporter,
    *,
    run_folder: Path,
    inputs: Path | None,
    checkpoint: Path,
    length: int | None,
) -> Mapping[str, float]:
    """Runs a trial: `Workload.run`, once or as often as the study file says.

    Args:
        length: epochs of all runs together, where that is known.
    """
    if workload.file.repeats.count == 1:
        optional = named(workload.run, checkpoint=checkpoint)
        return workload.run(config, report, run_folder=run_folder, inputs=inputs, **optional)
    with RunFolder(run_folder, checkpoint=checkpoint) as folder:
        each = None if length is None else length // workload.file.repeats.count
        return _Trial(workload, config, report, folder, inputs, checkpoint, each).run()


def values_of(metrics: Mapping[str, float], file: StudyFile) -> list[float]:
    """The objectives' values among `metrics`.

    Raises:
        InputError: one is missing or is not finite.
    """
    found = []
    for metric in file.objectives:
        name = metric.name
        if name not in metrics and not metric.declared:
            return [0.0]  # W&B lets a grid or random sweep name no metric: each trial is as good as any
        if name not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            raise InputError(f"metric '{name}' was not logged; logged: {known}{nearest(name, metrics)}")
        value = float(metrics[name])
        if not math.isfinite(value):
            raise InputError(f"metric '{name}' is {value}")
        found.append(value)
    return found


def parts_of(workload: Workload, config: Mapping[str, Any]) -> list[Part]:
    """The runs of a trial of `config`, in order; one without changes where the study file names no more."""
    repeats = workload.file.repeats
    found = [Part("", "", {})]
    if repeats.seeds > 1:
        name = next(iter(workload.seeded(config, 1)))
        first = config.get(name)  # retrainings say a seed, so they have others than the study
        if not isinstance(first, int) or isinstance(first, bool):
            first = 1
        found = [
            Part(f"seed {seed}", f"seed{seed}", workload.seeded(config, seed))
            for seed in range(first, first + repeats.seeds)
        ]
    if not repeats.folds:
        return found
    return [
        Part(
            ", ".join(filter(None, (part.name, f"{repeats.fold} {value}"))),
            "-".join(filter(None, (part.folder, f"{FOLD}{index}"))),
            {**part.changes, repeats.fold: value},
        )
        for part in found
        for index, value in enumerate(repeats.folds)
    ]


def check(workload: Workload, config: Mapping[str, Any]) -> None:
    """Raises InputError where the trials cannot be run as `seeds` and `folds` say.

    Args:
        config: the values that are known of every configuration.
    """
    file, repeats, constants = workload.file, workload.file.repeats, constants_of(workload)
    searched = {parameter.name for parameter in file.space.searched}

    def refuse(key: str, why: str) -> NoReturn:
        raise InputError(f"{file.path}: 'tuner.{key}': {why}") from None

    if repeats.seeds > 1:
        changes = workload.seeded({**constants, **config}, 1)
        if workload.deterministic:
            refuse("seeds", "these trials have no seed: equal values always give the same score")
        if not changes:
            refuse("seeds", "the script has no known seed argument; name it: tuner: {seed: NAME}")
        taken = sorted(changes.keys() & searched)
        if taken and not file.space.points:  # a retraining's points say the first seed of each
            refuse("seeds", f"the study searches '{taken[0]}' too: remove one of them")
    if repeats.folds:
        fold = repeats.fold
        if fold in searched or fold in constants:
            refuse("folds", f"'{fold}' is a parameter of the study too: remove one of them")
        try:
            workload.check_overrides({fold: repeats.folds[0]})
        except InputError as error:
            told = str(error).partition(": ")[2]
            refuse("folds", f"the trials have no parameter '{fold}': {told}")


def constants_of(workload: Workload) -> dict[str, Any]:
    """The values that the study file gives to every trial."""
    parameters = workload.file.space.parameters
    return {p.name: p.distribution.value for p in parameters if isinstance(p.distribution, Constant)}


@dataclass
class _Trial:
    """A trial of several runs, from the first that is not complete to the mean."""

    workload: Workload
    config: Mapping[str, Any]
    report: Reporter
    folder: RunFolder
    inputs: Path | None
    checkpoint: Path
    length: int | None  # of each run, in epochs

    def __post_init__(self) -> None:
        self.parts = parts_of(self.workload, self.config)
        done = self.checkpoint / DONE
        self.done: list[dict[str, Any]] = read_json(done) if done.exists() else []

    def run(self) -> dict[str, float]:
        write_json(self.folder.path / CONFIG, dict(self.config))
        for part in self.parts[len(self.done) :]:
            try:
                self._run(part)
                self._report()
            except CannotWrite:
                raise
            except Pruned:
                self._finish("pruned")
                raise
            except Exception as error:
                if self.report.ended:  # the trial returns to the queue, was given away or took too long
                    raise
                where = f"{part.name}, run {len(self.done) + 1} of {len(self.parts)}"
                self._finish("failed", error=f"{where}: {in_short(error)}")
                raise TrainingFailed(f"{where}: {in_short(error)}") from error
        self._finish("complete")
        return self.metrics()

    def _run(self, part: Part) -> None:
        began = time.monotonic()
        first = not self.done
        told = _Epochs(self.report, self.folder if first else None, before=self._epochs, length=self.length)
        label = f"{self.folder.final.name}-{part.folder}"  # W&B's name of it ends so
        for older in (self.checkpoint / FOLDERS).glob(f"*-{part.folder}*"):  # of an agent that died
            shutil.rmtree(older)
        own = self.checkpoint / part.folder / "files"
        make_folder(own)
        if not any(own.iterdir()):  # it kept nothing to go on from
            (own.parent / METRICS).unlink(missing_ok=True)
        optional = named(self.workload.run, checkpoint=own)
        found = self.workload.run(
            {**self.config, **part.changes},
            told,
            run_folder=self.checkpoint / FOLDERS / label,
            inputs=self.inputs,
            **optional,
        )
        values_of(found, self.workload.file)
        run = {
            "name": part.name,
            "changes": dict(part.changes),
            "metrics": dict(found),
            "epochs": max(told.epochs, 1),
            "seconds": round(time.monotonic() - began, 3),
            "reported": told.epochs > 0,
        }
        self.done.append(run)
        write_json(self.checkpoint / DONE, self.done)
        shutil.rmtree(own.parent)

    def _report(self) -> None:
        """Reports the mean of the runs that are complete."""
        metrics, count = self.metrics(), len(self.done)
        epoch = self._epochs - 1
        if count == 1 and self.done[0]["reported"]:
            return
        self.folder.log(epoch, {name: value for name, value in metrics.items() if name != "epoch"})
        if count == len(self.parts):
            self.report.final(epoch, metrics)
            return
        try:
            self.report.whole(epoch, metrics)
        except Pruned as error:
            error.args = (f"{self._words(count)}: {error}",)
            raise

    @property
    def _epochs(self) -> int:
        """Epochs of the complete runs together; runs count alike, so that trials can be compared."""
        each = self.length or (self.done[0]["epochs"] if self.done else 0)
        return each * len(self.done)

    def metrics(self) -> dict[str, float]:
        """The mean of the complete runs, an objective as the file says, and its standard deviation."""
        found = [run["metrics"] for run in self.done]
        if not found:
            return {}
        repeats, file = self.workload.file.repeats, self.workload.file
        together = means(found)
        for metric in file.objectives:
            values = [run[metric.name] for run in found if metric.name in run]
            if values:
                together[metric.name] = repeats.of(values, metric.goal)
            if len(values) > 1:
                together[f"{metric.name}{SPREAD}"] = statistics.stdev(values)
        return together

    def _finish(self, state: str, *, error: str | None = None) -> None:
        """Writes the result; the runs' folders become part of the trial's."""
        results = []
        for part in self.parts:
            for path in sorted((self.checkpoint / FOLDERS).glob(f"*-{part.folder}")):
                results += [read_json(path / RESULT)] if (path / RESULT).exists() else []
                path.replace(self.folder.path / part.folder)
        result = {
            **{name: value for name, value in means(results).items() if name in self.workload.measures},
            "state": state,
            "metrics": self.metrics(),
            "seconds": round(sum(run["seconds"] for run in self.done), 3),
            REPEATS: [
                {"name": run["name"], **run["changes"], "metrics": run["metrics"]} for run in self.done
            ],
        }
        if runs := [run for found in results for run in found.get("wandb_runs", [])]:
            result["wandb_runs"] = runs
        if state == "complete":
            result["notes"] = self._notes()
        if error:
            result["error"] = error
        self.folder.finish(result)

    def _notes(self) -> list[str]:
        metric = self.workload.file.metric.name
        values = [run["metrics"][metric] for run in self.done if metric in run["metrics"]]
        if len(values) < 2:
            return []
        low, high = min(values), max(values)
        if low == high:
            unused = "; is the seed used?" if self.workload.file.repeats.seeds > 1 else ""
            return [f"{self._words(len(values))}, all {low:.4g}{unused}"]
        spread = f"standard deviation {statistics.stdev(values):.3g}"
        return [f"{self._words(len(values))}, {low:.4g} to {high:.4g}, {spread}"]

    def _words(self, count: int) -> str:
        """`mean of 3 seeds`."""
        repeats = self.workload.file.repeats
        of = repeats.in_words() if count == repeats.count else f"{count} of {repeats.count} runs"
        return f"{repeats.aggregate} of {of}"


class _Epochs:
    """The `report` of one run of a trial: counts its epochs and passes on what the tuner is to know.

    Args:
        folder: takes the epochs of the first run; None: this is a later one.
        before: epochs of the runs before.
        length: epochs of one run, where that is known.
    """

    def __init__(
        self, report: Reporter, folder: RunFolder | None, *, before: int, length: int | None
    ) -> None:
        self._report, self._folder, self._before, self._length = report, folder, before, length
        self.trial = report.trial
        self.epochs = 0

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.epochs = max(self.epochs, epoch + 1)
        if self._folder is None:
            self._report.between(self._before + epoch)
            return
        self._folder.log(epoch, metrics)
        self._report(epoch, metrics)

    def due(self, epoch: int) -> bool:
        if self._length is None or epoch + 1 >= self._length:
            return True
        return self._folder is not None and self._report.due(epoch)

    def check(self) -> None:
        self._report.check()
