"""From a request to a plan: everything about a study that is settled before its first trial, made once.

The plan holds what the request, the study file, the workload and the study as it was begun say together.
Making it changes nothing: `--dry-run` shows it and `launch` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.base import extras
from tuner.base.errors import InputError, nearest
from tuner.base.words import in_words
from tuner.definition import expressions
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.study_file import StudyFile
from tuner.definition.values import Resources
from tuner.run.agent import repeats
from tuner.run.executors import gpus
from tuner.run.executors.local import suited
from tuner.run.request import Request
from tuner.run.winner import winner_from, winning_trial
from tuner.search import samplers
from tuner.storage.access import find_records
from tuner.storage.records import Records
from tuner.storage.study import find_study, score_of, studies_to_learn_from
from tuner.storage.study_store import Origin, named_apart
from tuner.workloads import scheduler_functions
from tuner.workloads.registry import workload_of
from tuner.workloads.workload import Inputs, Workload


@dataclass(frozen=True)
class Plan:
    """A study as it will be run.

    Attributes:
        origin: what its trials rest on besides the file: base values, overrides, inputs.
        base: values below those of the space, the length of a trial included.
        default: the configuration that a new study tries first; None: not known.
        length: epochs of a whole trial, all its runs together; None where that is the trial's affair.
        pruner: of the study file, fitted to `length`.
        gpus: names by which each agent of this machine is given its GPU; empty where trials use none.
        begun: whether the study is in the storage already.
        scheduler_files: those with the functions of the file's `scheduler`, by name and hash.
    """

    request: Request
    workload: Workload
    inputs: Inputs
    origin: Origin
    base: Mapping[str, Any]
    default: Mapping[str, Any] | None
    length: int | None
    pruner: PrunerSettings
    resources: Resources
    gpus: tuple[str, ...]
    begun: bool
    scheduler_files: tuple[str, ...]

    @property
    def file(self) -> StudyFile:
        """The study file as it will be run."""
        return self.request.study_file

    @property
    def reads(self) -> tuple[str, ...]:
        """What the study reads of the user's, by name and hash: the trials' inputs, the scheduler's files."""
        return tuple(filter(None, (self.inputs.in_words(), *self.scheduler_files)))

    @property
    def overrides(self) -> Mapping[str, Any]:
        """Values that hold in every trial, whatever the space says."""
        return self.origin.overrides or {}

    def agents(self, total: int | None) -> int:
        """How many agents will run a study of `total` trials on this machine."""
        return self.request.agents or suited(total, self.gpus, cpus=self.resources.cpus)


def make(request: Request, say: Callable[[str], None]) -> Plan:
    """Settles what a request leaves open. `say` is told what was found, in lines.

    Raises:
        InputError: something about the request, the study file or its inputs is wrong.
        StorageFailed: the storage cannot be read.
    """
    if request.executor.kind != "local":  # what is named there must not depend on the worker's folder
        request = replace(request, results=request.results.resolve())
    for note in request.study_file.notes:
        say(note)
    # before anything is read or written: the study file is fine, and what the options need is installed
    file, workload = request.study_file, workload_of(request.study_file)
    workload.check()
    if file.metric.scored != "last" and not workload.scores:
        raise InputError(
            f"{file.path}: 'tuner.score': a workload's class says itself what its trials reached; "
            "the key is for scripts and functions"
        )
    request.executor.check()
    if (request.artifacts or "").startswith("s3://"):
        extras.need("s3", "--artifacts s3://")
    if request.executor.kind == "local":  # another machine may have packages that this one lacks
        samplers.check(file)
    scheduler_files = scheduler_functions.look(file)
    records = find_records(request.url, waits=True, say=say)
    try:
        file = named_apart(records, file, request.results)
        if file.name != request.study_file.name:
            say(f"this study is called '{file.name}': another file's is '{request.study_file.name}'")
        request = replace(request, study_file=file)
        return _planned(request, workload_of(file), scheduler_files, records, say)
    finally:
        if records is not None:
            records.close()


