"""Runs or resumes a study, from a request to its end: data, base configuration, agents, a view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from tuner.artifacts import run_store, shipping, weights
from tuner.base.errors import InputError, WorkFailed
from tuner.base.files import read_json, write_json
from tuner.base.run_folder import STORED
from tuner.base.words import in_words
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.study_file import StudyFile
from tuner.run.agent.order import Order
from tuner.run.executors import gpus
from tuner.run.executors.choice import ExecutorChoice, open_executor
from tuner.run.executors.local import suited
from tuner.run.supervisor import Supervisor
from tuner.run.winner import inherited
from tuner.show.live import View
from tuner.storage import allocate, leases, optuna_private, study_store
from tuner.storage.access import find_records, open_records, storage_errors
from tuner.storage.allocate import finished
from tuner.storage.records import Records
from tuner.tracking.mode import Mode
from tuner.tracking.tracker import open_tracker

MODEL_MEMORY = 700 * 2**20  # bytes an agent with torch and a training run needs beside the shared data
SMALL_MEMORY = 150 * 2**20  # bytes an agent needs whose objective is a function or another program


@dataclass(frozen=True)
class Request:
    """A study to run, and how.

    Attributes:
        trials: finished trials wanted; None: the study's own number.
        agents: None: what the executor says; on this machine one a GPU that trials use, else one a core.
        data: a data set's folder; None: the only one there is.
        overrides: values of the configuration that hold whatever the study says.
        base: values beneath the study's, in place of those that its file names; with `base_from`, in words.
        min_free: bytes that must be free on the disk before a trial starts.
        executor: where the agents run.
        artifacts: URL of the artefact store; None: the one that the study was begun with, if any.
    """

    study_file: StudyFile
    url: str = field(repr=False)  # it may hold a password
    results: Path
    trials: int | None = None
    agents: int | None = None
    timeout: float | None = None
    data: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, Any] | None = None
    base_from: str = ""
    seed: int = 0
    fresh: bool = False
    wandb: Mode = "auto"
    wandb_artifacts: bool = False
    artifacts: str | None = None
    min_free: int = 200 * 2**20
    term: float = leases.TERM_SECONDS
    keep_weights: int = weights.KEEP
    executor: ExecutorChoice = field(default_factory=ExecutorChoice)


@dataclass(frozen=True)
class Result:
    """How a study was left: `fine` is False after an error, `interrupted` when the user stopped it."""

    reason: str
    fine: bool
    interrupted: bool
    finished: int
    total: int | None
    timed_out: bool = False

    def check(self, name: str) -> None:
        """Returns when the study is done; else raises KeyboardInterrupt, TimeIsUp or WorkFailed."""
        if self.interrupted:
            raise KeyboardInterrupt
        if not self.fine:
            raise WorkFailed(f"{name}: {self.reason}")
        if self.timed_out:
            raise TimeIsUp(f"time is up in {name}; the same command goes on")


class TimeIsUp(Exception):
    """A study was left unfinished because its time was up."""


def launch(request: Request, view: View) -> Result:
    """Runs a study until it is done or stopped.

    Raises:
        InputError: something about the request is wrong.
        StorageFailed: the storage cannot be used.
    """
    request = as_begun(request, view)
    if request.executor.kind != "local":  # what is named there must not depend on the worker's folder
        request = replace(request, results=request.results.resolve())
    study_file = request.study_file
    data = data_for(request, view)
    records = open_records(request.url, create=True)
    with storage_errors(request.url):
        if request.fresh:
            kept = study_store.set_aside(records, study_file.name, request.results)
            if kept:
                view.say(f"the study so far is kept as '{kept}'")
        origin = origin_of(request, records, data, view)
        base = {**origin.base, **epochs_of(study_file)}
        study, total = study_store.open_study(
            records, study_file, origin, trials=request.trials, default=default_of(study_file, base)
        )
        done = _done(records, study, study_file, total)
        if done:
            view.say(f"study {study_file.name} is done: {done}")
            return Result(
                done, True, False, finished(records.queue.counts(optuna_private.study_id(study))), total
            )
        place = run_store.place_for(study, request.artifacts)
        if place is not None and data is not None and shipping.ship(data, place.url):
            view.say(f"data set {data.name} uploaded to {place.url}")
        if place is not None:
            request.results.mkdir(parents=True, exist_ok=True)
            write_json(request.results / STORED, {"store": place.url})
        tracker = open_tracker(
            request.wandb,
            study_name=study_file.name,
            results=request.results,
            project=study_file.raw.get("project"),
            entity=study_file.raw.get("entity"),
            external=study_file.external,
            artifacts=request.wandb_artifacts,
        )
        if tracker.mode != "off" or study_file.external:
            view.say(tracker.reason)
        max_epochs = int(request.overrides.get("epochs", 0)) or study_file.max_epochs
        order = Order(
            url=request.url,
            study_file=study_file,
            study_name=study_file.name,
            results=request.results,
            total=total,
            seed=request.seed,
            tracker=tracker,
            pruner=_fitted(study_file.pruner, max_epochs),
            base=base,
            overrides=request.overrides,
            data=data,
            data_hash=None if data is None else shipping.content_hash(data),
            artifacts=place,
            max_epochs=max_epochs,
            min_free=request.min_free,
            term=request.term,
            keep_weights=request.keep_weights,
            log=request.results / "logs" / study_file.name,
        )
        return _run(request, order, view, records, study, total)


def _run(
    request: Request, order: Order, view: View, records: Records, study: optuna.Study, total: int | None
) -> Result:
    memory = SMALL_MEMORY if order.data is None else MODEL_MEMORY
    executor = open_executor(
        request.executor,
        agents=request.agents,
        total=total,
        memory=memory,
        gpus=gpus_for(request.study_file, request.overrides),
        say=view.say,
    )
    agents = request.agents or executor.agents(total)
    view.begin(study, records, order.study_file, total=total, agents=agents)
    supervisor = Supervisor(
        order,
        executor,
        agents=agents,
        on_event=view.event,
        on_tick=lambda: view.tick(supervisor.agents),
        timeout=request.timeout,
    )
    try:
        reason = supervisor.run()
        _put_back(records, optuna_private.study_id(study), supervisor.killed)
        if order.artifacts is not None and not supervisor.interrupted:
            _store_rest(order, order.artifacts, study, view)
    finally:
        executor.close()
        order.tracker.close()
        view.end()
    count = finished(records.queue.counts(optuna_private.study_id(study)))
    return Result(reason, supervisor.fine, supervisor.interrupted, count, total, supervisor.timed_out)


def _store_rest(order: Order, place: run_store.Place, study: optuna.Study, view: View) -> None:
    """Stores what agents could not: of a store that was away, or of one that the study did not have."""
    mirror = run_store.Mirror(
        place,
        study,
        order.study_file,
        results=order.results,
        keep=order.keep_weights,
        say=lambda reason: view.say(f"some run folders are on this machine alone: {reason}"),
    )
    mirror.finish()


def agents_for(request: Request, total: int | None) -> int:
    """How many agents will run a study of `total` trials here."""
    return request.agents or suited(total, gpus_for(request.study_file, request.overrides))


def gpus_for(study_file: StudyFile, overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """The GPUs that trials of a study use: of our own model's, unless they are told to stay on the processor.

    What another program or a function does with a GPU is not known here: it sees all of them.
    """
    if study_file.external or study_file.objective or study_file.on != "train":
        return ()
    return () if overrides.get("device") == "cpu" else gpus.here()


def _done(records: Records, study: optuna.Study, study_file: StudyFile, total: int | None) -> str | None:
    """Why no trial is left to run, found without starting an agent; None when one may be."""
    counts = records.queue.counts(optuna_private.study_id(study))
    if counts[TrialState.RUNNING] or (counts[TrialState.WAITING] and study_file.method == "grid"):
        return None
    stopped = study.user_attrs.get(allocate.STOPPED)
    if stopped:
        return str(stopped)
    if study_file.method == "grid":
        points = len(study_file.space.grid()[:total])
        taken = len(records.queue.grid_points_taken(optuna_private.study_id(study)))
        return f"all {points} points tried" if taken >= points else None
    count = finished(counts)
    return f"{count} trials finished" if total is not None and count >= total else None


def _put_back(records: Records, study_id: int, killed: list[dict[str, Any]]) -> None:
    """Returns the trials of agents that were stopped at once to the queue: they did not fail."""
    for trial_id, _, lease in records.queue.running(study_id):
        if lease is not None and {k: v for k, v in lease.items() if k != "beat"} in killed:
            records.release(trial_id)


def as_begun(request: Request, view: View) -> Request:
    """The request with the data set and the fixed values that the study was begun with, where it names none.

    So that `tuner study NAME` alone, in a second terminal or on another day, goes on with the same study.
    """
    if request.fresh:
        return request
    with storage_errors(request.url):
        records = find_records(request.url)
        if records is None or request.study_file.name not in optuna.get_all_study_names(records):
            return request
        study_id = records.get_study_id_from_name(request.study_file.name)
        origin = records.get_study_user_attrs(study_id).get(study_store.ORIGIN, {})
        records.queue.close()
    overrides = dict(origin.get("overrides", {}))
    if overrides and not request.overrides:
        view.say(f"as before: {in_words(overrides)}")
        request = replace(request, overrides=overrides)
    name = str(origin.get("data", "")).partition(" ")[0]
    if name and request.data is None and (Path("data") / name).is_dir():
        request = replace(request, data=Path("data") / name)
    return request


def data_for(request: Request, view: View) -> Path | None:
    """The data set that the study's trials read; None when they train something else."""
    study_file = request.study_file
    if study_file.external or study_file.objective or study_file.on == "bundle":
        return None
    from model.recordings import MANIFEST, SIMULATOR, default_data

    folder = request.data
    if folder is None:
        root = Path("data")
        if not any(root.glob(f"*/{MANIFEST}")):
            view.say("no data set imported: using simulated recordings (yours: python -m model import DIR)")
            return default_data(root)
        folder = default_data(root)
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise InputError(
            f"{folder}: no data set there; make one with: python -m model import DIR --to {folder}"
        )
    if read_json(manifest).get("kind") == SIMULATOR:
        view.say(f"data: {folder} (simulated; yours: python -m model import DIR)")
    return folder


