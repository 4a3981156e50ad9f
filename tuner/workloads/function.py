"""Trials that call a Python function: `train(config, report) -> metrics` (docs/python.md).

The function is given the configuration and, where it names them, `report`, `run_folder` (for its files) and
`checkpoint`. A function whose only parameter is called `trial` is an objective of Optuna's
(`tuner.workloads.objective_trial`); what a function reports to Ray or, without `report`, logs to W&B, is what
it reports (`tuner.workloads.other_reports`). Its attribute `defaults` is what a study tries first.

It is only imported in processes of its own, where the folder of the study file and the current one come first
on `sys.path`: its imports find what lies beside it, whatever this project's modules are called.

A `wandb.init()` in it makes a further run, which is offline and in the study's W&B folder, with the trial's
values in `wandb.config`; an explicit `mode=` in that call is the function's own affair.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.base.endings import Paused, Pruned
from tuner.base.environment import in_environment
from tuner.base.errors import InputError, WorkFailed
from tuner.base.files import make_folder, scratch_folder, write_json, writing
from tuner.base.run_folder import CONFIG, Report, RunFolder, due, lines_before
from tuner.base.wandb_files import INHERITED, MODES, places, wandb_folder
from tuner.base.words import is_finite
from tuner.definition.metric import Metric
from tuner.workloads import macros
from tuner.workloads.given import code_digest, unpacked
from tuner.workloads.history import flatten
from tuner.workloads.other_reports import rays_reports, wandbs_reports
from tuner.workloads.user_code import arguments, load_function, look_at, named, put_first, takes_trial
from tuner.workloads.workload import Inputs, Say, Workload, names_wandb

if TYPE_CHECKING:
    from tuner.workloads.objective_trial import ObjectiveTrial


class FunctionWorkload(Workload):
    """Calls a function that the study file names, or one that was given in Python."""

    scores = True

    def inputs(self, chosen: Path | None, results: Path, say: Say) -> Inputs:
        return Inputs(Path(self._looked_at["file"]).name, self._looked_at["digest"])

    def check(self) -> None:
        if not self.file.space.open or self.file.scheduler.search_space:
            return
        if not self._looked_at["trial"]:
            raise InputError(
                f"{self.file.path}: 'parameters': missing; expected the parameters to search "
                "(only an objective of Optuna's, `objective(trial)`, can bring its own)"
            )

    @property
    def uses_wandb(self) -> bool:
        return names_wandb(Path(self._looked_at["file"]))

    def defaults(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._looked_at["defaults"]
        return found

    def run(
        self,
        config: Mapping[str, Any],
        report: Report,
        *,
        run_folder: Path,
        inputs: Path | None,
        checkpoint: Path | None,
    ) -> Mapping[str, float]:
        folder = wandb_folder(self.results_of(run_folder), self.file.name)
        if self.wandb != "off":
            make_folder(folder)  # where there is none, W&B takes another
        variables = {"WANDB_MODE": MODES[self.wandb], "WANDB_RUN_GROUP": self.file.name, **places(folder)}
        with scratch_folder() as scratch:
            parameters = scratch / "parameters.yaml"  # in which `wandb.init()` finds the values of its config
            with writing(parameters):
                parameters.write_text(macros.as_sweep(config), encoding="utf-8")
            variables["WANDB_SWEEP_PARAM_PATH"] = str(parameters)
            try:
                with in_environment(variables, without=INHERITED):
                    return call(
                        self.function,
                        config,
                        report,
                        run_folder=run_folder,
                        checkpoint=checkpoint,
                        objectives=self.file.objectives,
                        open_space=self.file.space.open,
                    )
            finally:
                client = sys.modules.get("wandb")
                if client is not None and hasattr(client, "teardown"):
                    client.teardown()  # else the next trial would have this one's values

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function itself, imported into this process: an agent's, or a notebook's own."""
        if self.file.function is not None:
            found: Callable[..., Any] = unpacked(self.file.function)
            return found
        assert self.file.objective is not None
        folder = Path(self.file.path).parent.resolve()
        put_first(folder)
        return load_function(self.file.objective, folder=folder)

    @cached_property
    def _looked_at(self) -> dict[str, Any]:
        """Looks at the function once, so that a mistake in its file is one line and no dead agent."""
        assert self.file.objective is not None
        if self.file.function is None:
            return look_at(self.file.objective, folder=Path(self.file.path).parent.resolve())
        arguments(self.function, {}, lambda epoch, metrics: None)
        return {
            "file": self.file.objective,
            "digest": code_digest(self.function),  # it was pickled, so its source text is not known any more
            "defaults": getattr(self.function, "defaults", None),
            "trial": takes_trial(self.function),
        }


def call(
    function: Callable[..., Any],
    config: Mapping[str, Any],
    report: Report,
    *,
    run_folder: Path,
    objectives: Sequence[Metric],
    checkpoint: Path | None = None,
    open_space: bool = False,
) -> dict[str, float]:
    """Calls a function for one trial, writes its run folder and returns its metrics.

    Args:
        open_space: an objective of Optuna's draws its parameters itself.

    Raises:
        InputError: it returned neither metrics nor a number for each objective.
        Exception: whatever the function or `report` raised.
    """
    with RunFolder(run_folder, checkpoint=checkpoint) as folder:
        write_json(folder.path / CONFIG, dict(config))
        logged = FunctionReport(report, folder, objectives, checkpoint)
        optional = named(function, run_folder=folder.path, checkpoint=checkpoint)
        trial = None
        if takes_trial(function):
            from tuner.workloads.objective_trial import ObjectiveTrial  # Optuna, half a second

            trial = ObjectiveTrial(getattr(report, "trial", None), config, logged, open_space=open_space)
        given = arguments(function, trial or config, logged)

        def finish(state: str, metrics: Mapping[str, float]) -> None:
            if trial is not None and trial.drawn:
                write_json(folder.path / CONFIG, {**config, **trial.drawn})
            folder.finish({"state": state, "metrics": metrics})

        try:
            alone = logged if trial is None and len(given) < 2 else None
            with (
                _optunas_pruning(trial),
                rays_reports(function, logged),
                wandbs_reports(function, objectives[0], alone) as by_wandb,
            ):
                returned = function(*given, **optional)
        except SystemExit as error:
            raise WorkFailed(
                f"it called sys.exit({'' if error.code is None else repr(error.code)})"
            ) from None
        except (Pruned, Paused) as error:
            finish("pruned" if isinstance(error, Pruned) else "paused", logged.last)
            raise
        found = logged.with_result(returned, by_wandb())
        finish("complete", found)
    return found