def _planned(
    request: Request,
    workload: Workload,
    scheduler_files: tuple[str, ...],
    records: Records | None,
    say: Callable[[str], None],
) -> Plan:
    file = request.study_file
    study = None if request.fresh else find_study(records, file.name)
    begun = {} if study is None else study.origin
    inputs = workload.inputs(request.data or data_of(begun), request.results, say)
    if file.learns_from_all:
        known = ", ".join(each.study_name for each in studies_to_learn_from(records, file))
        say(f"learns from: {known or 'nothing, as no finished study here shares a parameter'}")
    for name in () if file.learns_from_all else file.learn_from:
        if find_study(records, name) is None:
            say(f"'{name}' has not been run: there is nothing to learn from it")
    stored = begun.get("overrides") or {}
    differs = any(stored.get(name) != value for name, value in inputs.fixed.items())
    if study is not None and inputs.renews and differs:
        say(f"'{file.name}' was started with another {inputs.name}: starting again")
        request, study, stored = replace(request, fresh=True), None, {}
    overrides = _overrides(request, inputs, stored, say)
    if study is None:
        base, base_from = _base(request, records, say)
    else:
        base, base_from = dict(begun.get("base") or {}), str(begun.get("base_from") or "")
        scored = score_of(study.attrs, file)
        if scored != file.metric.scored and "score" not in (file.raw.get("tuner") or {}):
            file = file.scored_by(scored)
            workload = workload_of(file)
            say(f"score as when the study was begun: {file.metric.score_in_words()}")
    defaults = workload.defaults() or {}
    workload.check_overrides(overrides)
    _check_names(file, {*defaults, *base, *overrides})
    repeats.check(workload, {**defaults, **base, **overrides})
    length = int(overrides.get(workload.length, 0)) or file.max_epochs
    length = None if length is None else length * file.repeats.count
    pruner = file.pruner
    if length is not None and length < pruner.max_resource:  # `--set epochs=…` made the trials shorter
        pruner = replace(pruner, max_resource=length, min_resource=min(pruner.min_resource, length))
    whole = {} if file.max_epochs is None else workload.whole_trial(file.max_epochs)
    resources = workload.resources(overrides)
    return Plan(
        request=replace(request, study_file=file),
        workload=workload,
        inputs=inputs,
        origin=Origin(base, base_from, overrides, inputs.in_words() if inputs.binding else ""),
        base={**base, **whole},
        default={**defaults, **base, **whole} or None,
        length=length,
        pruner=pruner,
        resources=resources,
        gpus=_gpus(request, resources, say),
        begun=study is not None,
        scheduler_files=scheduler_files,
    )


def _gpus(request: Request, resources: Resources, say: Callable[[str], None]) -> tuple[str, ...]:
    """What each agent of this machine sees of its GPUs; empty where trials use none."""
    if not resources.gpus:
        return ()
    names = gpus.here()
    found = gpus.slots(names, resources.gpus)
    asked = request.study_file.resources.gpus
    if asked and request.executor.kind == "local" and not found:
        if names:
            raise InputError(
                f"{request.study_file.path}: 'tuner.resources.gpus': a trial takes {asked:g} GPUs, this "
                f"machine has {len(names)}"
            )
        say(f"a trial needs {asked:g} GPU{'s'[: asked > 1]}, but this machine has none: trials run without")
    return found


def _check_names(file: StudyFile, known: set[str]) -> None:
    """Raises InputError where `requires` reads a name that no configuration of the study has."""
    heads = {parameter.path[0] for parameter in file.space.parameters}
    names = known | heads | {parameter.name for parameter in file.space.parameters}
    for text in file.requires:
        for name in sorted(expressions.names(text)):
            if name not in names and name.partition(".")[0] not in heads | known:
                raise InputError(
                    f"{file.path}: 'tuner.requires': no configuration has '{name}'{nearest(name, names)} "
                    f"(in {text!r})"
                )


def _overrides(
    request: Request, inputs: Inputs, stored: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """The `--set` values, else those that the study was begun with: `tuner study NAME` alone goes on."""
    searched = {parameter.name for parameter in request.study_file.space.searched}
    for name in request.overrides:
        if name in searched:
            raise InputError(f"--set {name}: the study searches this parameter; change it in the study file")
    told = dict(request.overrides)
    if not told:
        told = {name: value for name, value in stored.items() if name not in inputs.fixed}
        for name in sorted(told.keys() & searched):
            raise InputError(
                f"the study was started with --set {name}={told[name]}, which is fixed in every trial: "
                f"'{name}' cannot be searched; start again with --fresh"
            )
        if told:
            say(f"same values as before: {in_words(told)}")
    return {**told, **inputs.fixed}


def data_of(origin: Mapping[str, Any]) -> Path | None:
    """The data set that a study was begun with, where it is still there."""
    name = str(origin.get("data") or "").partition(" ")[0]
    folder = Path("data") / name
    return folder if name and folder.is_dir() else None


def _base(
    request: Request, records: Records | None, say: Callable[[str], None]
) -> tuple[dict[str, Any], str]:
    """Values below those of a new study, and where they come from."""
    file = request.study_file
    if request.base is not None:
        return dict(request.base), ""
    base = dict(file.base.config)
    if not file.base.winner_of:
        return base, ""
    study = find_study(records, file.base.winner_of)
    best = None if study is None else winning_trial(study)
    if study is None or best is None:
        say(f"'{file.base.winner_of}' has no winner yet: starting from the default configuration")
        return base, ""
    winner = winner_from(study, best, request.results)
    say(f"inherits from the {winner.describe()}: {in_words(winner.inherits)}")
    return {**winner.inherits, **base}, winner.describe()