def origin_of(request: Request, records: Records, data: Path | None, view: View) -> study_store.Origin:
    """What the study rests on; a study that is there already keeps the base it was begun with."""
    study_file, overrides = request.study_file, dict(request.overrides)
    content = "" if data is None else _data_line(data)
    for name in overrides:
        if name in {parameter.name for parameter in study_file.space.searched}:
            raise InputError(f"--set {name}: the study searches this parameter; change it in the study file")
    if study_file.name in optuna.get_all_study_names(records):
        stored = records.get_study_user_attrs(records.get_study_id_from_name(study_file.name))
        before = stored.get(study_store.ORIGIN, {})
        return study_store.Origin(before.get("base", {}), before.get("base_from", ""), overrides, content)
    if request.base is not None:
        return study_store.Origin(dict(request.base), request.base_from, overrides, content)
    base, base_from = dict(study_file.base.config), ""
    if study_file.base.winner_of:
        winner = inherited(records, study_file.base.winner_of, request.results)
        if winner is None:
            view.say(
                f"'{study_file.base.winner_of}' has not been run: starting from the default configuration"
            )
        else:
            base, base_from = {**winner.inherits, **base}, winner.describe()
            view.say(f"inherits from the {base_from}: {in_words(winner.inherits)}")
    return study_store.Origin(base, base_from, overrides, content)


def _data_line(data: Path) -> str:
    from model.recordings import MANIFEST

    return f"{data.name} {str(read_json(data / MANIFEST).get('content_hash', ''))[:16]}"


def epochs_of(study_file: StudyFile) -> dict[str, Any]:
    """The length of a whole trial, as our model's configuration has it."""
    if study_file.max_epochs is None or study_file.external or study_file.objective:
        return {}
    return {"epochs": study_file.max_epochs}


def default_of(study_file: StudyFile, base: Mapping[str, Any]) -> dict[str, Any] | None:
    """The configuration of trial 0: the base over our model's defaults; another program's is not known."""
    if study_file.external or study_file.objective or study_file.on != "train":
        return dict(base) or None
    from model.config import Config

    return {**Config().to_dict(), **base}


def _fitted(settings: PrunerSettings, max_epochs: int | None) -> PrunerSettings:
    """The pruner for trials that `--set epochs=…` made shorter."""
    if max_epochs is None or settings.max_resource <= max_epochs:
        return settings
    return replace(settings, max_resource=max_epochs, min_resource=min(settings.min_resource, max_epochs))
