"""The tuner from Python: `tuner.study`, `tuner.ask` and `tuner.tell`, `tuner.results`. See docs/python.md."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from tuner.artifacts.run_results import Results, load
from tuner.base.command_line import RESULTS_VARIABLE, STORAGE_VARIABLE
from tuner.base.endings import Pruned
from tuner.base.errors import InputError, WorkFailed
from tuner.base.run_folder import RunFolder
from tuner.base.words import slug
from tuner.definition.in_python import log, normal, steps, study_from_python
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run import asking, launch
from tuner.run import plan as plans
from tuner.run.asking import AskedTrial as Trial
from tuner.run.asking import Told
from tuner.run.executors.choice import ExecutorChoice
from tuner.run.request import Request
from tuner.run.script_sweeps import Program, ScriptSweeps
from tuner.show.lines import SilentView
from tuner.show.live import make_view
from tuner.show.report.result import StudyResult
from tuner.storage.access import default_url, find_records
from tuner.storage.study import load_study, stored_file
from tuner.storage.study_store import ChangedStudy
from tuner.tracking.mode import Mode
from tuner.workloads import given
from tuner.workloads.child import tuner_sweeps
from tuner.workloads.user_code import takes_trial
from tuner.workloads.workload import Workload

if TYPE_CHECKING:
    from tuner.run.events import View

__all__ = [
    "InputError", "Pruned", "Results", "RunFolder", "StudyResult", "Trial", "WorkFailed", "Workload",
    "ask", "log", "normal", "results", "steps", "study", "tell", "wandb_sweeps",
]  # fmt: skip

Space = Mapping[str, Any]
Goal = Literal["minimize", "maximize"]
Method = Literal["bayes", "random", "grid"]
Function = Callable[..., Any]

_asking: dict[tuple[Any, ...], asking.Asking] = {}  # studies that this process asks for trials


def study(
    what: Function | type[Workload] | str | Path,
    space: Space | None = None,
    *,
    metric: str | None = None,
    goal: Goal | None = None,
    trials: int | None = None,
    agents: int | None = None,
    name: str | None = None,
    method: Method | None = None,
    results: Path | str | None = None,
    storage: str | None = None,
    data: Path | str | None = None,
    seed: int = 0,
    timeout: float | None = None,
    max_epochs: int | None = None,
    pruner: str | Mapping[str, Any] | None = None,
    wandb: Mode = "off",
    fresh: bool = False,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    executor: str = "local",
    address: str | None = None,
    artifacts: str | None = None,
    quiet: bool = False,
) -> StudyResult:
    """Runs a study, or continues the one of this name: finished trials are kept.

    Args:
        what: a function `train(config)` or `train(config, report)`, a `Workload` class, the path of a study
            file, or the name of a shipped study.
        space: the searched parameters, for a function or class: name → range `(low, high)`, list of choices,
            `tuner.log(low, high)`, dictionary as in a study file, or constant. None: an objective of Optuna's
            draws its own.
        metric: what is optimised (default: "value", which a function that returns a number gives).
        goal: minimize (default) or maximize.
        trials: number of finished trials in total; None: as before or as in the file, else until stopped.
        agents: processes that run trials (default: one per core, or one per GPU if trials use GPUs).
        name: of the study (default: the function's).
        method: bayes (default), random or grid.
        results: the results folder (default: $TUNER_RESULTS or `results`).
        storage: URL of the studies' storage (default: $TUNER_STORAGE or a file in the results folder).
        data: the data that the trials read, if the study file's workload reads any.
        timeout: seconds after which the study stops; the same call continues it.
        max_epochs: epochs of a whole trial.
        pruner: how trials are stopped early (`"hyperband"`, or as in a study file).
        wandb: auto, online, offline or off: W&B runs of the trials.
        fresh: start again; the old study is kept under another name.
        settings: values of the configuration that hold in every trial.
        options: other keys of a study file under `tuner:` (`{"constraints": ["size < 1e6"]}`).
        executor: where agents run: `local`, `dask` or `ray`.
        address: of the Dask scheduler or the Ray cluster.
        artifacts: URL of the artefact store.
        quiet: show nothing.

    Raises:
        InputError: an argument is wrong; the message says what was expected.
        WorkFailed: the study stopped, for example because its trials fail.
        KeyboardInterrupt: after Ctrl-C; everything finished so far is kept.
    """
    own = {"max_epochs": max_epochs, "pruner": pruner, **(options or {})}
    file = _file_of(what, space, name=name, metric=metric, goal=goal, method=method, own=own)
    root, url = _places(results, storage)
    request = Request(
        study_file=file,
        url=url,
        results=root,
        trials=_positive("trials", trials),
        agents=_positive("agents", agents),
        timeout=timeout,
        data=None if data is None else Path(data),
        overrides=settings or {},
        seed=seed,
        fresh=fresh,
        wandb=wandb,
        executor=ExecutorChoice(executor, address),
        artifacts=artifacts,
    )
    console = Console(stderr=True, highlight=False)
    view: View = SilentView(console) if quiet else make_view(console)
    try:
        plan = plans.make(request, view.say)
        found = launch.launch(plan, view)
    except ChangedStudy as error:
        raise InputError(str(error).replace("--fresh", "fresh=True")) from None
    if found.interrupted:
        raise KeyboardInterrupt
    if not found.fine:
        raise WorkFailed(f"{plan.file.name}: {found.reason}")
    return StudyResult(plan.file.name, found.reason, root, url)


def ask(
    what: str | Path,
    space: Space | None = None,
    *,
    metric: str | None = None,
    goal: Goal | None = None,
    trials: int | None = None,
    method: Method | None = None,
    results: Path | str | None = None,
    storage: str | None = None,
    data: Path | str | None = None,
    seed: int = 0,
    max_epochs: int | None = None,
    pruner: str | Mapping[str, Any] | None = None,
    wandb: Mode = "off",
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    artifacts: str | None = None,
) -> Trial | None:
    """The next trial of a study, for your own loop. Several processes may ask for trials of one study.

    Waits while other processes run the last trials, because one of them may die. The other arguments are
    those of `tuner.study`.

    Args:
        what: the path of a study file, or the name of a study. A new study also needs `space`.

    Returns:
        None if the study is done, or if this process has asked for all remaining trials and has to tell them.

    Raises:
        InputError: an argument is wrong, or there is another study of this name.
        WorkFailed: the study stopped because its trials fail.
    """
    root, url = _places(results, storage)
    own = {"max_epochs": max_epochs, "pruner": pruner, **(options or {})}
    described = json.dumps(
        [str(what), space, metric, goal, trials, method, str(data), seed, own, wandb, settings, artifacts],
        default=str,
    )
    key = (os.getpid(), url, root, described)
    if key not in _asking:
        request = Request(
            study_file=_file_to_ask(what, space, url, metric=metric, goal=goal, method=method, own=own),
            url=url,
            results=root,
            trials=_positive("trials", trials),
            data=None if data is None else Path(data),
            overrides=settings or {},
            seed=seed,
            wandb=wandb,
            artifacts=artifacts,
        )
        console = Console(stderr=True, highlight=False)
        try:
            _asking[key] = asking.Asking(request, make_view(console).say)
        except ChangedStudy as error:
            raise InputError(str(error).replace("start over with --fresh", "take another name")) from None
    return _asking[key].ask()


def tell(
    trial: Trial, result: Any = None, *, state: Told = "complete", error: str | Exception | None = None
) -> str:
    """Ends a trial of `tuner.ask`. Returns its outcome: complete, pruned, failed or given away.

    Args:
        result: its metrics, or the study's metric as a number. Metrics of the last report are kept.
        state: complete, pruned or failed.
        error: why it failed.

    Raises:
        InputError: the trial has ended already, or the metric is missing.
    """
    return trial.tell(result, state=state, error=error)


def wandb_sweeps(
    *,
    agents: int | None = None,
    results: Path | str | None = None,
    storage: str | None = None,
    seed: int = 0,
    timeout: float | None = None,
) -> None:
    """After this call, `wandb.sweep` and `wandb.agent` of this script run studies here, without a server.

    Each trial starts the script again and ends it after the function of its agent. Under `tuner run`
    and in a trial the call does nothing, because both are replaced already. The other arguments are those of
    `tuner.study`.

    Args:
        agents: processes that run trials (default: one per core).

    Raises:
        InputError: there is no script that can be started again (as in a notebook).
    """
    if os.environ.get("TUNER_SWEEP") or os.environ.get("TUNER_SWEEPS"):
        return
    root, url = _places(results, storage)

    def run(file: StudyFile, wanted: int | None) -> launch.Result:
        request = Request(
            file, url, root, trials=wanted, agents=_positive("agents", agents), timeout=timeout, seed=seed
        )
        found = launch.run(request, make_view(Console(stderr=True, highlight=False)))
        if not found.fine:
            raise WorkFailed(f"{file.name}: {found.reason}")
        return found

    sweeps = ScriptSweeps(Program.this_process(), root, url=url, run=run)
    tuner_sweeps.in_this_process(sweeps.answer)


def results(study: str, *, results: Path | str | None = None, storage: str | None = None) -> Results:
    """The runs of a study, each with `.name`, `.config`, `.summary` (see `tuner.artifacts.run_results`)."""
    return load(study, results=results, storage=storage)


def _places(results: Path | str | None, storage: str | None) -> tuple[Path, str]:
    """The results folder and the storage's URL, which hold also after `os.chdir`."""
    root = Path(results or os.environ.get(RESULTS_VARIABLE, "results")).resolve()
    return root, storage or os.environ.get(STORAGE_VARIABLE) or default_url(root)


def _file_of(
    what: Any,
    space: Space | None,
    *,
    name: str | None,
    metric: str | None,
    goal: str | None,
    method: str | None,
    own: Mapping[str, Any],
) -> StudyFile:
    """The study file of what `study` was given."""
    if isinstance(what, str | Path):
        _not_beside_a_file(what, space=space, metric=metric, goal=goal, method=method, **own)
        file = load_study_file(what)
        return file if name is None else replace(file, name=name)
    if not callable(what):
        raise InputError(f"expected a function, a Workload class, a study file or its name, got {what!r}")
    if space is None and not takes_trial(what):
        raise InputError(f"{given.name_of(what)}: a space is missing: study(train, {{'x': (0.0, 1.0)}})")
    kind = "workload" if isinstance(what, type) and issubclass(what, Workload) else "objective"
    file = study_from_python(
        name or given.name_of(what),
        space,
        metric=metric or "value",
        goal=goal or "minimize",
        method=method or "bayes",
        own={kind: given.text_of(what), **own},
    )
    return replace(file, function=given.packed(what))


def _file_to_ask(
    what: str | Path,
    space: Space | None,
    url: str,
    *,
    metric: str | None,
    goal: str | None,
    method: str | None,
    own: Mapping[str, Any],
) -> StudyFile:
    """The study file of what `ask` was given: of a dictionary, of the storage, or of a file."""
    if space is not None:
        return study_from_python(
            str(what),
            space,
            metric=metric or "value",
            goal=goal or "minimize",
            method=method or "bayes",
            own={"workload": asking.OUTSIDE, **own},
        )
    _not_beside_a_file(what, metric=metric, goal=goal, method=method, **own)
    if Path(what).suffix not in (".yaml", ".yml"):
        records = find_records(url)
        if records is not None:
            begun = slug(str(what)) in {found.study_name for found in records.get_all_studies()}
            file = stored_file(load_study(records, slug(str(what)))) if begun else None
            records.close()
            if file is not None:
                return file
    return load_study_file(what)


def _not_beside_a_file(what: str | Path, **told: Any) -> None:
    """Raises InputError where something is given that a study file says itself."""
    for name, value in told.items():
        if value is not None:
            raise InputError(f"{name}: '{what}' has its own; change it there, or give a function and a space")


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"{name}: expected a whole number from 1, got {value!r}")
    return value