@contextlib.contextmanager
def _optunas_pruning(trial: ObjectiveTrial | None) -> Iterator[None]:
    """An objective of Optuna's that raises TrialPruned is pruned."""
    optuna = sys.modules.get("optuna")  # an objective that raises it has imported it
    try:
        yield
    except Exception as error:
        if optuna is None or not isinstance(error, optuna.TrialPruned):
            raise
        raise (getattr(trial, "pruned", None) or Pruned("the objective raised TrialPruned")) from None


class FunctionReport:
    """The `report` that a function calls once an epoch.

    Attributes:
        checkpoint: the trial's checkpoint folder.
    """

    def __init__(
        self, report: Report, folder: RunFolder, objectives: Sequence[Metric], checkpoint: Path | None
    ) -> None:
        self.checkpoint = checkpoint
        self.last: dict[str, float] = {}
        self._report, self._folder, self._metric = report, folder, objectives[0]
        self._names = [metric.name for metric in objectives]
        self._values: list[float] = []  # finite ones of the metric, also of a run that was interrupted

    def __call__(self, *given: Any, **named: Any) -> None:
        """`report(epoch from 0, metrics or a number)`.

        Raises:
            InputError: it was called in another way.
        """
        epoch, metrics = reported(given, named)
        found, name = as_metrics(metrics, self._metric.name), self._metric.name
        self.last.update(found)
        earlier = lines_before(epoch, self._folder.before)
        self._values += [line[name] for line in (*earlier, found) if is_finite(line.get(name))]
        self._folder.log(epoch, found)
        self._report(epoch, found)

    def with_result(self, returned: Any, by_wandb: Mapping[str, float] | None = None) -> dict[str, float]:
        """The metrics of the run: those of its last report, those that it logged to W&B, those that it
        `returned`, and its score.
        """
        name = self._metric.name
        told = {**(by_wandb or {}), **as_metrics(self._by_name(returned), name)}
        found = {**self.last, **told}
        if name in told and not is_finite(told[name]):
            return found  # it says so itself
        score = self._metric.score(self._values, told.get(name))
        return found if score is None else {**found, name: score}

    def _by_name(self, returned: Any) -> Any:
        """A number for each objective by its name; anything else as it is."""
        if not isinstance(returned, tuple | list):
            return returned
        if len(returned) != len(self._names):
            names = ", ".join(self._names)
            more = "" if len(self._names) > 1 else "; name them all under tuner: {objectives: …}"
            raise InputError(
                f"the function returned {len(returned)} values, the study has {len(self._names)} "
                f"objective{'s'[: len(self._names) > 1]} ({names}){more}"
            )
        return dict(zip(self._names, returned, strict=True))

    def due(self, epoch: int) -> bool:
        """Whether the study needs the metric of this epoch (from 0): after it, a trial may be stopped, is
        paused, or ends. True where the study file does not say how long a trial is (`max_epochs`)."""
        return due(self._report, epoch)


def reported(given: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[int, Any]:
    """The epoch and the metrics of a call of `report`.

    Raises:
        InputError: these are not an epoch and metrics.
    """
    try:
        call = inspect.signature(lambda epoch, metrics: None).bind(*given, **named)
        return operator.index(call.arguments["epoch"]), call.arguments["metrics"]
    except TypeError:
        shown = ", ".join(
            [*map(_short, given), *(f"{name}={_short(value)}" for name, value in named.items())]
        )
        raise InputError(
            f"expected report(epoch, metrics), for example report(0, {{'loss': 0.31}}), got report({shown})"
        ) from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def as_metrics(returned: Any, metric: str) -> dict[str, float]:
    """What a function returned or reported, as metrics: numbers and texts, nested ones as `outer.inner`.

    Numbers of numpy and torch count as numbers. Anything else is left out, as W&B does with a script's.

    Raises:
        InputError: it is neither a dictionary nor a number, or the study's metric is no number.
    """
    if returned is None:
        return {}
    found = returned if isinstance(returned, Mapping) else {metric: returned}
    metrics: dict[str, Any] = flatten(found, convert=_number)
    value = metrics.get(metric)
    if metric in found and (isinstance(value, bool | str) or value is None):
        told = f"'{value[:60]}'" if isinstance(value, str) else type(_number(found[metric])).__name__
        what = f"metric '{metric}': expected a number"
        if found is not returned:
            what = "expected a dictionary of metrics or a number"
        raise InputError(f"{what}, got {told}")
    return metrics


def _number(value: Any) -> Any:
    """The plain number in a scalar of numpy or torch; anything else as it is.

    A whole number that no float holds becomes infinity.
    """
    try:
        value = value.item() if callable(getattr(value, "item", None)) else value
    except (ValueError, RuntimeError, TypeError):  # it holds several
        return value
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value
